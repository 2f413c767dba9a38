"""DoTs, delegations of trust: one entity lets another do some things in a namespace, for a time, some hops further."""

from typing import Annotated, Self

from wave.codec import (
    VERSION,
    Commitments,
    Count,
    Format,
    Id,
    Record,
    Text,
    Time,
    Version,
    amend,
    between,
    id_text,
    record_bytes,
    sha256,
)
from wave.entities import keys
from wave.entities.entity import EVERYBODY, EntitySecret
from wave.entities.object import DOT, Certified, revocation_preimage, signing_input
from wave.errors import BadGrant, BadTime
from wave.limits import LIMITS
from wave.namespace.grant import Right, check_right


class DotFields(Record, frozen=True):
    """The body of a DoT, in wire order. Times are UTC seconds."""

    version: Version
    giver: Id
    receiver: Id
    namespace: Id
    grants: Annotated[tuple[Right, ...], between(1, LIMITS.grants_per_dot)]
    indirections: Count
    created: Time
    expires: Time
    commitments: Commitments
    comment: Text


_FORMAT = Format(DotFields, "DoT")
_PREFIX = signing_input(DOT, b"")
parse_dot = _FORMAT.decode  # strictly, but for the form of each right; raises InputError


class Dot(Certified):
    """A delegation of trust. ``Dot.from_bytes`` and ``Dot.from_object`` are the only ways in.

    ``id``, ``giver``, ``receiver`` (or :data:`EVERYBODY`) and ``namespace`` are ids of 32 bytes; ``grants`` say what is
    granted, ``indirections`` how many further hops it may be handed on, ``created`` and ``expires`` (UTC seconds) when
    it holds; whoever publishes the preimage of one of the SHA-256 ``commitments`` revokes it for ever; ``comment`` is
    free text of the giver's.
    """

    __slots__ = (
        "_id",
        "commitments",
        "created",
        "expires",
        "fields",
        "giver",
        "grants",
        "indirections",
        "namespace",
        "receiver",
    )

    KIND = DOT

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Parse ``body`` strictly; raises :class:`InputError`. The signature is looked at by :meth:`check` alone."""
        fields = _FORMAT.decode(body)
        for right in fields.grants:
            check_right(right)
        self.body = body
        self.signature = signature
        self._id: bytes | None = None
        self.fields = fields
        self.giver = fields.giver
        self.receiver = fields.receiver
        self.namespace = fields.namespace
        self.grants = fields.grants
        self.indirections = fields.indirections
        self.created = fields.created
        self.expires = fields.expires
        self.commitments = fields.commitments

    @classmethod
    def create(
        cls,
        giver: EntitySecret,
        *,
        receiver: bytes,
        namespace: bytes,
        grants: tuple[Right, ...],
        created: int,
        expires: int,
        indirections: int = 0,
        comment: str = "",
        revokers: tuple[bytes, ...] = (),
    ) -> Self:
        """Return a DoT signed by ``giver``.

        ``indirections`` is how many further hops the receiver may hand it on; ``revokers`` are further commitments
        (32 bytes each) whose holders may revoke it too. Raises :class:`BadTime`, :class:`BadGrant`,
        :class:`TooLarge`, :class:`Malformed`.
        """
        if created >= expires:
            raise BadTime("a DoT must expire after it begins")
        if receiver == giver.id:
            raise BadGrant("giver and receiver are the same entity", hint="nobody needs to hand things to oneself")
        if receiver == EVERYBODY and indirections:
            raise BadGrant("what everybody holds cannot be handed on", hint="leave --indirections out")
        blank = DotFields(VERSION, giver.id, receiver, namespace, grants, indirections, created, expires, (), comment)
        own = sha256(revocation_preimage(giver.seed, DOT, blank))
        body = record_bytes(amend(blank, commitments=(own, *revokers)))
        dot = cls(body, giver.sign(DOT, body))  # parsed as any reader does
        if len(body) > LIMITS.object_bytes // 2:
            dot.to_bytes()
        return dot

    @property
    def id(self) -> bytes:
        """The object's id, hashed when it is first asked for: a cold check needs none."""
        if self._id is None:
            self._id = sha256(_PREFIX + self.body)
        return self._id

    @property
    def comment(self) -> str:
        """Free text of the giver's."""
        return self.fields.comment

    def check(self, giver_key: bytes) -> None:
        """Raise :class:`BadSignature` unless the DoT is signed under the giver's key (32 bytes)."""
        keys.verify(giver_key, _PREFIX + self.body, self.signature)

    def preimage(self, revoker: EntitySecret) -> bytes:
        """Return the preimage (32 bytes) that is this revoker's; it revokes if its hash is among the commitments."""
        return revocation_preimage(revoker.seed, DOT, self.fields)

    def __eq__(self, other: object) -> bool:
        """DoTs are the same when their bodies, and so their ids, are."""
        return isinstance(other, Dot) and other.body == self.body

    def __hash__(self) -> int:
        """Hash by body."""
        return hash(self.body)

    def __repr__(self) -> str:
        """Show the id, from whom and to whom."""
        return f"Dot({id_text(self.id)}: {id_text(self.giver)[:8]} -> {id_text(self.receiver)[:8]})"
