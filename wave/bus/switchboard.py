"""The switchboard: a bus on which each namespace is spoken to by way of its own router, found by signed routes.

Each router has a connection of its own, so one that is down holds up nobody but those who want something of it. A
namespace moves when another router is designated for it, or its router is reached elsewhere: whoever reads goes on
reading there. Nothing rests on a router being the right one but that messages arrive.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

from wave.agent.client import AgentClient
from wave.agent.wire import FindRouter, identity
from wave.bus.connection import Clock, FactsSource, Link, OnRefused
from wave.bus.marks import Marks
from wave.bus.message import JSON, Accepted, Inbox, Message
from wave.bus.peer import Peer
from wave.bus.port import Bus
from wave.bus.proofs import ProofSource
from wave.bus.reading import Reading
from wave.bus.router import end_task
from wave.bus.websocket import connected
from wave.codec import id_text
from wave.entities.entity import EntitySecret
from wave.errors import BadRoute, NotFound, Refused, RouterUnavailable, WaveError
from wave.namespace.pattern import Pattern

MARKS: Final = "received.marks"
MQTT: Final = ("mqtt://", "mqtts://")
KEPT: Final = 5.0  # seconds for which a namespace's router is taken to be the one that it was
_SOONER: Final = 0.5  # and while it cannot be reached
_LATEST: Final = 5.0  # between two attempts to go on reading
_FAREWELL: Final = 1.0
_SEE: Final = "'wave router list NS' shows which one it should be, and where"

_log = logging.getLogger(__name__)


class Carrier(NamedTuple):
    """A namespace's router: its entity, and where it is reached, the best URL first."""

    router: bytes
    urls: tuple[str, ...]


RouteSource: TypeAlias = Callable[[bytes], Awaitable[Carrier]]
"""Gives the router of a namespace; raises :class:`UnknownRouter` when it has none, :class:`Unavailable`."""


def agent_routes(agent: AgentClient) -> RouteSource:
    """Return the source that asks an agent."""

    async def find(namespace: bytes) -> Carrier:
        reply = await agent.call(FindRouter(namespace=id_text(namespace)))
        return Carrier(identity(reply.router), reply.urls)

    return find


