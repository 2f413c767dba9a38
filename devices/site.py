"""Where actors stand: one agent, one router and one clock, from which each gets its peer."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from devices.controller import Controller, Place, Rule
from devices.device import Device, Names, Speaker
from devices.feed import Feed, FileFeed
from devices.light import Light
from devices.log import Tell
from devices.machine import Machine
from devices.motion import MotionSensor
from devices.notifier import Notifier
from devices.own import own_kind
from devices.switch import Switch
from devices.thermostat import Thermostat
from wave.agent.client import AgentClient, FactsFeed
from wave.agent.wire import Names as AskNames
from wave.bus.connect import open_bus
from wave.bus.port import Bus
from wave.bus.proofs import ProofSource, agent_proofs
from wave.bus.router import Clock, FactsSource
from wave.bus.switchboard import RouteSource, agent_routes
from wave.chain.disk import FileLock
from wave.codec import id_text
from wave.entities.entity import EntitySecret
from wave.errors import BadSetting, EntityInUse, StateLocked

KINDS: Final[Mapping[str, type[Machine[Any]]]] = {
    kind.kind: kind for kind in (Light, Switch, MotionSensor, Thermostat, Notifier, Feed)
}
NAMES_KEPT: Final = 5.0  # seconds


def kind_of(kind: str) -> type[Machine[Any]]:
    """Return the class of machines of a kind, which is one of ours or ``FILE.py:CLASS``; :class:`BadSetting`."""
    if ":" in kind:
        return own_kind(kind)
    found = KINDS.get(kind)
    if found is None:
        hint = f"there are {', '.join(KINDS)} and controller, and FILE.py:CLASS for one of your own"
        raise BadSetting(f"there is no device of kind {kind[:40]!r}", hint=hint)
    return found


def machine(kind: str, *, seed: int = 0, file: Path | None = None) -> Machine[Any]:
    """Return a new machine of a kind; :class:`BadSetting` when there is none, or it cannot begin.

    A feed walks as ``seed`` says, or says what ``file`` holds.
    """
    found = kind_of(kind)
    if found is Feed:
        return Feed(seed) if file is None else FileFeed(file)
    try:
        return found()
    except Exception as error:  # noqa: BLE001 - somebody else's driver, without its hardware as a rule
        raise BadSetting(f"{kind} cannot begin: {type(error).__name__}: {error}") from None


@dataclass(slots=True)
class Site:
    """What every actor is given: where proofs, facts and names come from, the carrier's URL, and the clock.

    Without a URL, ``routes`` finds the router of each namespace. What an actor keeps between two runs, such as what it
    received already, stands under its entity's id in ``state``, which two actors with one entity cannot both own.
    """

    router: str | None
    proofs: ProofSource
    facts: FactsSource
    names: Names
    clock: Clock
    draw: Callable[[int], bytes] = field(default=os.urandom)
    routes: RouteSource | None = None
    state: Path | None = None

    @classmethod
    def of(cls, agent: AgentClient, router: str | None, clock: Clock, *, state: Path | None = None) -> "Site":
        """Return the site whose proofs, facts, names and routes all come from ``agent``."""
        facts, names = FactsFeed(agent).facts, _kept(agent, clock)
        return cls(router, agent_proofs(agent), facts, names, clock, routes=agent_routes(agent), state=state)

    def peer(self, secret: EntitySecret, *, patience: float = 10.0, state: Path | None = None) -> Bus:
        """Return the bus of an entity, not connected yet; :class:`BadSetting` for a carrier's URL that is none.

        ``state`` is a directory for what it keeps between two runs, if anything.
        """
        return open_bus(
            secret,
            self.router,
            proofs=self.proofs,
            facts=self.facts,
            clock=self.clock,
            draw=self.draw,
            routes=self.routes,
            patience=patience,
            state=state,
        )

    @asynccontextmanager
    async def own(self, secret: EntitySecret) -> AsyncIterator[Bus]:
        """Give the bus of an entity that is this actor's alone; :class:`EntityInUse` when another here acts with it."""
        if self.state is None:
            async with self.peer(secret) as peer:
                yield peer
            return
        directory = self.state / id_text(secret.id)
        try:
            lock = FileLock(directory / "lock")
        except StateLocked:
            raise EntityInUse(f"another process acts with the entity {id_text(secret.id)}") from None
        try:
            async with self.peer(secret, state=directory) as peer:
                yield peer
        finally:
            lock.close()

    @asynccontextmanager
    async def device(
        self,
        kind: str | Machine[Any],
        instance: str,
        secret: EntitySecret,
        namespace: bytes,
        *,
        tell: Tell,
        also: str | None = None,
    ) -> AsyncIterator[Device[Any]]:
        """Run a device, of a kind or with a machine of one's own, while the body runs."""
        standing = machine(kind) if isinstance(kind, str) else kind
        async with self.own(secret) as peer:
            device = Device(
                standing,
                instance,
                peer,
                namespace,
                clock=self.clock,
                tell=tell,
                names=self.names,
                also=also,
                run=self.draw(8).hex(),
            )
            async with running(device), stopping(device):
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
        async with self.own(secret) as peer:
            controller = Controller(name, peer, sources, target, rule, clock=self.clock, tell=tell, names=self.names)
            async with running(controller), stopping(controller):
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


@asynccontextmanager
async def stopping(actor: Speaker) -> AsyncIterator[None]:
    """Have an actor stop in order when the body ends, before it is cancelled."""
    try:
        yield
    finally:
        await actor.stop()


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
