"""The motion sensor at the door: says ``triggered`` when a package is delivered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from devices.machine import Command, Machine, only
from wave.errors import BadPayload

PACKAGE_SLOT: Final = "i.motion/slot/package"
TRIGGERED_SIGNAL: Final = "i.motion/signal/triggered"


@dataclass(frozen=True, slots=True)
class MotionState:
    """How many packages came, and when the last one did (UTC seconds)."""

    count: int = 0
    at: int | None = None


class MotionSensor(Machine[MotionState]):
    """A sensor whose slot stands for the courier."""

    kind = "motion"
    service = "s.motion"
    slots = (PACKAGE_SLOT,)
    signals = (TRIGGERED_SIGNAL,)

    def initial(self, now: float) -> MotionState:  # noqa: ARG002 - nothing came yet
        return MotionState()

    def handle(self, state: MotionState, command: Command) -> tuple[MotionState, str]:
        if only(command.value, "package")["package"] != "delivered":
            raise BadPayload('{"package": "delivered"} is wanted')
        return MotionState(state.count + 1, int(command.at)), "triggered"

    def report(self, state: MotionState) -> Mapping[str, Any]:
        if state.at is None:
            return {}
        return {TRIGGERED_SIGNAL: {"triggered": True, "count": state.count, "time": state.at}}
