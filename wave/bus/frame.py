"""Frames: what peer and router say to each other, as tuples in the canonical form. A carrier moves their bytes.

A peer subscribes, unsubscribes and publishes, each with a number of its own choice by which the router answers.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from wave.bus.message import Message
from wave.codec import Value, decode, encode
from wave.dots.proof import Proof
from wave.errors import BadRequest, WaveError, from_problem
from wave.limits import LIMITS

VERSION: Final = 1
CHALLENGE_BYTES: Final = 16
NO_PROOF: Final = Proof.build((), ())


@dataclass(frozen=True, slots=True)
class Hello:
    """The router's first word: what a subscription on this connection must carry as its payload."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send what matches the message's resource, which is a pattern."""

    number: int
    message: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """End the subscription that this connection opened under that number."""

    number: int
    subscription: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Deliver a message to whoever may read it."""

    number: int
    message: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """What was asked under that number is done; ``count`` is how many connections a message went to."""

    number: int
    count: int


@dataclass(frozen=True, slots=True)
class Denied:
    """What was asked under that number is not done, and why. An open subscription ends so, too."""

    number: int
    error: WaveError


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message for this connection, with the proof beside it."""

    message: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many messages were not delivered since the last such frame: the connection reads too slowly."""

    count: int


Frame: TypeAlias = Hello | Subscribe | Unsubscribe | Publish | Done | Denied | Deliver | Dropped


def write_frame(frame: Frame) -> bytes:
    """Return a frame's bytes."""
    return encode(_tuple(frame))


def _tuple(frame: Frame) -> Value:  # noqa: PLR0911 - one a frame
    match frame:
        case Hello(challenge):
            return ("hello", VERSION, challenge)
        case Subscribe(number, message, proof):
            return ("subscribe", number, message, proof)
        case Unsubscribe(number, subscription):
            return ("unsubscribe", number, subscription)
        case Publish(number, message, proof):
            return ("publish", number, message, proof)
        case Done(number, count):
            return ("done", number, count)
        case Denied(number, error):
            return ("denied", number, error.code, error.message, error.hint, error.decision)
        case Deliver(message, proof):
            return ("deliver", message, proof)
        case Dropped(count):
            return ("dropped", count)


def read_frame(data: bytes) -> Frame:  # noqa: PLR0911 - one a frame
    """Return the frame in ``data``, of which nothing is believed yet; :class:`InputError`."""
    match decode(data, bound=LIMITS.frame_bytes):
        case ("hello", int(version), bytes(challenge)) if version == VERSION and len(challenge) == CHALLENGE_BYTES:
            return Hello(challenge)
        case ("subscribe", int(number), bytes(message), bytes(proof)):
            return Subscribe(number, message, proof)
        case ("unsubscribe", int(number), int(subscription)):
            return Unsubscribe(number, subscription)
        case ("publish", int(number), bytes(message), bytes(proof)):
            return Publish(number, message, proof)
        case ("done", int(number), int(count)):
            return Done(number, count)
        case ("denied", int(number), str(code), str(message), str(hint), (None | str()) as decision):
            details = {"code": code, "detail": message, "hint": hint, "decision": decision}
            return Denied(number, from_problem(details))
        case ("deliver", bytes(message), bytes(proof)):
            return Deliver(message, proof)
        case ("dropped", int(count)):
            return Dropped(count)
    raise BadRequest("a frame that nobody here understands", hint="router and peer may be of different releases")


def read_pair(message: bytes, proof: bytes) -> tuple[Message, Proof]:
    """Return a frame's message and the proof beside it, parsed; :class:`InputError`."""
    return Message.from_bytes(message), Proof.from_bytes(proof) if proof else NO_PROOF
