"""Promises: "I have received this object, and it will be anchored by that block", signed by an agent's entity.

A broken promise is evidence that anyone can check who has the promise, the promiser's record and the chain.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from wave.codec import VERSION, Format, Id, Record, Version, between, id_text, sha256
from wave.entities import keys
from wave.entities.entity import EntitySecret
from wave.entities.object import PROMISE, Certified, signing_input
from wave.errors import BadTime
from wave.limits import LIMITS

SUFFIX: Final = ".promise"
ADDRESS_BYTES: Final = 20
_HIGHEST: Final = 2**53

Verdict = Literal["kept", "pending", "broken", "unknown", "void"]


class PromiseFields(Record, frozen=True):
    """The body of a promise, in wire order; ``received`` and ``by`` are heights of blocks."""

    version: Version
    promiser: Id
    object: Id
    received: int
    by: int
    chain_id: int
    registry: Annotated[bytes, between(ADDRESS_BYTES, ADDRESS_BYTES)]


_FORMAT = Format(PromiseFields, "promise")
_PREFIX = signing_input(PROMISE, b"")


class Promise(Certified):
    """A signed promise. ``fields`` holds what it says; that the promiser signed it, :meth:`check` says."""

    __slots__ = ("fields", "id")

    KIND = PROMISE

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Parse ``body`` strictly; :class:`InputError`. The signature is looked at by :meth:`check` alone."""
        super().__init__(body, signature)
        self.fields = _FORMAT.decode(body)
        self.id = sha256(_PREFIX + body)
        _check_heights(self.fields.received, self.fields.by)
        if not 0 < self.fields.chain_id <= _HIGHEST:
            raise BadTime("a promise about a chain whose id is out of all proportion")

    @classmethod
    def create(
        cls, promiser: EntitySecret, *, about: bytes, received: int, by: int, chain_id: int, registry: bytes
    ) -> Self:
        """Return the promise that the object of id ``about``, received at height ``received``, is anchored by ``by``.

        ``registry`` is its address, 20 bytes. :class:`BadTime` when ``by`` is not after ``received``, or further away
        than ``Limits.promise_blocks``.
        """
        fields = PromiseFields(VERSION, promiser.id, about, received, by, chain_id, registry)
        body = _FORMAT.encode(fields)
        return cls(body, promiser.sign(PROMISE, body))

    def check(self, promiser_key: bytes) -> None:
        """Raise :class:`BadSignature` unless it is signed under the promiser's key (32 bytes)."""
        keys.verify(promiser_key, _PREFIX + self.body, self.signature)

    def __eq__(self, other: object) -> bool:
        """Promises are the same when their bodies are."""
        return isinstance(other, Promise) and other.body == self.body

    def __hash__(self) -> int:
        """Hash by id."""
        return hash(self.id)

    def __repr__(self) -> str:
        """Show the id and what it promises."""
        return f"Promise({id_text(self.id)}: {id_text(self.fields.object)} by block {self.fields.by})"


def _check_heights(received: int, by: int) -> None:
    if not 0 <= received < by <= _HIGHEST:
        raise BadTime("a promise must be for a block after the one at which it was given")
    if by - received > LIMITS.promise_blocks:
        raise BadTime(f"a promise for more than {LIMITS.promise_blocks} blocks ahead is worth nothing")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the chain says of a promise, and why; ``withheld`` are roots whose objects could not be had.

    ``height`` is that of the block by which it was kept, None otherwise.
    """

    verdict: Verdict
    reason: str
    height: int | None = None
    withheld: tuple[bytes, ...] = ()


def judge(fields: PromiseFields, *, head: int, stands: int | None, withheld: tuple[bytes, ...]) -> Judgement:
    """Return what became of a promise at height ``head``.

    ``stands`` is the lowest height at which the object is published or anchored, None when it is nowhere to be seen;
    ``withheld`` are the roots anchored at or below the promised block whose objects nobody here has seen.
    """
    if stands is not None and stands <= fields.by:
        return Judgement("kept", f"it stands in block {stands}", stands)
    if head < fields.by:
        return Judgement("pending", f"the newest block is {head}, and the promise is for {fields.by}")
    if withheld:
        return Judgement(
            "unknown", f"the object may be in one of {len(withheld)} batches that nobody hands out", None, withheld
        )
    late = "" if stands is None else f", and came in block {stands}"
    return Judgement("broken", f"block {fields.by} has passed without it{late}")
