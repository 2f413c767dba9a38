"""The router: carries messages from those who may publish to those who may subscribe, and is trusted with nothing else.

It checks both rights against the registry itself, so that a network is not flooded by strangers and the unentitled hear
nothing; receivers check everything again. It knows no sockets: a carrier (:mod:`wave.bus.websocket`) gives it links.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from wave.bus.frame import (
    CHALLENGE_BYTES,
    Deliver,
    Denied,
    Done,
    Dropped,
    Frame,
    Hello,
    Publish,
    Subscribe,
    Unsubscribe,
    read_frame,
    read_pair,
    write_frame,
)
from wave.bus.message import PUBLISH, SUBSCRIBE, Accepted, Inbox, Message, authorized
from wave.dots.explain import decision_id
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.errors import (
    BadRequest,
    Refused,
    RouterUnavailable,
    TooLarge,
    Unavailable,
    UnknownSubscription,
    WaveError,
    WrongPurpose,
)
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers

FactsSource: TypeAlias = Callable[[], Awaitable[Facts]]
"""Where the registry's newest facts come from; raises :class:`Unavailable` when they cannot be had."""

OnRefused: TypeAlias = Callable[[Message | None, WaveError], None]

Clock: TypeAlias = Callable[[], float]
"""UTC seconds."""


class Link(Protocol):
    """One connection of a carrier: whole frames of bytes, in order."""

    async def send(self, frame: bytes) -> None:
        """Send one frame; :class:`RouterUnavailable` when the other side is gone."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next frame, or None when there will be none."""
        ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """A right to read, held open. Messages are matched with the very pattern that the right was checked on."""

    accepted: Accepted

    @property
    def pattern(self) -> Pattern:
        return self.accepted.message.resource

    def wants(self, namespace: bytes, resource: Pattern) -> bool:
        """Tell whether a message at ``resource`` belongs here."""
        return self.accepted.message.namespace == namespace and covers(self.pattern, resource)


class Outbox:
    """What waits to be sent over one connection: answers always, deliveries while there is room."""

    def __init__(self) -> None:
        """Begin empty."""
        self.dropped = 0
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def answer(self, frame: Frame) -> None:
        """Send an answer; whoever asks waits for :meth:`room` first."""
        self._put(write_frame(frame))

    def deliver(self, frame: bytes) -> bool:
        """Send a delivery, or count it as dropped when too much waits already."""
        if len(self._frames) >= LIMITS.queue_frames or self._bytes + len(frame) > LIMITS.queue_bytes:
            self.dropped += 1
            return False
        self._put(frame)
        return True

    async def room(self) -> None:
        """Wait until an answer may be added: whoever does not read the answers cannot go on asking."""
        await self._drained.wait()

    async def take(self) -> bytes:
        """Return the next frame to send, waiting for one."""
        while not self._frames:
            if self.dropped:
                count, self.dropped = self.dropped, 0
                return write_frame(Dropped(count))
            self._filled.clear()
            await self._filled.wait()
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        if len(self._frames) < LIMITS.queue_frames:
            self._drained.set()
        return frame

    def _put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) >= LIMITS.queue_frames:
            self._drained.clear()
        self._filled.set()


class Connection:
    """One peer's connection: its challenge, its subscriptions (no other connection can name them) and its outbox."""

    def __init__(self, challenge: bytes) -> None:
        """Begin without subscriptions."""
        self.challenge = challenge
        self.outbox = Outbox()
        self.subscriptions: dict[int, Subscription] = {}


