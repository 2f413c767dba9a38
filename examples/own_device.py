"""A lamp of one's own on a pin of a Raspberry Pi, or on a simulated pin where there is none.

Run it with: wave device run examples/own_device.py:Lamp lamp0 --namespace home --from lamp.ent
"""

import os
from pathlib import Path
from typing import Any, Protocol

from devices.machine import Command, Machine
from devices.onoff import STATE_SIGNAL, STATE_SLOT, switched, word


class Pin(Protocol):
    """What a lamp needs of its driver. gpiozero's LED has it, and so could a relay at the end of a serial line."""

    def on(self) -> None: ...
    def off(self) -> None: ...


class SimulatedPin:
    """A pin that is a file (LAMP_FILE): 0 or 1 stands in it."""

    path = Path(os.environ.get("LAMP_FILE", os.devnull))

    def on(self) -> None:
        self.path.write_text("1")

    def off(self) -> None:
        self.path.write_text("0")


def pin() -> Pin:
    """Return the pin LAMP_PIN (17), by gpiozero where that is installed: pip install gpiozero lgpio."""
    try:
        from gpiozero import LED
    except ImportError:
        return SimulatedPin()
    return LED(int(os.environ.get("LAMP_PIN", "17")))


class Lamp(Machine[bool]):
    """On or off. A command comes here once the right of whoever sent it has been checked, and not before."""

    kind, service = "lamp", "s.lamp"
    slots, signals = (STATE_SLOT,), (STATE_SIGNAL,)

    def __init__(self) -> None:
        self.pin = pin()

    def initial(self, now: float) -> bool:
        return False

    def handle(self, state: bool, command: Command) -> tuple[bool, str]:
        on = switched(command.value, on=state)
        return on, word(on=on)

    def act(self, state: bool) -> None:
        (self.pin.on if state else self.pin.off)()

    def report(self, state: bool) -> dict[str, Any]:
        return {STATE_SIGNAL: {"state": word(on=state)}}
