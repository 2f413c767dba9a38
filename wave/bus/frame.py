"""Frames: what peer and router say to each other. A carrier moves parcels, each of one or more frames.

A peer asks (subscribe, unsubscribe, publish, query, list), each with a number of its own choice by which the router
answers. Proofs are frames of their own: each travels once over a connection, before the first message that names it.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, TypeAlias

from wave.codec import VERSION, Format, Record, Version, between, record_bytes
from wave.dots.proof import Proof
from wave.errors import BadRequest, Malformed, WaveError, from_problem
from wave.limits import LIMITS

CHALLENGE_BYTES: Final = 16
NO_PROOF: Final = Proof.build((), ())

_FEW: Final = 16
_Code: TypeAlias = Annotated[str, between(0, 128)]
_Words: TypeAlias = Annotated[str, between(0, 4096)]


class Hello(Record, frozen=True, tag="hello"):
    """The router's first word: a challenge that acts on this connection must answer, and who says so.

    ``entity`` is the router's record and ``greeting`` a message in which it signs the challenge; both are empty for a
    router without an entity.
    """

    challenge: Annotated[bytes, between(CHALLENGE_BYTES, CHALLENGE_BYTES)]
    entity: bytes = b""
    greeting: bytes = b""


class Give(Record, frozen=True, tag="give"):
    """A proof, for the messages that name it."""

    proof: bytes


class Want(Record, frozen=True, tag="want"):
    """Give that proof again: the one who says so has forgotten it."""

    proof: bytes


class Subscribe(Record, frozen=True, tag="subscribe"):
    """Send what matches the message's resource, which is a pattern; with ``since``, all that came after that serial."""

    number: int
    message: bytes
    since: int | None = None


class Unsubscribe(Record, frozen=True, tag="unsubscribe"):
    """End the subscription that this connection opened under that number."""

    number: int
    subscription: int


class Publish(Record, frozen=True, tag="publish"):
    """Deliver a message to whoever may read it."""

    number: int
    message: bytes


class Query(Record, frozen=True, tag="query"):
    """Give the newest ``last`` kept messages of each resource that the message's resource, a pattern, matches."""

    number: int
    message: bytes
    last: int


class ListKept(Record, frozen=True, tag="list"):
    """Name the resources that match and hold a kept message."""

    number: int
    message: bytes


class Done(Record, frozen=True, tag="done"):
    """What was asked under that number is done.

    ``count`` is how many connections a message went to, ``serial`` the router's number of the last message.
    """

    number: int
    count: int
    serial: int = 0


class Denied(Record, frozen=True, tag="denied"):
    """What was asked under that number is not done, and why. An open subscription ends so, too."""

    number: int
    code: _Code
    detail: _Words
    hint: _Words
    decision: _Code | None = None

    @property
    def error(self) -> WaveError:
        """The refusal, of the class that was raised at the router."""
        return from_problem({"code": self.code, "detail": self.detail, "hint": self.hint, "decision": self.decision})


class Deliver(Record, frozen=True, tag="deliver"):
    """A message for this connection. ``again``: it was not handed on just now, but for who was away or asks for it."""

    serial: int
    message: bytes
    again: bool = False


class Found(Record, frozen=True, tag="found"):
    """A kept message that was queried for."""

    number: int
    serial: int
    message: bytes


class Listed(Record, frozen=True, tag="listed"):
    """Resources that were asked for."""

    number: int
    resources: Annotated[tuple[str, ...], between(0, LIMITS.listed_per_frame)]


class Dropped(Record, frozen=True, tag="dropped"):
    """So many messages were not delivered since the last such frame."""

    count: int


Frame: TypeAlias = (
    Hello | Give | Want | Subscribe | Unsubscribe | Publish | Query | ListKept
    | Done | Denied | Deliver | Found | Listed | Dropped
)  # fmt: skip
Asking: TypeAlias = Subscribe | Unsubscribe | Publish | Query | ListKept


class _Parcel(Record, frozen=True):
    version: Version
    frames: Annotated[tuple[Frame, ...], between(1, LIMITS.parcel_frames)]


_PARCEL = Format(_Parcel, "parcel of frames", LIMITS.frame_bytes)
_HEAD: Final = record_bytes(_Parcel(VERSION, ()))[:2]


def denied(number: int, error: WaveError) -> Denied:
    """Return the frame that tells of a refusal."""
    return Denied(number, error.code, error.message[:4096], error.hint[:4096], error.decision)


def write_frame(frame: Frame) -> bytes:
    """Return a frame's bytes, which stand in parcels."""
    return record_bytes(frame)


def parcels(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Yield frames that are written already in as few parcels as their bounds allow, in order."""
    waiting: list[bytes] = []
    size = 0
    for frame in frames:
        if waiting and (len(waiting) == LIMITS.parcel_frames or size + len(frame) > LIMITS.parcel_bytes):
            yield _joined(waiting)
            waiting, size = [], 0
        waiting.append(frame)
        size += len(frame)
    if waiting:
        yield _joined(waiting)


def parcel(*frames: Frame) -> bytes:
    """Return the parcel of these few frames."""
    return _joined([write_frame(frame) for frame in frames])


def _joined(frames: list[bytes]) -> bytes:
    count = len(frames)
    head = bytes([0x90 + count]) if count < _FEW else b"\xdc" + count.to_bytes(2)
    return b"".join([_HEAD, head, *frames])


def read_parcel(data: bytes) -> tuple[Frame, ...]:
    """Return the frames in a parcel, of which nothing is believed yet; :class:`InputError`."""
    try:
        return _PARCEL.decode(data).frames
    except Malformed as error:
        raise BadRequest(
            f"frames that nobody here understands: {error.message}",
            hint="router and peer may be of different releases",
        ) from None
