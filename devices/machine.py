"""What a device is, apart from rights and networks: a state, and how commands and time change it. All pure."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from wave.errors import BadPayload

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Command:
    """What an accepted message asks: the slot's path below the device, the JSON value, and when (UTC seconds)."""

    slot: str
    value: Any
    at: float


class Machine(ABC, Generic[S]):
    """A kind of device. ``slots`` take commands and ``signals`` report, each named below the device's own path.

    The first of each also answers under the second spelling, ``…/control`` and ``…/report``. Everything is pure but
    for :meth:`act` and :meth:`pass_time` of a machine that has hardware.
    """

    kind: ClassVar[str]
    service: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    signals: ClassVar[tuple[str, ...]]
    period: ClassVar[float | None] = None
    """Seconds between reports, for a device that reports of its own accord."""

    @abstractmethod
    def initial(self, now: float) -> S:
        """Return the state of a device that has just been switched on."""

    @abstractmethod
    def handle(self, state: S, command: Command) -> tuple[S, str]:
        """Return the state after a command, and in a word what was done; :class:`BadPayload` leaves all as it was."""

    @abstractmethod
    def report(self, state: S) -> Mapping[str, Any]:
        """Return what each signal says in this state, as JSON values; a signal left out says nothing."""

    def pass_time(self, state: S, now: float) -> S:  # noqa: ARG002 - most devices do not age
        """Return the state when nothing but time has passed; a machine with a sensor reads it here."""
        return state

    def act(self, state: S) -> None:
        """Make the world follow ``state``, for a machine that moves something. Quick: other devices wait meanwhile.

        It is called once the deed is written down; when it raises, the state stays as it was, and that is written too.
        """


def write_json(value: Any) -> bytes:
    """Return a JSON value as a payload, in ASCII: a text may hold half a surrogate pair, which UTF-8 cannot."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def only(value: Any, *names: str) -> Mapping[str, Any]:
    """Return ``value`` when it is an object with one or more of these keys and no others; :class:`BadPayload`."""
    if not isinstance(value, dict) or not value or not set(value) <= set(names):
        raise BadPayload(f"an object with {' or '.join(names)} is wanted")
    return value
