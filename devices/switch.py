"""The switch: says on and off, and knows nothing of what listens."""

from collections.abc import Mapping
from typing import Any

from devices.machine import Command, Machine
from devices.onoff import STATE_SIGNAL, STATE_SLOT, switched, word


class Switch(Machine[bool]):
    """A switch on the wall. The slot stands for the finger that presses it."""

    kind = "switch"
    service = "s.switch"
    slots = (STATE_SLOT,)
    signals = (STATE_SIGNAL,)

    def initial(self, now: float) -> bool:  # noqa: ARG002 - off at any time
        return False

    def handle(self, state: bool, command: Command) -> tuple[bool, str]:  # noqa: FBT001 - the state is a boolean
        on = switched(command.value, on=state)
        return on, word(on=on)

    def report(self, state: bool) -> Mapping[str, Any]:  # noqa: FBT001 - the state is a boolean
        return {STATE_SIGNAL: {"state": word(on=state)}}
