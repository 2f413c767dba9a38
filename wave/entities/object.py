"""The self-certifying object that every published thing is: kind, body, signature, and an id that is its hash."""

from typing import ClassVar, Final, Self

from wave.codec import Record, Signature, amend, armour, dearmour, reader, record_bytes, sha256
from wave.codec import decode as decode_value
from wave.entities import keys
from wave.errors import Malformed, TooLarge, WrongKind
from wave.limits import LIMITS

ENTITY: Final = "entity"
DOT: Final = "dot"
NAME: Final = "name"
ROUTE: Final = "route"
MESSAGE: Final = "message"
PROMISE: Final = "promise"
SHEAF: Final = "sheaf"
KINDS: Final = (ENTITY, DOT, NAME, ROUTE, MESSAGE, PROMISE, SHEAF)

_PREFIXES: Final = {kind: b"wave/" + kind.encode() + b"/v1\0" for kind in KINDS}
_PARTS: Final = 3


class SignedObject(Record, frozen=True):
    """An object as it travels: its kind, the bytes that were signed and the signature (64 bytes)."""

    kind: str
    body: bytes
    signature: Signature

    @property
    def id(self) -> bytes:
        """The object's id: SHA-256 of the signing input."""
        return sha256(signing_input(self.kind, self.body))

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the object; :class:`TooLarge` when no reader would take them."""
        data = record_bytes(self)
        if len(data) > _bound(self.kind):
            raise TooLarge(f"an object of {len(data)} bytes; at most {_bound(self.kind)} are accepted")
        return data

    def to_text(self) -> str:
        """Return the object as text armour."""
        return armour(self.kind.upper(), self.to_bytes())


_quick = reader(SignedObject)


class Certified:
    """What every kind of object has in common once it is parsed: the bytes that were signed, and the signature.

    A subclass names its ``KIND`` and parses ``body`` strictly when it is made; that the signature is good, its
    ``check`` says.
    """

    __slots__ = ("body", "signature")

    KIND: ClassVar[str]

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Keep what was received."""
        self.body = body
        self.signature = signature

    @classmethod
    def from_object(cls, signed: SignedObject) -> Self:
        """Return what an object holds; :class:`WrongKind` when it is another thing, :class:`InputError`."""
        if signed.kind != cls.KIND:
            raise WrongKind(f"this is an object of kind {signed.kind!r}, not {cls.KIND!r}")
        return cls(signed.body, signed.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return what an object's bytes hold; :class:`InputError` when they are not one of this kind."""
        return cls.from_object(decode_object(data, bound=_bound(cls.KIND)))

    def to_object(self) -> SignedObject:
        """Return the object that this was parsed from."""
        return SignedObject(self.KIND, self.body, self.signature)

    def to_bytes(self) -> bytes:
        """Return the object's canonical bytes; :class:`TooLarge`."""
        return self.to_object().to_bytes()


def _bound(kind: str) -> int:
    return LIMITS.message_bytes if kind == MESSAGE else LIMITS.object_bytes


def signing_input(kind: str, body: bytes) -> bytes:
    """Return the bytes that a signature over ``body`` covers; :class:`WrongKind` for a kind that does not exist."""
    try:
        return _PREFIXES[kind] + body
    except KeyError:
        raise WrongKind(f"there is no object of kind {kind[:40]!r}") from None


def revocation_preimage(seed: bytes, kind: str, fields: Record) -> bytes:
    """Return the preimage (32 bytes) whose hash commits an object of these fields to a revoker's seed.

    It follows from the seed and every field but the commitments themselves, so that nothing need be stored.
    """
    blank = sha256(signing_input(kind, record_bytes(amend(fields, commitments=()))))
    return keys.derive(seed, b"wave/revocation/v1\0" + blank)


def decode_object(data: bytes, *, bound: int = LIMITS.object_bytes) -> SignedObject:
    """Return the object that ``data`` holds; raises :class:`Malformed` or :class:`TooLarge`. Verifies no signature."""
    if len(data) > bound:
        raise TooLarge(f"an object of {len(data)} bytes; at most {bound} are accepted")
    quick = _quick(data)
    if quick is not None and quick.kind in _PREFIXES:
        return quick
    value = decode_value(data, bound=bound)
    if not isinstance(value, tuple) or len(value) != _PARTS:
        raise Malformed("not an object")
    kind, body, signature = value
    if not isinstance(kind, str) or not isinstance(body, bytes) or not isinstance(signature, bytes):
        raise Malformed("not an object: kind, body and signature are not text, bytes and bytes")
    if len(signature) != keys.SIGNATURE_BYTES:
        raise Malformed("not an object: its signature is not 64 bytes long")
    signing_input(kind, b"")
    return SignedObject(kind, body, signature)


def from_text(text: str) -> SignedObject:
    """Return the object in a block of text armour; :class:`BadArmour`, :class:`Malformed` or :class:`WrongKind`."""
    label, data = dearmour(text)
    found = decode_object(data)
    if found.kind != label.lower():
        raise WrongKind(f"the text says that it holds a {label.lower()}, and it holds a {found.kind!r}")
    return found
