"""A device on the bus: every command checked before its machine sees it, every decision told to the log."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from devices.clock import off_by
from devices.log import OK, Entry, Tell
from devices.machine import Command, Machine, write_json
from wave.bus.message import JSON, Message
from wave.bus.port import Bus
from wave.bus.reading import Reading, Received
from wave.bus.values import read_json
from wave.codec import id_text
from wave.errors import (
    BadPayload,
    DeviceFault,
    EntityInUse,
    MessageStale,
    RouterUnavailable,
    StateUnwritable,
    WaveError,
)
from wave.limits import LIMITS

S = TypeVar("S")

DENIED_SIGNAL: Final = "i.device/signal/denied"
PRESENCE_SIGNAL: Final = "i.device/signal/presence"
"""Whether the device is there: ``{"state": "online"|"offline", "since": UTC seconds, "run": text}``."""

STOP_WITHIN: Final = 5.0  # seconds for what is in hand, and for the last words
_DENIALS_PER_SECOND: Final = 10
_AGAIN_FIRST: Final = 0.5  # seconds before a subscription that ended is tried again
_AGAIN_MOST: Final = 30.0

_log = logging.getLogger(__name__)

Names = Callable[[], Awaitable[dict[str, str]]]
"""What entities are called here: id text to name."""


class Speaker:
    """What every actor of a home shares: it says under its name what it did for whom and what it refused."""

    def __init__(self, name: str, peer: Bus, *, clock: Callable[[], float], tell: Tell, names: Names) -> None:
        """Speak as ``name``."""
        self.name = name
        self.peer = peer
        self.clock = clock
        self.began = int(clock())
        self.ready = asyncio.Event()
        self.displaced = asyncio.Event()
        """Set when the actor has given up for good, because another acts with its entity."""
        self._tell = tell
        self._names = names
        self._trouble = ""
        self._dropped = 0
        self._refusals: asyncio.Queue[tuple[Message, WaveError]] = asyncio.Queue(maxsize=LIMITS.queue_frames)
        self._needed = 1
        self._readings: dict[Reading, bool] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._hand = asyncio.Lock()
        self._stopping = False

    @property
    def subscriptions(self) -> int:
        """How many of its subscriptions are open."""
        return len(self._readings) if self.peer.connected else 0

    @property
    def subscribed(self) -> bool:
        """Whether all the subscriptions that it needs are open."""
        return self.peer.connected and sum(self._readings.values()) >= self._needed

    async def stop(self) -> None:
        """Take nothing more, finish what was taken already, say the last words; :data:`STOP_WITHIN` seconds at most.

        Doing it again does nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        with contextlib.suppress(TimeoutError, WaveError):
            async with asyncio.timeout(STOP_WITHIN):
                await asyncio.gather(*[reading.close() for reading in tuple(self._readings)])
                await self._idle.wait()
                async with self._hand:
                    await self.farewell()

    async def farewell(self) -> None:
        """Say the last words, if there are any."""

    async def note(
        self, message: Message, *, code: str, did: str, decision: str | None, path: tuple[bytes, ...] = ()
    ) -> None:
        """Tell the log of one decision."""
        who = id_text(message.sender)
        try:
            name = (await self._names()).get(who, who[:8])
        except WaveError:
            name = who[:8]
        self._tell(
            Entry(
                time=int(self.clock()),
                device=self.name,
                who=who,
                name=name,
                what=message.permission,
                resource=str(message.resource),
                allowed=code == OK,
                code=code,
                did=did,
                decision=decision,
                path=tuple(id_text(dot) for dot in path),
            )
        )

    async def listen(
        self,
        namespace: bytes,
        pattern: str,
        take: Callable[[Received], Awaitable[None]],
        *,
        opened: Callable[[], None] = lambda: None,
        needed: bool = True,
        since: int | None = None,
    ) -> None:
        """Give ``take`` every message that passes, until stopped; what cannot be subscribed to is asked for again.

        ``take`` is called with one message at a time, whatever it was that brought it; with ``since``, with what was
        kept after that serial too. Of a subscription that is not
        ``needed``, nobody is told when it cannot be had.
        """
        again = _AGAIN_FIRST
        while not self._stopping:
            try:
                reading: Reading = await self.peer.subscribe(namespace, pattern, refused=self._refuse, since=since)
                self._readings[reading] = needed
                self._idle.clear()
                try:
                    opened()
                    self._trouble = ""
                    again = _AGAIN_FIRST
                    async for received in reading:
                        async with self._hand:
                            await take(received)
                        self._tell_lost(reading)
                finally:
                    del self._readings[reading]
                    if not self._readings:
                        self._idle.set()
            except WaveError as error:
                if needed:
                    self.trouble(f"{pattern}: {error.message}", error)
            if not self._stopping:
                await asyncio.sleep(again)
            again = min(2 * again, _AGAIN_MOST)

    def _tell_lost(self, reading: Reading) -> None:
        """Tell of messages that came faster than they were taken."""
        dropped, before = self.peer.dropped, self._dropped
        lost, reading.dropped, self._dropped = dropped - before + reading.dropped, 0, dropped
        if lost > 0:
            self.trouble(f"{reading.pattern}: {lost} messages came too fast and were lost", RouterUnavailable(""))

    def _refuse(self, message: Message | None, error: WaveError) -> None:
        """Remember a refusal to be told; a flood of them is told in part."""
        if message is not None:
            with contextlib.suppress(asyncio.QueueFull):
                self._refusals.put_nowait((message, error))

    async def tell_refusals(self) -> None:
        """Tell of refused messages as they come."""
        while True:
            await self.deny(*await self._refusals.get())

    async def deny(self, message: Message, error: WaveError) -> None:
        """Log a refusal."""
        did = error.message + off_by(error, message, self.clock())
        await self.note(message, code=error.code, did=did, decision=error.decision)

    def trouble(self, what: str, error: WaveError) -> None:
        """Tell, once, of something that went wrong and concerns nobody's right."""
        if what == self._trouble:
            return
        self._trouble = what
        entry = Entry(
            time=int(self.clock()),
            device=self.name,
            who=id_text(self.peer.secret.id),
            name=self.name,
            what="trouble",
            resource="",
            allowed=False,
            code=error.code,
            did=what + off_by(error, None, self.clock()),
            decision=error.decision,
            path=(),
        )
        with contextlib.suppress(StateUnwritable):
            self._tell(entry)


