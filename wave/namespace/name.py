"""Names: labels, and the signed declaration by which one entity calls another something."""

import re
from typing import Self

from wave.codec import VERSION, Commitments, Format, Id, Record, Time, Version, amend, id_text, sha256
from wave.entities import keys
from wave.entities.entity import EntitySecret
from wave.entities.object import NAME, Certified, revocation_preimage, signing_input
from wave.errors import BadName, BadTime
from wave.limits import LIMITS

_LABEL = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{LIMITS.label_bytes - 2}}}[a-z0-9])?")


def check_label(label: str) -> str:
    """Return ``label`` when it may be one; :class:`BadName` when not."""
    if _LABEL.fullmatch(label) is None:
        raise BadName(f"{label[:80]!r} is not a label")
    return label


class NameFields(Record, frozen=True):
    """The body of a name declaration, in wire order."""

    version: Version
    giver: Id
    label: str
    target: Id
    created: Time
    expires: Time
    commitments: Commitments


_FORMAT = Format(NameFields, "name declaration")


class Name(Certified):
    """A signed statement: ``giver`` calls ``target`` by ``label``, for a time."""

    __slots__ = ("fields", "id")

    KIND = NAME

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Parse ``body`` strictly; raises :class:`InputError`. The signature is looked at by :meth:`check` alone."""
        self.fields = _FORMAT.decode(body)
        check_label(self.fields.label)
        self.body = body
        self.signature = signature
        self.id = sha256(signing_input(NAME, body))

    @classmethod
    def create(cls, giver: EntitySecret, *, label: str, target: bytes, created: int, expires: int) -> Self:
        """Return a declaration signed by ``giver``; :class:`BadName`, :class:`BadTime`."""
        if created >= expires:
            raise BadTime("a name must expire after it begins")
        blank = NameFields(VERSION, giver.id, check_label(label), target, created, expires, ())
        own = sha256(revocation_preimage(giver.seed, NAME, blank))
        body = _FORMAT.encode(amend(blank, commitments=(own,)))
        name = cls(body, giver.sign(NAME, body))
        name.to_object().to_bytes()
        return name

    def check(self, giver_key: bytes) -> None:
        """Raise :class:`BadSignature` unless the declaration is signed under the giver's key (32 bytes)."""
        keys.verify(giver_key, signing_input(NAME, self.body), self.signature)

    def preimage(self, giver: EntitySecret) -> bytes:
        """Return the preimage (32 bytes) by which ``giver`` revokes the name."""
        return revocation_preimage(giver.seed, NAME, self.fields)

    def __repr__(self) -> str:
        """Show label and target."""
        return f"Name({self.fields.label!r} -> {id_text(self.fields.target)})"
