"""The thermostat: keeps a room between two set points (°F), with a little physics. Time is an argument throughout."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from devices.machine import Command, Machine, only
from wave.errors import BadPayload

SETPOINT_SLOT: Final = "i.thermostat/slot/state"
STATE_SIGNAL: Final = "i.thermostat/signal/state"

OFF: Final = "off"
HEATING: Final = "heating"
COOLING: Final = "cooling"

HYSTERESIS: Final = 1.0  # °F beyond a set point before anything runs
COLDEST: Final = 40  # °F, the least that may be set
HOTTEST: Final = 95
OUTSIDE_MEAN: Final = 65.0  # °F
OUTSIDE_SWING: Final = 25.0
OUTSIDE_PERIOD: Final = 1200.0  # seconds: a short day
LEAK: Final = 1 / 300  # part of the difference to outside that comes in each second
POWER: Final = 0.25  # °F a second
OCCUPANCY_PERIOD: Final = 20.0  # seconds: half of it occupied
_LONGEST: Final = 600  # seconds of physics at once; a machine that slept has no more to catch up with


@dataclass(frozen=True, slots=True)
class Climate:
    """The room and what the thermostat does about it; temperatures in °F, ``at`` in UTC seconds."""

    state: str
    hsp: float
    csp: float
    temperature: float
    at: float

    @property
    def occupied(self) -> bool:
        """Whether somebody is in: a square wave."""
        return self.at % OCCUPANCY_PERIOD < OCCUPANCY_PERIOD / 2


def outside(now: float) -> float:
    """Return the temperature outside (°F), a slow sine."""
    return OUTSIDE_MEAN + OUTSIDE_SWING * math.sin(2 * math.pi * now / OUTSIDE_PERIOD)


def decide(climate: Climate) -> str:
    """Return what to do now: begin one degree beyond a set point, and go on until it is reached."""
    temperature, hsp, csp = climate.temperature, climate.hsp, climate.csp
    if temperature < hsp - HYSTERESIS or (climate.state == HEATING and temperature < hsp):
        return HEATING
    if temperature > csp + HYSTERESIS or (climate.state == COOLING and temperature > csp):
        return COOLING
    return OFF


def advance(climate: Climate, now: float) -> Climate:
    """Return the climate at ``now``, a second at a time."""
    climate = replace(climate, at=min(max(climate.at, now - _LONGEST), now))
    while climate.at < now:
        climate = _step(climate, min(1.0, now - climate.at))
    return climate


def _step(climate: Climate, seconds: float) -> Climate:
    working = {HEATING: POWER, COOLING: -POWER}.get(climate.state, 0.0)
    leaking = LEAK * (outside(climate.at) - climate.temperature)
    moved = replace(climate, temperature=climate.temperature + seconds * (working + leaking), at=climate.at + seconds)
    return replace(moved, state=decide(moved))


class Thermostat(Machine[Climate]):
    """A thermostat with a heating and a cooling set point, that reports once a second."""

    kind = "thermostat"
    service = "s.thermostat"
    slots = (SETPOINT_SLOT,)
    signals = (STATE_SIGNAL,)
    period = 1.0

    def initial(self, now: float) -> Climate:
        return Climate(OFF, 70.0, 73.0, 72.0, now)

    def pass_time(self, state: Climate, now: float) -> Climate:
        return advance(state, now)

    def handle(self, state: Climate, command: Command) -> tuple[Climate, str]:
        wanted = only(command.value, "hsp", "csp")
        for name, value in wanted.items():
            if isinstance(value, bool) or not isinstance(value, int | Decimal) or not COLDEST <= value <= HOTTEST:
                raise BadPayload(f"{name} is a number from {COLDEST} to {HOTTEST} (°F)")
        state = replace(state, hsp=float(wanted.get("hsp", state.hsp)), csp=float(wanted.get("csp", state.csp)))
        if state.hsp > state.csp:
            raise BadPayload("the heating set point (hsp) may not be above the cooling one (csp)")
        said = ", ".join(f"{name} {value}" for name, value in sorted(wanted.items()))
        return replace(state, state=decide(state)), said

    def report(self, state: Climate) -> Mapping[str, Any]:
        return {
            STATE_SIGNAL: {
                "state": state.state,
                "hsp": state.hsp,
                "csp": state.csp,
                "temperature": round(state.temperature, 1),
                "occupied": state.occupied,
            }
        }