class Device(Speaker, Generic[S]):
    """A machine with an entity of its own. ``state`` changes in two places: an accepted command, and time.

    It says its state when it comes up and whenever that changes, to be kept by whoever carries it; and on
    :data:`PRESENCE_SIGNAL` that it is there. Of two devices with one entity the later one gives up.
    """

    def __init__(
        self,
        machine: Machine[S],
        instance: str,
        peer: Bus,
        namespace: bytes,
        *,
        clock: Callable[[], float],
        tell: Tell,
        names: Names,
        also: str | None = None,
        run: str = "",
    ) -> None:
        """Stand at ``s.<service>/<instance>`` of ``namespace``, and at ``<also>/control`` and ``/report`` if given.

        ``run`` is a text drawn at random, by which two devices with one entity know one another apart.
        """
        super().__init__(instance, peer, clock=clock, tell=tell, names=names)
        self.machine = machine
        self.namespace = namespace
        self.path = f"{machine.service}/{instance}"
        self.also = also
        self.state = machine.initial(clock())
        self._here = {"state": "online", "since": self.began, "run": run}
        self._turn = asyncio.Lock()
        self._said: dict[str, Any] = {}
        self._needed = self._waiting = 1 if also is None else 2
        self._open = asyncio.Event()
        self._denials: tuple[int, int] = (0, 0)

    async def run(self) -> None:
        """Obey until cancelled; ``ready`` is set once commands can come."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(f"{self.path}/+/slot/+"))
            if self.also is not None:
                group.create_task(self._listen(f"{self.also}/control"))
            group.create_task(self.tell_refusals())
            group.create_task(self._appear())
            presence = f"{self.path}/{PRESENCE_SIGNAL}"
            group.create_task(self.listen(self.namespace, presence, self._meet, needed=False))

    async def _listen(self, pattern: str) -> None:
        first = True

        def opened() -> None:
            nonlocal first
            if first:
                first = False
                self._waiting -= 1
            if not self._waiting:
                self._open.set()

        await self.listen(self.namespace, pattern, self.obey, opened=opened)

    async def _appear(self) -> None:
        """Say the first state once commands can come; then report as often as the machine wants to."""
        await self._open.wait()
        async with self._turn:
            self._pass_time()
        await self.report(everything=True)
        await self._publish(PRESENCE_SIGNAL, self._here, persist=True)
        self.ready.set()
        while self.machine.period is not None and not self._stopping:
            await asyncio.sleep(self.machine.period)
            async with self._turn:
                passed = self._pass_time()
            if passed:
                await self.report(everything=True)

    def _pass_time(self) -> bool:
        """Let the machine catch up with the clock; False, and told, when it cannot."""
        try:
            with self._machine_at_work():
                state = self.machine.pass_time(self.state, self.clock())
                self.machine.act(state)
        except WaveError as error:
            self.trouble(error.message, error)
            return False
        self.state = state
        return True

    @contextlib.contextmanager
    def _machine_at_work(self) -> Iterator[None]:
        """Turn whatever a machine's own code or driver raises into :class:`DeviceFault`."""
        try:
            yield
        except WaveError:
            raise
        except Exception as error:  # noqa: BLE001 - a driver raises what it likes, and the device lives on
            _log.exception("the machine of %s failed", self.name)
            raise DeviceFault(f"{self.name} failed: {type(error).__name__}") from None

    async def farewell(self) -> None:
        """Say the last state, and that the device is gone."""
        if self.ready.is_set() and self.peer.connected and not self.displaced.is_set():
            await self.report()
            await self._publish(PRESENCE_SIGNAL, {**self._here, "state": "offline"}, persist=True)

    async def _meet(self, received: Received) -> None:
        """Hear of a device with this one's own entity; the one that came later gives up."""
        message = received.message
        if message.sender != self.peer.secret.id or (received.kept and message.created < self.began):
            return
        with contextlib.suppress(BadPayload):
            other = read_json(message.payload)
            if not isinstance(other, dict) or other.get("state") != "online" or other.get("run") == self._here["run"]:
                return
            since, run = other.get("since"), other.get("run")
            if type(since) is not int or not isinstance(run, str):
                return
            if (since, run) < (self._here["since"], self._here["run"]):
                await self._give_up()
            else:
                self.trouble("another device came with this one's entity, and was told so", EntityInUse(""))
                await self._publish(PRESENCE_SIGNAL, self._here, persist=True)

    async def _give_up(self) -> None:
        self.trouble("another device acts with this entity already, so this one stops", EntityInUse(""))
        self.displaced.set()
        self._stopping = True
        await asyncio.gather(*[reading.close() for reading in tuple(self._readings)])

    def slot(self, message: Message) -> str:
        """Return the slot that a message is for; :class:`BadPayload` when it is no JSON or there is no such slot."""
        if message.content_type != JSON:
            raise BadPayload(f"the payload is {message.content_type[:80]!r}, and {JSON} is wanted")
        if len(message.payloads) != 1:
            raise BadPayload(f"the message has {len(message.payloads)} payloads, and one is wanted")
        slot = str(message.resource).removeprefix(f"{self.path}/")
        if self.also is not None and message.resource == f"{self.also}/control" and self.machine.slots:
            slot = self.machine.slots[0]
        if slot not in self.machine.slots:
            has = f"it has {', '.join(self.machine.slots)}" if self.machine.slots else "it takes no commands"
            raise BadPayload(f"{self.name} has no {slot}", hint=has)
        return slot

    async def obey(self, received: Received) -> None:
        """Carry out a command whose right has been checked, or say what is wrong with it.

        Of those that were kept for the time of a lost connection, only what is new and was meant for this life.
        """
        message, now = received.message, self.clock()
        path = tuple(dict.fromkeys(dot.id for one in received.grant.paths for dot in one))
        try:
            if received.kept:
                self._still_new(message, int(now))
            async with self._turn:
                command = Command(self.slot(message), read_json(message.payload), now)
                with self._machine_at_work():
                    state, did = self.machine.handle(self.machine.pass_time(self.state, now), command)
                await self.note(message, code=OK, did=did, decision=received.decision, path=path)
                with self._machine_at_work():
                    self.machine.act(state)
                self.state = state
        except WaveError as error:  # what makes no sense, cannot be written down or is not done leaves all as it was
            error.decision = received.decision
            await self.deny(message, error)
            return
        await self.report()

    def _still_new(self, message: Message, now: int) -> None:
        if message.created < self.began:
            raise MessageStale("the command was made before the device started, and kept")
        if now - message.created > LIMITS.message_lifetime:
            raise MessageStale(f"the command was made {now - message.created} s ago, and kept", hint="send it again")

    async def deny(self, message: Message, error: WaveError) -> None:
        """Log a refusal and say it on the device's own signal, so that the sender can hear of it."""
        with contextlib.suppress(StateUnwritable):
            await super().deny(message, error)
        second, told = self._denials
        now = int(self.clock())
        told = told + 1 if second == now else 1
        self._denials = now, told
        if told <= _DENIALS_PER_SECOND:
            details = {"message": id_text(message.id), "sender": id_text(message.sender), **error.problem()}
            await self._publish(DENIED_SIGNAL, details)

    async def report(self, *, everything: bool = False) -> None:
        """Publish what has changed since it was last said, or everything; it is kept as the last value."""
        for signal, value in self.machine.report(self.state).items():
            if everything or self._said.get(signal) != value:
                self._said[signal] = value
                await self._publish(signal, value, persist=True)

    async def _publish(self, signal: str, value: Any, *, persist: bool = False) -> None:
        places = [f"{self.path}/{signal}"]
        if self.also is not None and signal in self.machine.signals[:1]:
            places.append(f"{self.also}/report")
        for place in places:
            try:
                await self.peer.publish(self.namespace, place, write_json(value), persist=persist)
            except WaveError as error:
                self.trouble(f"{place} could not be published: {error.message}", error)
