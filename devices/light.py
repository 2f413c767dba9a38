"""The light: on, off, toggle, and a brightness from 0 to 100."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from devices.machine import Command, Machine, only
from devices.onoff import STATE_SIGNAL, STATE_SLOT, switched, word
from wave.errors import BadPayload

BRIGHTNESS_SLOT: Final = "i.dimmer/slot/brightness"
_BRIGHTEST: Final = 100


@dataclass(frozen=True, slots=True)
class LightState:
    """``brightness`` (1 to 100) is kept while the light is off."""

    on: bool = False
    brightness: int = _BRIGHTEST


class Light(Machine[LightState]):
    """A light with a dimmer. Who may switch need not be allowed to dim: each has its own slot."""

    kind = "light"
    service = "s.light"
    slots = (STATE_SLOT, BRIGHTNESS_SLOT)
    signals = (STATE_SIGNAL,)

    def initial(self, now: float) -> LightState:  # noqa: ARG002 - off at any time
        return LightState()

    def handle(self, state: LightState, command: Command) -> tuple[LightState, str]:
        """Switch, or set the brightness; a brightness of 0 is off."""
        if command.slot == STATE_SLOT:
            on = switched(command.value, on=state.on)
            return replace(state, on=on), word(on=on)
        level = only(command.value, "brightness")["brightness"]
        if type(level) is not int or not 0 <= level <= _BRIGHTEST:
            raise BadPayload(f"a brightness is a whole number from 0 to {_BRIGHTEST}")
        return LightState(level > 0, level or state.brightness), f"brightness {level}"

    def report(self, state: LightState) -> Mapping[str, Any]:
        return {STATE_SIGNAL: {"state": word(on=state.on), "brightness": state.brightness if state.on else 0}}
