"""The controller: hears some resources and commands one other, by a rule. It holds just those rights and no more."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from devices.device import Names, Speaker
from devices.log import OK, Tell
from devices.machine import write_json
from wave.bus.port import Bus
from wave.bus.reading import Received
from wave.bus.values import read_json
from wave.errors import BadPayload, WaveError

CLOUDY: Final = 70  # % of cloud cover above which it is dark


@dataclass(frozen=True, slots=True)
class Place:
    """A resource of a namespace (an id)."""

    namespace: bytes
    resource: str


Heard: TypeAlias = Mapping[str, Any]
"""The newest value heard from each source, by the source's name."""

Rule: TypeAlias = Callable[[Heard], Any]
"""Returns the command that follows from what was heard, None for none; :class:`BadPayload` when it makes no sense.

What was heard last stands last.
"""


def mirror(heard: Heard) -> Any:
    """Return the state last heard, whichever source it came from, as a command."""
    return {"state": _state(list(heard.values())[-1])}


def occupied(heard: Heard) -> Any:
    """Return on exactly while the thermostat says that somebody is in."""
    found = [value.get("occupied") for value in heard.values() if isinstance(value, dict)]
    if not found or not isinstance(found[-1], bool):
        raise BadPayload("the report does not say whether somebody is in")
    return {"state": "on" if found[-1] else "off"}


def cloudy(heard: Heard) -> Any:
    """Return on if and only if ``clouds`` says more than 70 % or ``switch`` is on."""
    clouds, switch = heard.get("clouds"), heard.get("switch")
    cover = clouds.get("cover") if isinstance(clouds, dict) else 0 if clouds is None else clouds
    if isinstance(cover, bool) or not isinstance(cover, int | Decimal):
        raise BadPayload("the report does not say how much of the sky is covered")
    pressed = switch is not None and _state(switch) == "on"
    return {"state": "on" if cover > CLOUDY or pressed else "off"}


def thief(heard: Heard) -> Any:
    """Return a note for each report of ``motion`` while ``home``, a thermostat, says that nobody is in."""
    if list(heard)[-1] != "motion":
        return None
    motion, climate = heard["motion"], heard.get("home")
    if not isinstance(motion, dict) or motion.get("triggered") is not True:
        raise BadPayload("the report does not say that anything moved")
    if not isinstance(climate, dict) or climate.get("occupied") is not False:
        return None
    return {"text": "something moves at the door, and nobody is at home there"}


RULES: Final[Mapping[str, Rule]] = {"mirror": mirror, "occupied": occupied, "cloudy": cloudy, "thief": thief}


def _state(value: Any) -> str:
    state = value.get("state") if isinstance(value, dict) else value
    if state not in ("on", "off"):
        raise BadPayload("the report does not say on or off")
    return str(state)


class Controller(Speaker):
    """Decides again on every message from any of its sources."""

    def __init__(
        self,
        name: str,
        peer: Bus,
        sources: Mapping[str, Place],
        target: Place,
        rule: Rule,
        *,
        clock: Callable[[], float],
        tell: Tell,
        names: Names,
    ) -> None:
        """Listen to ``sources``, each under its name, and command ``target``."""
        super().__init__(name, peer, clock=clock, tell=tell, names=names)
        self.sources = sources
        self.target = target
        self.rule = rule
        self._needed = len(sources)
        self._heard: dict[str, Any] = {}
        self._waiting = set(sources)

    async def run(self) -> None:
        """Act until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tell_refusals())
            for name in self.sources:
                group.create_task(self._hear(name))

    async def _hear(self, name: str) -> None:
        def opened() -> None:
            self._waiting.discard(name)
            if not self._waiting:
                self.ready.set()

        place = self.sources[name]
        await self.listen(place.namespace, place.resource, lambda one: self._act(name, one), opened=opened)

    async def _act(self, name: str, received: Received) -> None:
        if received.kept and received.message.created < self.began:
            return
        try:
            value = read_json(received.message.payload)
            heard = {**self._heard}
            heard.pop(name, None)
            heard[name] = value
            command = self.rule(heard)
            self._heard = heard
            if command is None:
                return
            await self.peer.publish(self.target.namespace, self.target.resource, write_json(command))
        except WaveError as error:
            self.trouble(f"{self.target.resource} was not commanded: {error.message}", error)
        else:
            did = f"{self.target.resource} {write_json(command).decode()}"
            await self.note(received.message, code=OK, did=did, decision=received.decision)
