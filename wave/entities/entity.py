"""Entities: the signed record that says who someone is, and the secret that acts as them."""

import hashlib
from collections.abc import Callable
from typing import Self

from wave.codec import VERSION, Commitments, Format, Id, Key, Record, Text, Time, Version, amend, id_text, sha256
from wave.entities import keys
from wave.entities.object import ENTITY, Certified, revocation_preimage, signing_input
from wave.errors import BadTime, Malformed, UnknownEntity

EVERYBODY = bytes(32)
"""The receiver that stands for everybody. It has no record and nobody can sign for it."""


class EntityFields(Record, frozen=True):
    """The body of an entity, in wire order. Times are UTC seconds."""

    version: Version
    verify_key: Key
    exchange_key: Key
    created: Time
    expires: Time
    commitments: Commitments
    contact: Text
    comment: Text
    sealing: Id | None


_FORMAT = Format(EntityFields, "entity record")
_PREFIXED = hashlib.sha256(signing_input(ENTITY, b""))  # copied, which is quicker than to begin anew
parse_entity = _FORMAT.decode  # strictly; raises InputError


def entity_id(body: bytes) -> bytes:
    """Return the id (32 bytes) of the entity whose record has this body."""
    digest = _PREFIXED.copy()
    digest.update(body)
    return digest.digest()


class Entity(Certified):
    """An entity's public record. ``Entity.from_bytes`` and ``Entity.from_object`` are the only ways in.

    ``id`` (32 bytes), ``verify_key`` (Ed25519, 32 bytes), ``exchange_key`` (X25519, 32 bytes), ``created`` and
    ``expires`` (UTC seconds), ``commitments`` (SHA-256; whoever publishes the preimage of one revokes the entity for
    ever), ``contact`` and ``comment`` (free text, unverified).
    """

    __slots__ = (
        "commitments",
        "created",
        "expires",
        "fields",
        "id",
        "verify_key",
    )

    KIND = ENTITY

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Parse ``body`` strictly; raises :class:`Malformed`. The signature is looked at by :meth:`check` alone."""
        fields = parse_entity(body)
        self.body = body
        self.signature = signature
        self.id = entity_id(body)
        self.fields = fields
        self.verify_key = fields.verify_key
        self.created = fields.created
        self.expires = fields.expires
        self.commitments = fields.commitments

    @property
    def exchange_key(self) -> bytes:
        """The X25519 key (32 bytes) that things are sealed under for the entity."""
        return self.fields.exchange_key

    @property
    def contact(self) -> str:
        """How to reach whoever it is, in free text that nobody has verified."""
        return self.fields.contact

    @property
    def comment(self) -> str:
        """Free text that nobody has verified."""
        return self.fields.comment

    def check(self) -> None:
        """Raise unless the record is signed by its own key and its times are in order (for whoever publishes it)."""
        if self.created >= self.expires:
            raise BadTime("the entity expires before it begins")
        keys.verify(self.verify_key, signing_input(ENTITY, self.body), self.signature)

    def __eq__(self, other: object) -> bool:
        """Entities are the same when their ids are."""
        return isinstance(other, Entity) and other.id == self.id

    def __hash__(self) -> int:
        """Hash by id."""
        return hash(self.id)

    def __repr__(self) -> str:
        """Show the id."""
        return f"Entity({id_text(self.id)})"


class EntitySecret:
    """A seed and the record that goes with it: what signs, delegates and revokes. Its text form shows no secret."""

    __slots__ = ("_key", "entity", "seed")

    def __init__(self, seed: bytes, entity: Entity) -> None:
        """Hold a seed (32 bytes) whose public key is the record's; :class:`UnknownEntity` when it is not."""
        if keys.public_key(seed) != entity.verify_key:
            raise UnknownEntity("the seed is not this entity's")
        self.seed = seed
        self.entity = entity
        self._key = keys.signing_key(seed)

    @classmethod
    def create(
        cls,
        draw: Callable[[int], bytes],
        *,
        created: int,
        expires: int,
        contact: str = "",
        comment: str = "",
        revokers: tuple[bytes, ...] = (),
    ) -> Self:
        """Return a new entity whose seed is drawn by ``draw(32)``, again while the id's text would begin with '-'.

        ``revokers`` are further commitments (32 bytes each) whose holders may revoke it too.
        Raises :class:`BadTime`, :class:`TooLarge`, :class:`Malformed`.
        """
        if created >= expires:
            raise BadTime("an entity must expire after it begins")
        while True:
            seed = draw(keys.SEED_BYTES)
            blank = EntityFields(
                VERSION, keys.public_key(seed), keys.exchange_key(seed), created, expires, (), contact, comment, None
            )
            own = sha256(revocation_preimage(seed, ENTITY, blank))
            body = _FORMAT.encode(amend(blank, commitments=(own, *revokers)))
            entity = Entity(body, keys.sign(seed, signing_input(ENTITY, body)))
            entity.to_bytes()  # raises when it is too large for an object
            if not id_text(entity.id).startswith("-"):
                return cls(seed, entity)

    @property
    def id(self) -> bytes:
        """The entity's id, 32 bytes."""
        return self.entity.id

    def sign(self, kind: str, body: bytes) -> bytes:
        """Return the signature (64 bytes) of an object's body."""
        return keys.sign_with(self._key, signing_input(kind, body))

    def sign_request(self, base: bytes) -> bytes:
        """Return the signature (64 bytes) of an HTTP request's signature base (RFC 9421), which begins with '"@'.

        No object's signing input does, so that none can be signed by this way; :class:`Malformed`.
        """
        if not base.startswith(b'"@'):
            raise Malformed("these bytes are no HTTP request's signature base")
        return keys.sign_with(self._key, base)

    def preimage(self) -> bytes:
        """Return the preimage (32 bytes) that revokes this entity when published."""
        return revocation_preimage(self.seed, ENTITY, self.entity.fields)

    def __repr__(self) -> str:
        """Show the id and nothing else."""
        return f"EntitySecret({id_text(self.id)})"