class Router:
    """Takes links and carries messages between them. There is no way to make it check less."""

    def __init__(
        self,
        facts: FactsSource,
        *,
        clock: Clock,
        draw: Callable[[int], bytes],
        review_every: float = 1.0,
        refused: OnRefused = lambda _message, _error: None,
    ) -> None:
        """Check against ``facts``; look at open subscriptions again every ``review_every`` seconds.

        ``refused`` hears of every message that did not pass, None for one that could not be read.
        """
        self._facts = facts
        self._refused = refused
        self._clock = clock
        self._draw = draw
        self._review_every = review_every
        self._inbox = Inbox(since=int(clock()))
        self._connections: set[Connection] = set()

    @property
    def open_subscriptions(self) -> int:
        """How many subscriptions are open."""
        return sum(len(connection.subscriptions) for connection in self._connections)

    def _now(self) -> int:
        return int(self._clock())

    async def attend(self, link: Link) -> None:
        """Serve one link until it closes."""
        if len(self._connections) >= LIMITS.connections:
            await link.send(write_frame(Denied(0, Unavailable("the router has no room for another connection"))))
            return
        connection = Connection(self._draw(CHALLENGE_BYTES))
        connection.outbox.answer(Hello(connection.challenge))
        self._connections.add(connection)
        sender = asyncio.create_task(_send_all(link, connection.outbox))
        try:
            await self._receive_all(link, connection)
        except RouterUnavailable:
            pass
        finally:
            self._connections.discard(connection)
            await end_task(sender)

    async def _receive_all(self, link: Link, connection: Connection) -> None:
        while (data := await link.receive()) is not None:
            await connection.outbox.room()
            try:
                frame = read_frame(data)
            except WaveError as error:
                await link.send(write_frame(Denied(0, error)))
                return
            await self._handle(connection, frame)

    async def _handle(self, connection: Connection, frame: Frame) -> None:
        match frame:
            case Subscribe(number):
                act = self.subscribe(connection, frame)
            case Unsubscribe(number):
                act = self.unsubscribe(connection, frame)
            case Publish(number):
                act = self.publish(frame)
            case _:
                connection.outbox.answer(Denied(0, BadRequest("a peer does not say that to a router")))
                return
        try:
            connection.outbox.answer(Done(number, await act))
        except WaveError as error:
            connection.outbox.answer(Denied(number, error))

    # Acts ----------------------------------------------------------------------------------------------------------

    async def subscribe(self, connection: Connection, frame: Subscribe) -> int:
        """Open a subscription; its signed message must answer this connection's challenge."""
        message, proof = self._read(frame)
        if len(connection.subscriptions) >= LIMITS.subscriptions_per_connection:
            raise TooLarge(f"at most {LIMITS.subscriptions_per_connection} subscriptions may be open on a connection")
        if frame.number in connection.subscriptions:
            raise BadRequest("a subscription of that number is open already")
        if message.payload != connection.challenge:
            raise WrongPurpose("the subscription was signed for another connection")
        accepted = self._accept(message, proof, await self._facts(), SUBSCRIBE)
        connection.subscriptions[frame.number] = Subscription(accepted)
        return 0

    async def unsubscribe(self, connection: Connection, frame: Unsubscribe) -> int:
        """End a subscription of this connection, which can name no other's."""
        if connection.subscriptions.pop(frame.subscription, None) is None:
            raise UnknownSubscription(f"this connection has no subscription {frame.subscription}")
        return 0

    async def publish(self, frame: Publish) -> int:
        """Check a message and hand it on; return how many connections it went to."""
        message, proof = self._read(frame)
        facts = await self._facts()
        self._accept(message, proof, facts, PUBLISH)
        return self.hand_on(message.namespace, message.resource, Deliver(frame.message, frame.proof), facts)

    def _read(self, frame: Subscribe | Publish) -> tuple[Message, Proof]:
        try:
            return read_pair(frame.message, frame.proof)
        except WaveError as error:
            self._refused(None, error)
            raise

    def _accept(self, message: Message, proof: Proof, facts: Facts, permission: str) -> Accepted:
        try:
            return self._inbox.accept(message, proof, facts, permission=permission, now=self._now())
        except WaveError as error:
            self._refused(message, error)
            raise

    def hand_on(self, namespace: bytes, resource: Pattern, deliver: Deliver, facts: Facts) -> int:
        """Queue a message for each connection with a subscription that wants it and still holds by ``facts``."""
        frame = write_frame(deliver)
        reached = 0
        for connection in self._connections:
            wanting = [number for number, one in connection.subscriptions.items() if one.wants(namespace, resource)]
            if any(self._still_holds(connection, number, facts) for number in wanting):
                reached += connection.outbox.deliver(frame)
        return reached

    # Subscriptions end with the right to them ------------------------------------------------------------------------

    async def review(self) -> None:
        """Look at every open subscription again and end those whose right is gone; nothing ends for want of facts.

        (For want of fresh facts nothing is delivered either: no message is accepted then.)
        """
        if not any(connection.subscriptions for connection in self._connections):
            return
        try:
            facts = await self._facts()
        except WaveError:
            return
        for connection in self._connections:
            for number in tuple(connection.subscriptions):
                self._still_holds(connection, number, facts)

    async def review_always(self) -> None:
        """Review until cancelled."""
        while True:
            await asyncio.sleep(self._review_every)
            await self.review()

    def _still_holds(self, connection: Connection, number: int, facts: Facts) -> bool:
        accepted = connection.subscriptions[number].accepted
        asked, now = accepted.message.requests(), self._now()
        try:
            authorized(self._inbox.verifier, asked, accepted.proof, facts, now=now)
        except Refused as error:
            error.decision = decision_id(
                accepted.proof, asked[0], facts, now=now, outcome=error, act=accepted.message.id
            )
            del connection.subscriptions[number]
            connection.outbox.answer(Denied(number, error))
            return False
        except Unavailable:
            return False
        return True

    @asynccontextmanager
    async def reviewing(self) -> AsyncIterator[None]:
        """Review open subscriptions in the background while the body runs."""
        task = asyncio.create_task(self.review_always())
        try:
            yield
        finally:
            await end_task(task)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end; raise what it failed with, and never swallow a cancellation of one's own."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def _send_all(link: Link, outbox: Outbox) -> None:
    with contextlib.suppress(RouterUnavailable):
        while True:
            await link.send(await outbox.take())
