"""The peer: an entity on the bus. It signs and proves what it sends, and checks all that it receives."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self, TypeAlias

from wave.bus.frame import (
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
from wave.bus.message import JSON, NONCE_BYTES, PUBLISH, SUBSCRIBE, Inbox, Message, requests
from wave.bus.proofs import Proofs, ProofSource
from wave.bus.reading import Reading
from wave.bus.router import Clock, FactsSource, Link, OnRefused, end_task
from wave.bus.values import contexts
from wave.bus.websocket import connected
from wave.entities.entity import EntitySecret
from wave.errors import Refused, RouterUnavailable, WaveError
from wave.namespace.pattern import Pattern, resource

Asking: TypeAlias = Subscribe | Unsubscribe | Publish
Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Link]]

_ANSWER: Final = 30.0  # seconds: the router may have to ask a slow chain
_log = logging.getLogger(__name__)

_BACKOFF_FIRST: Final = 0.1
_BACKOFF_MOST: Final = 5.0
_CHALLENGE: Final = "application/wave-challenge"


def _ignore(_message: Message | None, _error: WaveError) -> None:
    pass


class Peer:
    """``async with Peer(secret, url, …) as peer``: stays connected, and subscribed, while the body runs."""

    def __init__(
        self,
        secret: EntitySecret,
        url: str,
        *,
        proofs: ProofSource,
        facts: FactsSource,
        clock: Clock,
        draw: Callable[[int], bytes],
        lifetime: int = 30,
        patience: float = 10.0,
        inbox: Inbox | None = None,
        connect: Connect = connected,
    ) -> None:
        """Act as ``secret`` on the router at ``url``.

        ``proofs`` builds proofs and ``facts`` gives the registry's newest facts, both as a rule from the local agent;
        messages are valid for ``lifetime`` seconds; acts wait ``patience`` seconds for the connection.
        """
        self.secret = secret
        self._url = url
        self._proofs = Proofs(secret.entity, proofs)
        self._facts = facts
        self._clock = clock
        self._draw = draw
        self._lifetime = lifetime
        self._patience = patience
        self._inbox = Inbox(since=int(clock())) if inbox is None else inbox
        self._connect = connect
        self._sequence = 0
        self._number = 0
        self._link: Link | None = None
        self._challenge = b""
        self._up = asyncio.Event()
        self._trouble: WaveError = RouterUnavailable(f"the router at {url} does not answer")
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._readings: dict[int, Reading] = {}
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._task = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._task is not None:
            await end_task(self._task)

    # Acts ----------------------------------------------------------------------------------------------------------

    async def publish(self, namespace: bytes, where: str, payload: bytes, *, content_type: str = JSON) -> int:
        """Publish and return to how many connections the router handed it; raises what it or the agent refused."""
        await self._connected()
        return await self._do(PUBLISH, namespace, resource(where), content_type, lambda: payload, Publish)

    async def subscribe(self, namespace: bytes, pattern: str, *, refused: OnRefused = _ignore) -> Reading:
        """Subscribe; ``refused`` hears of messages that came and did not pass. Raises what the router or agent refused.

        The subscription outlives a lost connection: it is opened again with the next.
        """
        reading = Reading(self._next_number(), namespace, Pattern(pattern), refused=refused, give_up=self.unsubscribe)
        await self._connected()
        self._readings[reading.number] = reading
        try:
            await self._open(reading)
        except BaseException:
            self._readings.pop(reading.number, None)
            raise
        reading.opened = True
        return reading

    async def unsubscribe(self, reading: Reading) -> None:
        """End a subscription here, and at the router if that can be told."""
        if self._readings.pop(reading.number, None) is not None and self._up.is_set():
            with contextlib.suppress(WaveError):
                await self._ask(Unsubscribe(self._next_number(), reading.number))

    async def _open(self, reading: Reading) -> int:
        return await self._do(
            SUBSCRIBE,
            reading.namespace,
            reading.pattern,
            _CHALLENGE,
            lambda: self._challenge,
            lambda _, m, p: Subscribe(reading.number, m, p),
        )

    async def _do(  # noqa: PLR0917 - its two callers stand above
        self,
        permission: str,
        namespace: bytes,
        where: Pattern,
        content_type: str,
        payload: Callable[[], bytes],
        frame: Callable[[int, bytes, bytes], Asking],
    ) -> int:
        """Prove, sign, send and wait for the answer; when it is a no, once more if another proof can be had by now."""
        asked = requests(self.secret.id, permission, namespace, where, contexts(content_type, payload()))
        proof = await self._proofs.get(asked, int(self._clock()))
        for last in (False, True):
            now = int(self._clock())
            self._sequence += 1
            message = Message.create(
                self.secret,
                permission=permission,
                namespace=namespace,
                resource=where,
                payload=payload(),
                content_type=content_type,
                created=now,
                expires=now + self._lifetime,
                sequence=self._sequence,
                nonce=self._draw(NONCE_BYTES),
                proof=proof.id,
            )
            try:
                return await self._ask(frame(self._next_number(), message.to_bytes(), proof.to_bytes()))
            except Refused:
                renewed = await self._proofs.renew(asked, now)
                if last or renewed is None or renewed.id == proof.id:
                    raise
                proof = renewed
        raise AssertionError  # the loop returns or raises

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    # The connection ------------------------------------------------------------------------------------------------

    async def _connected(self) -> None:
        try:
            async with asyncio.timeout(self._patience):  # wait_for of Python 3.11 may swallow a cancellation
                await self._up.wait()
        except TimeoutError:
            raise self._trouble from None

    async def _ask(self, frame: Asking) -> int:
        """Send a frame and return the count in its answer; :class:`RouterUnavailable` when none comes."""
        link = self._link
        if link is None:
            raise self._trouble
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[frame.number] = answer
        try:
            await link.send(write_frame(frame))
            async with asyncio.timeout(_ANSWER):
                return await answer
        except TimeoutError:
            raise RouterUnavailable(f"the router at {self._url} gave no answer in {_ANSWER:g} s") from None
        finally:
            self._answers.pop(frame.number, None)

    async def _stay_connected(self) -> None:
        backoff = _BACKOFF_FIRST
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                async with self._connect(self._url) as link:
                    await self._attend(link)
                self._trouble = RouterUnavailable(f"the router at {self._url} closed the connection")
            except WaveError as error:
                self._trouble = error
            except Exception:  # noqa: BLE001 - whatever a router sent, the next connection is a new beginning
                _log.exception("the connection to the router at %s failed", self._url)
                self._trouble = RouterUnavailable(f"the router at {self._url} sent something that could not be handled")
            if asyncio.get_running_loop().time() - begun > _BACKOFF_MOST:
                backoff = _BACKOFF_FIRST
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads reconnections
            backoff = min(2 * backoff, _BACKOFF_MOST)

    async def _attend(self, link: Link) -> None:
        """Serve one connection until it closes."""
        reopening: asyncio.Task[None] | None = None
        try:
            while (data := await link.receive()) is not None:
                frame = read_frame(data)
                if isinstance(frame, Hello) and reopening is None:
                    self._challenge, self._link = frame.challenge, link
                    reopening = asyncio.create_task(self._reopen())
                    self._up.set()
                elif reopening is None:
                    raise frame.error if isinstance(frame, Denied) else RouterUnavailable("the router did not greet")
                else:
                    await self._take(frame)
        finally:
            self._link = None
            self._up.clear()
            for answer in self._answers.values():
                if not answer.done():
                    gone = RouterUnavailable(f"the connection to the router at {self._url} was lost")
                    answer.set_exception(gone)
            if reopening is not None:
                await end_task(reopening)

    async def _reopen(self) -> None:
        for reading in [reading for reading in self._readings.values() if reading.opened]:
            try:
                await self._open(reading)
            except RouterUnavailable:
                return  # the next connection will try again
            except WaveError as error:
                self._end(reading.number, error)

    def _end(self, number: int, error: WaveError) -> None:
        reading = self._readings.pop(number, None)
        if reading is not None:
            reading.end(error)

    async def _take(self, frame: Frame) -> None:
        match frame:
            case Done(number, count):
                self._settle(number, count)
            case Denied(number, error):
                if not self._settle(number, error):
                    self._end(number, error)
            case Deliver():
                await self._receive(frame)
            case Dropped(count):
                self.dropped += count

    def _settle(self, number: int, outcome: int | WaveError) -> bool:
        """Give an answer to whoever waits for it; False when nobody does."""
        answer = self._answers.get(number)
        if answer is None or answer.done():
            return False
        if isinstance(outcome, WaveError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
        return True

    async def _receive(self, frame: Deliver) -> None:
        """Check a delivered message as if nobody had, and give it to the readings that want it."""
        message: Message | None = None
        readings = tuple(self._readings.values())
        try:
            message, proof = read_pair(frame.message, frame.proof)
            readings = tuple([reading for reading in readings if reading.wants(message)])
            if not readings:
                return
            facts = await self._facts()
            received = self._inbox.accept(message, proof, facts, permission=PUBLISH, now=int(self._clock()))
        except WaveError as error:
            for reading in readings:
                reading.refused(message, error)
            return
        for reading in readings:
            reading.put(received)
