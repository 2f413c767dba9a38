"""The peer: an entity on the bus. It signs and proves what it sends, and checks all that it receives."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

from wave.bus.connection import Clock, FactsSource, Link, OnRefused
from wave.bus.frame import (
    Asking,
    Denied,
    Done,
    Found,
    Frame,
    Give,
    Hello,
    Listed,
    ListKept,
    Publish,
    Query,
    Subscribe,
    Unsubscribe,
    read_parcel,
)
from wave.bus.greeting import CHALLENGE, answering, expected, greeted_by
from wave.bus.message import (
    JSON,
    LIST,
    PUBLISH,
    QUERY,
    SUBSCRIBE,
    Accepted,
    Inbox,
    Message,
    Payload,
    requests,
    values_in,
)
from wave.bus.proofs import Proofs, ProofSource
from wave.bus.reading import Reading
from wave.bus.receiving import Receiving
from wave.bus.router import end_task
from wave.bus.sending import Answer, Draft, Sending
from wave.bus.websocket import connected
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.entities.entity import EntitySecret
from wave.errors import BeforeRestart, InputError, Refused, RouterUnavailable, UnknownProof, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers, resource

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Link]]

_ANSWER: Final = 30.0  # seconds: the router may have to ask a slow chain
_GREETING: Final = 5.0  # seconds within which a router greets, which asks nobody for that
_SECOND: Final = 1.01
_TRIES: Final = 4
_log = logging.getLogger(__name__)

_BACKOFF_FIRST: Final = 0.1
_BACKOFF_MOST: Final = 5.0


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
        router: bytes | None = None,
        sheaves: bool = True,
    ) -> None:
        """Act as ``secret`` on the router at ``url``, which must be the entity ``router`` (id) if that is given.

        ``proofs`` builds proofs and ``facts`` gives the registry's newest facts, both as a rule from the local agent;
        messages are valid for ``lifetime`` seconds; acts wait ``patience`` seconds for the connection. Messages that
        are published at once are signed together, unless ``sheaves`` is false.
        """
        self.secret = secret
        self.router = router
        self._url = url
        self._proofs = Proofs(secret.entity, proofs)
        self._facts = facts
        self._clock = clock
        self._patience = patience
        self._connect = connect
        self._sending = Sending(secret, clock=clock, draw=draw, lifetime=lifetime, sheaves=sheaves)
        self._receiving = Receiving(
            Inbox(since=int(clock())) if inbox is None else inbox, facts=facts, clock=clock, say=self._sending.say
        )
        self._found: dict[int, list[Found]] = {}
        self._listed: dict[int, list[str]] = {}
        self._answers_to = b""
        self._greeted_by: bytes | None = None
        self._up = asyncio.Event()
        self._trouble: WaveError = RouterUnavailable(f"the router at {url} does not answer")
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the router greeted this connection, which is open."""
        return self._up.is_set()

    @property
    def dropped(self) -> int:
        """How many messages the router told of that it could not deliver."""
        return self._receiving.dropped

    @dropped.setter
    def dropped(self, count: int) -> None:
        self._receiving.dropped = count

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

    async def publish(
        self,
        namespace: bytes,
        where: str,
        payload: bytes,
        *,
        content_type: str = JSON,
        persist: bool = False,
        also: tuple[Payload, ...] = (),
    ) -> int:
        """Publish and return to how many connections the router handed it; raises what it or the agent refused.

        With ``persist`` it has been written down by the router when this returns. ``also`` are further payloads.
        """
        payloads = (Payload(content_type, payload), *also)
        number = self._sending.next_number()
        act = _Act(PUBLISH, namespace, resource(where), lambda data: Publish(number, data), payloads, persist)
        return (await self._do(act)).count

    async def forward(self, message: bytes, proof: bytes) -> int:
        """Publish a message that somebody else signed, as it is, with its proof; raises what the router refused."""
        await self._connected()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._sending.say(Give(proof))
        self._sending.say(Publish(self._sending.next_number(), message), answer)
        return (await self._answered(answer)).count

    async def subscribe(
        self,
        namespace: bytes,
        pattern: str,
        *,
        refused: OnRefused = _ignore,
        since: int | None = None,
        began: int | None = None,
    ) -> Reading:
        """Subscribe; ``refused`` hears of messages that came and did not pass. Raises what the router or agent refused.

        With ``since`` the reading begins with what the router has after that serial. The subscription outlives a lost
        connection: it is opened again with the next, from where it was. Without ``since``, and when it goes on with
        one that ``began`` then (UTC second), nothing passes that is older than it, but for what is new in any case.
        """
        number = self._sending.next_number()
        if since is None and began is None:
            began = int(self._clock())
        reading = Reading(number, namespace, Pattern(pattern), refused=refused, give_up=self.unsubscribe, began=began)
        reading.serial = since or 0
        self._receiving.readings[number] = reading
        try:
            await self._open(reading, since)
        except BaseException:
            self._receiving.readings.pop(number, None)
            raise
        reading.opened = True
        return reading

    async def unsubscribe(self, reading: Reading) -> None:
        """End a subscription here, and at the router if that can be told."""
        if self._receiving.readings.pop(reading.number, None) is not None and self._up.is_set():
            with contextlib.suppress(WaveError):
                answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
                self._sending.say(Unsubscribe(self._sending.next_number(), reading.number), answer)
                await self._answered(answer)

    async def query(self, namespace: bytes, pattern: str, *, last: int = 1) -> tuple[Accepted, ...]:
        """Return the newest ``last`` kept messages of each resource that matches, checked like any other.

        One that does not pass is left out. :class:`TooLarge` when more match than one answer holds.
        """
        where, number = Pattern(pattern), self._sending.next_number()
        answer = await self._do(_Act(QUERY, namespace, where, lambda data: Query(number, data, last)))
        return await self._receiving.kept(namespace, where, answer.found)

    async def list(self, namespace: bytes, pattern: str) -> tuple[str, ...]:
        """Return the resources that match and hold a kept message, in order."""
        where, number = Pattern(pattern), self._sending.next_number()
        listed = (await self._do(_Act(LIST, namespace, where, lambda data: ListKept(number, data)))).listed
        return tuple([one for one in listed if _covered(where, one)])

    async def _open(self, reading: Reading, since: int | None) -> None:
        act = _Act(SUBSCRIBE, reading.namespace, reading.pattern, lambda data: Subscribe(reading.number, data, since))
        answer = await self._do(act)
        if since is None:
            reading.serial = max(reading.serial, answer.serial)
        else:  # a router that never gave so high a number is another one
            reading.serial = min(reading.serial, max(since, answer.serial))

    async def _do(self, act: "_Act") -> Answer:
        """Prove, sign, send and wait for the answer; a no that another try can turn into a yes is tried again."""
        await self._connected()
        now = int(self._clock())
        proof = self._proofs.standing(act.namespace, act.permission, act.where, now)
        if proof is None:
            proof = await self._proofs.get(self._asked(act), now)
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                return await self._ask(act, proof)
            except UnknownProof:
                self._sending.forget(proof.id)
                if not tries_left:
                    raise
            except BeforeRestart:
                if not tries_left:
                    raise
                await asyncio.sleep(_SECOND)
            except Refused:
                renewed = await self._proofs.renew(self._asked(act), int(self._clock()), proof)
                if not tries_left or renewed is None or renewed.id == proof.id:
                    raise
                proof = renewed
        raise AssertionError  # the loop returns or raises

    def _asked(self, act: "_Act") -> tuple[Request, ...]:
        values = values_in(act.payloads) if act.payloads else ({},)
        return requests(self.secret.id, act.permission, act.namespace, act.where, values)

    # The connection ------------------------------------------------------------------------------------------------

    async def _connected(self) -> None:
        if self._up.is_set():
            return
        try:
            async with asyncio.timeout(self._patience):  # wait_for of Python 3.11 may swallow a cancellation
                await self._up.wait()
        except TimeoutError:
            raise self._trouble from None

    async def _ask(self, act: "_Act", proof: Proof) -> Answer:
        """Send an act and return its answer; :class:`RouterUnavailable` when none comes."""
        if not self._up.is_set():
            raise self._trouble
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._sending.add(
            Draft(
                act.permission,
                act.namespace,
                act.where,
                lambda: act.payloads or (Payload(CHALLENGE, self._answers_to),),
                act.persist,
                proof,
                act.frame,
                answer,
            )
        )
        return await self._answered(answer)

    async def _answered(self, answer: "asyncio.Future[Answer]") -> Answer:
        try:
            async with asyncio.timeout(_ANSWER):
                return await answer
        except TimeoutError:
            raise RouterUnavailable(f"the router at {self._url} gave no answer in {_ANSWER:g} s") from None

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
        tasks: list[asyncio.Task[None]] = []
        try:
            while (data := await (link.receive() if tasks else self._first_word(link))) is not None:
                frames = read_parcel(data)
                if not tasks:
                    await self._be_greeted(frames[0])
                    frames = frames[1:]
                    self._up.set()
                    tasks = [asyncio.create_task(self._send(link)), asyncio.create_task(self._reopen())]
                await self._receiving.take(frames)
                for frame in frames:
                    self._take(frame)
                await asyncio.sleep(0)  # for whoever reads, though the next parcel is here already
        finally:
            self._up.clear()
            self._receiving.forget()
            self._found.clear()
            self._listed.clear()
            self._sending.lost(RouterUnavailable(f"the connection to the router at {self._url} was lost"))
            for task in tasks:
                await end_task(task)

    async def _first_word(self, link: Link) -> bytes | None:
        try:
            async with asyncio.timeout(_GREETING):
                return await link.receive()
        except TimeoutError:
            raise RouterUnavailable(f"the router at {self._url} did not greet in {_GREETING:g} s") from None

    async def _be_greeted(self, frame: Frame) -> None:
        """Take the router's first word: who it is, and what acts on this connection have to answer."""
        if not isinstance(frame, Hello):
            raise frame.error if isinstance(frame, Denied) else RouterUnavailable("the router did not greet")
        now = int(self._clock())
        entity = greeted_by(frame, now)
        if self.router is not None:
            expected(entity, self.router, await self._facts(), now)
        identity = None if entity is None else entity.id
        if identity != self._greeted_by:  # its numbers say nothing about another router's
            for reading in self._receiving.readings.values():
                reading.serial = 0
        self._greeted_by = identity
        self._answers_to = answering(frame.challenge, identity)

    async def _send(self, link: Link) -> None:
        with contextlib.suppress(RouterUnavailable):  # whoever receives notices, too
            await self._sending.send_always(link)

    async def _reopen(self) -> None:
        readings = [reading for reading in self._receiving.readings.values() if reading.opened]
        await asyncio.gather(*[self._open_again(reading) for reading in readings])

    async def _open_again(self, reading: Reading) -> None:
        try:
            await self._open(reading, reading.serial)
        except RouterUnavailable:
            return  # the next connection will try again
        except WaveError as error:
            self._end(reading.number, error)

    def _end(self, number: int, error: WaveError) -> None:
        reading = self._receiving.readings.pop(number, None)
        if reading is not None:
            reading.end(error)

    def _take(self, frame: Frame) -> None:
        match frame:
            case Done(number, count, serial):
                found, listed = tuple(self._found.pop(number, ())), tuple(self._listed.pop(number, ()))
                self._sending.settle(number, Answer(count, serial, found, listed))
            case Denied(number):
                self._found.pop(number, None)
                if not self._sending.settle(number, frame.error):
                    self._end(number, frame.error)
            case Found(number) if self._sending.awaits(number):
                found_so_far = self._found.setdefault(number, [])
                if len(found_so_far) < LIMITS.query_messages:
                    found_so_far.append(frame)
            case Listed(number, resources) if self._sending.awaits(number):
                listed_so_far = self._listed.setdefault(number, [])
                if len(listed_so_far) < LIMITS.listed_resources:
                    listed_so_far.extend(resources)


def _covered(where: Pattern, listed: str) -> bool:
    """Tell whether what a router listed is a resource at all, and one of those asked for."""
    try:
        return covers(where, resource(listed))
    except InputError:
        return False


@dataclass(frozen=True, slots=True)
class _Act:
    """What is to be done: without payloads, an act that answers the connection's challenge."""

    permission: str
    namespace: bytes
    where: Pattern
    frame: Callable[[bytes], Asking]
    payloads: tuple[Payload, ...] = ()
    persist: bool = False
