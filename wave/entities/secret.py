"""Secret files as text: a seed and its public record, under a passphrase or, when asked for, under none."""

from collections.abc import Callable
from typing import Final

from wave.codec import Value, armour, dearmour, decode, encode
from wave.entities import keys
from wave.entities.entity import Entity, EntitySecret
from wave.errors import (
    BadArmour,
    BadPassphrase,
    BadSignature,
    BadTime,
    Malformed,
    SecretFileCorrupt,
    TooLarge,
    UnknownVersion,
    WrongKind,
)

LABEL: Final = "SECRET ENTITY"
_VERSION: Final = 1
_PARTS: Final = 4
_LOCK_PARTS: Final = 4


def to_text(
    secret: EntitySecret,
    passphrase: str | None,
    draw: Callable[[int], bytes],
    cost: keys.Cost = keys.INTERACTIVE,
) -> str:
    """Return the text of a secret file; without a passphrase (None) the seed stands in it readable."""
    public = secret.entity.to_bytes()
    if passphrase is None:
        return armour(LABEL, encode((_VERSION, public, None, secret.seed)))
    if not passphrase:
        raise BadPassphrase("the passphrase is empty", hint="choose one, or say --no-passphrase to have none")
    salt, nonce = draw(keys.SALT_BYTES), draw(keys.NONCE_BYTES)
    box = keys.lock(secret.seed, passphrase, salt=salt, nonce=nonce, cost=cost, bound_to=public)
    return armour(LABEL, encode((_VERSION, public, (salt, nonce, cost.passes, cost.memory), box)))


def public_part(text: str) -> Entity:
    """Return the public record in a secret file's text, for which no passphrase is needed."""
    return _parse(text)[0]


def from_text(text: str, ask: Callable[[], str]) -> EntitySecret:
    """Return the secret in a secret file's text; ``ask`` is called for a passphrase if, and only if, it has one.

    Raises :class:`SecretFileCorrupt`, :class:`WrongKind` or :class:`BadPassphrase`.
    """
    entity, lock, box = _parse(text)
    if lock is None:
        return _joined(box, entity)
    salt, nonce, passes, memory = lock
    seed = keys.unlock(box, ask(), salt=salt, nonce=nonce, cost=keys.Cost(passes, memory), bound_to=entity.to_bytes())
    return _joined(seed, entity)


def _joined(seed: bytes, entity: Entity) -> EntitySecret:
    if len(seed) != keys.SEED_BYTES or keys.public_key(seed) != entity.verify_key:
        raise SecretFileCorrupt("the seed in this secret file is not its entity's")
    return EntitySecret(seed, entity)


def _parse(text: str) -> tuple[Entity, tuple[bytes, bytes, int, int] | None, bytes]:
    try:
        label, data = dearmour(text)
    except BadArmour as error:
        raise SecretFileCorrupt(f"this is no whole secret file: {error.message}") from None
    if label != LABEL:
        raise WrongKind(
            f"this file holds a {label.lower()}, and a secret entity is wanted",
            hint="name the .ent file, not the .pub file cut from it",
        )
    try:
        entity, lock, box = _contents(decode(data))
        entity.check()
    except UnknownVersion:
        raise
    except (Malformed, TooLarge, BadTime, BadSignature) as error:
        raise SecretFileCorrupt(f"this secret file does not hold what it should: {error.message}") from None
    return entity, lock, box


def _contents(value: Value) -> tuple[Entity, tuple[bytes, bytes, int, int] | None, bytes]:
    if not isinstance(value, tuple) or not value:
        raise SecretFileCorrupt("this secret file does not hold what it should")
    if type(value[0]) is not int or value[0] != _VERSION:  # True equals 1
        raise UnknownVersion(f"a secret file of version {value[0]!r}")
    if len(value) != _PARTS or not isinstance(value[1], bytes) or not isinstance(value[3], bytes):
        raise SecretFileCorrupt("this secret file does not hold what it should")
    return Entity.from_bytes(value[1]), _lock_of(value[2]), value[3]


def _count(value: Value) -> int:
    if type(value) is not int:
        raise SecretFileCorrupt("this secret file does not say how it is locked")
    return value


def _lock_of(lock: Value) -> tuple[bytes, bytes, int, int] | None:
    if lock is None:
        return None
    if isinstance(lock, tuple) and len(lock) == _LOCK_PARTS:
        salt, nonce, passes, memory = lock
        if isinstance(salt, bytes) and isinstance(nonce, bytes) and len(nonce) == keys.NONCE_BYTES:
            return salt, nonce, _count(passes), _count(memory)
    raise SecretFileCorrupt("this secret file does not say how it is locked")
