"""A device on the bus: every command checked before its machine sees it, every decision told to the log."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from devices.log import OK, Entry, Tell
from devices.machine import Command, Machine, write_json
from wave.bus.message import JSON, Message
from wave.bus.peer import Peer
from wave.bus.reading import Reading, Received
from wave.bus.values import read_json
from wave.codec import id_text
from wave.errors import BadPayload, RouterUnavailable, StateUnwritable, WaveError
from wave.limits import LIMITS

S = TypeVar("S")

DENIED_SIGNAL: Final = "i.device/signal/denied"
_DENIALS_PER_SECOND: Final = 10
_AGAIN_FIRST: Final = 0.5  # seconds before a subscription that ended is tried again
_AGAIN_MOST: Final = 30.0

Names = Callable[[], Awaitable[dict[str, str]]]
"""What entities are called here: id text to name."""


class Speaker:
    """What every actor of a home shares: it says under its name what it did for whom and what it refused."""

    def __init__(self, name: str, peer: Peer, *, clock: Callable[[], float], tell: Tell, names: Names) -> None:
        """Speak as ``name``."""
        self.name = name
        self.peer = peer
        self.clock = clock
        self._tell = tell
        self._names = names
        self._trouble = ""
        self._refusals: asyncio.Queue[tuple[Message, WaveError]] = asyncio.Queue(maxsize=LIMITS.queue_frames)

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
        opened: Callable[[], None],
    ) -> None:
        """Give ``take`` every message that passes, for ever; a subscription that cannot be had is asked for again."""
        again = _AGAIN_FIRST
        while True:
            try:
                reading: Reading = await self.peer.subscribe(namespace, pattern, refused=self._refuse)
                opened()
                self._trouble = ""
                again = _AGAIN_FIRST
                async for received in reading:
                    await take(received)
                    self._tell_lost(reading)
            except WaveError as error:
                self.trouble(f"{pattern}: {error.message}", error)
            await asyncio.sleep(again)
            again = min(2 * again, _AGAIN_MOST)

    def _tell_lost(self, reading: Reading) -> None:
        """Tell of messages that came faster than they were taken."""
        lost, self.peer.dropped, reading.dropped = self.peer.dropped + reading.dropped, 0, 0
        if lost:
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
        await self.note(message, code=error.code, did=error.message, decision=error.decision)

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
            did=what,
            decision=error.decision,
            path=(),
        )
        with contextlib.suppress(StateUnwritable):
            self._tell(entry)


class Device(Speaker, Generic[S]):
    """A machine with an entity of its own. ``state`` changes in two places: an accepted command, and time."""

    def __init__(
        self,
        machine: Machine[S],
        instance: str,
        peer: Peer,
        namespace: bytes,
        *,
        clock: Callable[[], float],
        tell: Tell,
        names: Names,
        also: str | None = None,
    ) -> None:
        """Stand at ``s.<service>/<instance>`` of ``namespace``, and at ``<also>/control`` and ``/report`` if given."""
        super().__init__(instance, peer, clock=clock, tell=tell, names=names)
        self.machine = machine
        self.namespace = namespace
        self.path = f"{machine.service}/{instance}"
        self.also = also
        self.state = machine.initial(clock())
        self.ready = asyncio.Event()
        self._turn = asyncio.Lock()
        self._said: dict[str, Any] = {}
        self._waiting = 1 if also is None else 2
        self._denials: tuple[int, int] = (0, 0)

    async def run(self) -> None:
        """Obey until cancelled; ``ready`` is set once commands can come."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(f"{self.path}/+/slot/+"))
            if self.also is not None:
                group.create_task(self._listen(f"{self.also}/control"))
            group.create_task(self.tell_refusals())
            if self.machine.period is not None:
                group.create_task(self._report_always(self.machine.period))

    async def _listen(self, pattern: str) -> None:
        first = True

        def opened() -> None:
            nonlocal first
            if first:
                first = False
                self._waiting -= 1
            if not self._waiting:
                self.ready.set()

        await self.listen(self.namespace, pattern, self.obey, opened=opened)

    def slot(self, message: Message) -> str:
        """Return the slot that a message is for; :class:`BadPayload` when it is no JSON or there is no such slot."""
        if message.content_type != JSON:
            raise BadPayload(f"the payload is {message.content_type[:80]!r}, and {JSON} is wanted")
        slot = str(message.resource).removeprefix(f"{self.path}/")
        if self.also is not None and message.resource == f"{self.also}/control":
            slot = self.machine.slots[0]
        if slot not in self.machine.slots:
            raise BadPayload(f"{self.name} has no {slot}", hint=f"it has {', '.join(self.machine.slots)}")
        return slot

    async def obey(self, received: Received) -> None:
        """Carry out a command whose right has been checked, or say what is wrong with it."""
        message, now = received.message, self.clock()
        path = tuple(dict.fromkeys(dot.id for one in received.grant.paths for dot in one))
        try:
            async with self._turn:
                command = Command(self.slot(message), read_json(message.payload), now)
                state, did = self.machine.handle(self.machine.pass_time(self.state, now), command)
                await self.note(message, code=OK, did=did, decision=received.decision, path=path)
                self.state = state
        except (BadPayload, StateUnwritable) as error:  # what cannot be written down is not done
            error.decision = received.decision
            await self.deny(message, error)
            return
        await self.report()

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
        """Publish what has changed since it was last said, or everything."""
        for signal, value in self.machine.report(self.state).items():
            if everything or self._said.get(signal) != value:
                self._said[signal] = value
                await self._publish(signal, value)

    async def _publish(self, signal: str, value: Any) -> None:
        places = [f"{self.path}/{signal}"]
        if self.also is not None and signal == self.machine.signals[0]:
            places.append(f"{self.also}/report")
        for place in places:
            try:
                await self.peer.publish(self.namespace, place, write_json(value))
            except WaveError as error:
                self.trouble(f"{place} could not be published: {error.message}", error)

    async def _report_always(self, period: float) -> None:
        while True:
            async with self._turn:
                self.state = self.machine.pass_time(self.state, self.clock())
            await self.report(everything=True)
            await asyncio.sleep(period)
