"""Where actors stand: one agent, one router and one clock, from which each gets its peer."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from devices.controller import Controller, Place, Rule
from devices.device import Device, Names
from devices.light import Light
from devices.log import Tell
from devices.machine import Machine
from devices.motion import MotionSensor
from devices.notifier import Notifier
from devices.switch import Switch
from devices.thermostat import Thermostat
from wave.agent.client import AgentClient, FactsFeed
from wave.agent.wire import Names as AskNames
from wave.bus.peer import Peer
from wave.bus.proofs import ProofSource, agent_proofs
from wave.bus.router import Clock, FactsSource
from wave.bus.websocket import check_url
from wave.entities.entity import EntitySecret
from wave.errors import BadSetting

KINDS = {kind.kind: kind for kind in (Light, Switch, MotionSensor, Thermostat, Notifier)}
NAMES_KEPT = 5.0  # seconds


def machine(kind: str) -> Machine[object]:
    """Return a new machine of a kind; :class:`BadSetting`."""
    found = KINDS.get(kind)
    if found is None:
        raise BadSetting(f"there is no device of kind {kind[:40]!r}", hint=f"there are {', '.join(KINDS)}")
    return found()  # type: ignore[return-value] # each machine reads and returns its own state


@dataclass(slots=True)
class Site:
    """What every actor is given: where proofs, facts and names come from, the router's URL, and the clock."""

    router: str
    proofs: ProofSource
    facts: FactsSource
    names: Names
    clock: Clock
    draw: Callable[[int], bytes] = field(default=os.urandom)

    @classmethod
    def of(cls, agent: AgentClient, router: str, clock: Clock) -> "Site":
        """Return the site whose proofs, facts and names all come from ``agent``."""
        return cls(router, agent_proofs(agent), FactsFeed(agent).facts, _kept(agent, clock), clock)

    def peer(self, secret: EntitySecret, *, patience: float = 10.0) -> Peer:
        """Return the peer of an entity, not connected yet; :class:`BadSetting` for a router's URL that is none."""
        check_url(self.router)
        return Peer(
            secret,
            self.router,
            proofs=self.proofs,
            facts=self.facts,
            clock=self.clock,
            draw=self.draw,
            patience=patience,
        )

    @asynccontextmanager
    async def device(
        self, kind: str, instance: str, secret: EntitySecret, namespace: bytes, *, tell: Tell, also: str | None = None
    ) -> AsyncIterator[Device[object]]:
        """Run a device while the body runs."""
        async with self.peer(secret) as peer:
            device = Device(
                machine(kind), instance, peer, namespace, clock=self.clock, tell=tell, names=self.names, also=also
            )
            async with running(device):
                yield device

    @asynccontextmanager
    async def controller(
        self,
        name: str,
        secret: EntitySecret,
        sources: dict[str, Place],
        target: Place,
        rule: Rule,
        *,
        tell: Tell,
    ) -> AsyncIterator[Controller]:
        """Run a controller while the body runs."""
        async with self.peer(secret) as peer:
            controller = Controller(name, peer, sources, target, rule, clock=self.clock, tell=tell, names=self.names)
            async with running(controller):
                yield controller


class Actor(Protocol):
    """Whatever runs until cancelled and says when it is ready."""

    ready: asyncio.Event

    async def run(self) -> None:
        """Run until cancelled."""
        ...


@asynccontextmanager
async def running(actor: Actor) -> AsyncIterator[None]:
    """Run an actor while the body runs; what breaks it breaks the body too."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(actor.run())
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as errors:  # one is enough to tell
        raise errors.exceptions[0] from None


def _kept(agent: AgentClient, clock: Clock) -> Callable[[], Awaitable[dict[str, str]]]:
    """Return the agent's names, asked for anew when they are some seconds old."""
    known: dict[str, str] = {}
    asked = 0.0

    async def names() -> dict[str, str]:
        nonlocal known, asked
        if abs(clock() - asked) > NAMES_KEPT:
            known, asked = (await agent.call(AskNames())).names, clock()
        return known

    return names


async def all_ready(*actors: Actor, patience: float) -> bool:
    """Wait until all are ready; False when that takes longer than ``patience`` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            for actor in actors:
                await actor.ready.wait()
            return True
    return False