class _Line:
    """A connection to one router, open until it is told to end; ``up`` while there is one to speak over."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.namespaces: set[bytes] = set()
        self.up = asyncio.Event()
        self.trouble: WaveError = RouterUnavailable(
            f"the router at {' or '.join(carrier.urls)} does not answer", hint=_SEE
        )
        self.bus: Bus
        self._turn = count()
        self._leave = asyncio.Event()
        self._entered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self, bus: Bus) -> None:
        """Begin to connect."""
        self.bus = bus
        self._task = asyncio.create_task(self._stay())
        await self._entered.wait()
        if self._task.done():
            await self._task

    async def close(self) -> None:
        """Disconnect."""
        self._leave.set()
        if self._task is not None:
            await self._task

    async def _stay(self) -> None:
        try:
            async with self.bus:
                self._entered.set()
                await self._leave.wait()
        finally:
            self._entered.set()

    @asynccontextmanager
    async def dial(self, _: str) -> AsyncIterator[Link]:
        """Connect to the router at one of its URLs, each time at the next one."""
        urls = web_urls(self.carrier)
        url = urls[next(self._turn) % len(urls)]
        try:
            async with connected(url) as link:
                self.up.set()
                yield link
            self.trouble = RouterUnavailable(f"the router at {url} closed the connection", hint=_SEE)
        except WaveError as error:
            self.trouble = error
            raise
        finally:
            self.up.clear()


class _Place:
    """Where a namespace is spoken to, until it moves."""

    def __init__(self, line: _Line) -> None:
        self.line = line
        self.moved = asyncio.Event()


def web_urls(carrier: Carrier) -> list[str]:
    """Return the URLs of WebSockets among those by which a router is reached."""
    return [url for url in carrier.urls if url.startswith(("ws://", "wss://"))]


def _ignore(_message: Message | None, _error: WaveError) -> None:
    pass


class Switchboard:
    """``async with Switchboard(secret, routes, …) as bus``: a :class:`wave.bus.port.Bus` over every router needed."""

    def __init__(
        self,
        secret: EntitySecret,
        routes: RouteSource,
        *,
        proofs: ProofSource,
        facts: FactsSource,
        clock: Clock,
        draw: Callable[[int], bytes],
        patience: float = 10.0,
        kept: float = KEPT,
        state: Path | None = None,
    ) -> None:
        """Act as ``secret`` with the routers that ``routes`` finds, which are asked for again every ``kept`` seconds.

        The rest is as for :class:`wave.bus.peer.Peer`, which is what speaks to each router.
        """
        self.secret = secret
        self._routes = routes
        self._proofs = proofs
        self._facts = facts
        self._clock = clock
        self._draw = draw
        self._patience = patience
        self._kept = kept
        self._state = state
        self._marks = None if state is None else Marks(state / MARKS)
        self._inbox = Inbox(since=int(clock()), marks=self._marks)
        self._lines: dict[Carrier, _Line] = {}
        self._places: dict[bytes, _Place] = {}
        self._asking: dict[bytes, asyncio.Lock] = {}
        self._watches: dict[bytes, asyncio.Task[None]] = {}
        self._pumps: dict[int, asyncio.Task[None]] = {}
        self._numbers = count(1)
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many deliveries the routers had to drop."""
        return self._dropped + sum(line.bus.dropped for line in self._lines.values())

    async def __aenter__(self) -> Self:
        """Wait for the first act: which routers are needed, it says."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect from every router."""
        await asyncio.gather(*map(end_task, (*self._pumps.values(), *self._watches.values())))
        self._places.clear()
        await asyncio.gather(*map(self._close, tuple(self._lines.values())))
        if self._marks is not None:
            self._marks.close()

    @property
    def connected(self) -> bool:
        """Whether the router of every namespace that was spoken to can be reached now."""
        return bool(self._places) and all(place.line.bus.connected for place in self._places.values())

    # Acts ----------------------------------------------------------------------------------------------------------

    async def publish(
        self, namespace: bytes, where: str, payload: bytes, *, content_type: str = JSON, persist: bool = False
    ) -> int:
        """Publish by way of the namespace's router; raises what it or the agent refused, :class:`UnknownRouter`."""
        bus = (await self._ready(namespace)).line.bus
        return await bus.publish(namespace, where, payload, content_type=content_type, persist=persist)

    async def forward(self, message: bytes, proof: bytes) -> int:
        """Carry a message that somebody else signed to its namespace's router."""
        bus = (await self._ready(Message.from_bytes(message).namespace)).line.bus
        return await bus.forward(message, proof)

    async def subscribe(
        self,
        namespace: bytes,
        pattern: str,
        *,
        refused: OnRefused = _ignore,
        since: int | None = None,
        began: int | None = None,
    ) -> Reading:
        """Subscribe at the namespace's router; it goes on wherever the namespace is carried later."""
        number = next(self._numbers)
        if since is None and began is None:
            began = int(self._clock())
        outer = Reading(number, namespace, Pattern(pattern), refused=refused, give_up=self._give_up, began=began)
        place = await self._ready(namespace)
        inner = await place.line.bus.subscribe(namespace, pattern, refused=refused, since=since, began=began)
        outer.opened = True
        self._pumps[outer.number] = asyncio.create_task(self._pump(outer, inner, place))
        return outer

    async def query(self, namespace: bytes, pattern: str, *, last: int = 1) -> tuple[Accepted, ...]:
        """Return kept messages from the namespace's router, checked like any other."""
        return await (await self._ready(namespace)).line.bus.query(namespace, pattern, last=last)

    async def list(self, namespace: bytes, pattern: str) -> tuple[str, ...]:
        """Return the resources of kept messages at the namespace's router."""
        return await (await self._ready(namespace)).line.bus.list(namespace, pattern)

    # Reading on ----------------------------------------------------------------------------------------------------

    async def _give_up(self, outer: Reading) -> None:
        task = self._pumps.pop(outer.number, None)
        if task is not None:
            await end_task(task)

    async def _pump(self, outer: Reading, inner: Reading, place: _Place) -> None:
        """Hand on what is read, here and wherever the namespace moves, until the right to read ends."""
        try:
            while not await self._read(inner, outer, place):
                await _close(inner)
                inner, place = await self._read_on(outer, inner.serial, place.line.carrier.router)
        except WaveError as error:
            outer.end(error)
        finally:
            self._pumps.pop(outer.number, None)
            await _close(inner)

    async def _read(self, inner: Reading, outer: Reading, place: _Place) -> bool:
        """Hand on what is read until the namespace moves (False), or the reading is closed; raise what ended it."""
        moved = asyncio.create_task(place.moved.wait())
        handing = asyncio.create_task(self._hand_on(inner, outer))
        try:
            await asyncio.wait((handing, moved), return_when=asyncio.FIRST_COMPLETED)
            if handing.done():
                await handing
            return handing.done()
        finally:
            moved.cancel()
            await end_task(handing)

    @staticmethod
    async def _hand_on(inner: Reading, outer: Reading) -> None:
        async for received in inner:
            outer.serial = received.serial
            outer.put(received)

    async def _read_on(self, outer: Reading, serial: int, router: bytes) -> tuple[Reading, _Place]:
        """Subscribe at the router that carries the namespace by now, however long that takes.

        When it is still the entity ``router``, at another address, from behind the ``serial`` that it gave last.
        """
        pause = 0.05
        while True:
            try:
                place = await self._ready(outer.namespace)
                since = serial if place.line.carrier.router == router else None
                where = outer.namespace, str(outer.pattern)
                bus = place.line.bus
                return await bus.subscribe(*where, refused=outer.refused, since=since, began=outer.began), place
            except Refused:
                raise
            except WaveError as error:
                _log.info("%s is not read on yet: %s", outer.pattern, error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LATEST)

    # Routers -------------------------------------------------------------------------------------------------------

    async def _ready(self, namespace: bytes) -> _Place:
        """Return where a namespace is spoken to, once its router answers; :class:`RouterUnavailable` after a while."""
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    place = self._places.get(namespace) or await self._settle(namespace)
                    if place.line.up.is_set() or await _first(place.line.up, place.moved):
                        return place
        except TimeoutError:
            known = self._places.get(namespace)
            if known is None:
                raise RouterUnavailable(f"which router to use could not be told in {self._patience:g} s") from None
            trouble = known.line.trouble
            raise type(trouble)(trouble.message, hint=trouble.hint, decision=trouble.decision) from None

    async def _settle(self, namespace: bytes) -> _Place:
        """Ask for a namespace's router, and move the namespace there when it is another one than before."""
        async with self._asking.setdefault(namespace, asyncio.Lock()):
            before = self._places.get(namespace)
            carrier = await self._routes(namespace)
            if before is not None and before.line.carrier == carrier:
                return before
            line = self._lines.get(carrier)
            if line is None:
                line = self._lines[carrier] = await self._open(carrier)
            line.namespaces.add(namespace)
            place = self._places[namespace] = _Place(line)
            if before is not None:
                await self._leave(namespace, before)
            if namespace not in self._watches:
                self._watches[namespace] = asyncio.create_task(self._watch(namespace))
            return place

    async def _leave(self, namespace: bytes, place: _Place) -> None:
        place.moved.set()
        place.line.namespaces.discard(namespace)
        if not place.line.namespaces:
            await self._close(place.line)

    async def _watch(self, namespace: bytes) -> None:
        """Keep the router of a namespace the one that is designated; ask sooner while it cannot be reached."""
        sooner = _SOONER
        while True:
            place = self._places.get(namespace)
            reachable = place is not None and place.line.up.is_set()
            await asyncio.sleep(self._kept if reachable else min(self._kept, sooner))
            sooner = _SOONER if reachable else 2 * sooner
            try:
                await self._settle(namespace)
            except NotFound as error:
                _log.info("%s", error.message)
                gone = self._places.pop(namespace, None)
                if gone is not None:
                    await self._leave(namespace, gone)
            except WaveError as error:  # whoever carried it before still does, for all that is known
                _log.info("the router is not asked for again: %s", error.message)

    async def _open(self, carrier: Carrier) -> _Line:
        """Begin to connect to a router by the carrier that it names first."""
        line = _Line(carrier)
        await line.open(self._bus(line))
        return line

    def _bus(self, line: _Line) -> Bus:
        """Return the bus over a router, by the kind of carrier that it names first."""
        router, urls = line.carrier
        if not urls:
            raise BadRoute("the router names no address")
        if urls[0].startswith(MQTT):
            from wave.bus.mqtt import MqttBus

            line.up.set()  # it waits for its broker by itself
            return MqttBus(
                self.secret,
                urls[0],
                proofs=self._proofs,
                facts=self._facts,
                clock=self._clock,
                draw=self._draw,
                patience=self._patience,
                inbox=self._inbox,
            )
        return Peer(
            self.secret,
            urls[0],
            proofs=self._proofs,
            facts=self._facts,
            clock=self._clock,
            draw=self._draw,
            patience=self._patience,
            inbox=self._inbox,
            connect=line.dial,
            router=router,
        )

    async def _close(self, line: _Line) -> None:
        self._lines.pop(line.carrier, None)
        self._dropped += line.bus.dropped
        await line.close()


async def _close(inner: Reading) -> None:
    """Give a reading up, at its router too if that can be told soon."""
    with contextlib.suppress(WaveError, TimeoutError):
        async with asyncio.timeout(_FAREWELL):
            await inner.close()


async def _first(up: asyncio.Event, moved: asyncio.Event) -> bool:
    """Wait until one of two things happens; tell whether it was the first."""
    waiting = [asyncio.create_task(event.wait()) for event in (up, moved)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return up.is_set()
    finally:
        for task in waiting:
            task.cancel()
