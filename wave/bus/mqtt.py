"""The bus over any MQTT 5 broker, which is trusted with delivery alone and can be told nothing else.

Whoever receives checks everything, as over a router. A plain broker lets anybody hear and say anything: what stands
between is that nobody believes it. A broker that is locked (:mod:`wave.bus.dynsec`) refuses by itself as well, and
knows each entity by a password that is sealed to it.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

from wave.bus.connection import Clock, FactsSource, OnRefused, Shelf
from wave.bus.frame import NO_PROOF
from wave.bus.marks import Marks
from wave.bus.message import (
    JSON,
    LIST,
    NONCE_BYTES,
    PUBLISH,
    QUERY,
    SUBSCRIBE,
    Accepted,
    Inbox,
    Message,
    Payload,
    authorized,
    requests,
    values_in,
)
from wave.bus.mqtt_arrivals import Arrivals
from wave.bus.mqtt_form import carried, read
from wave.bus.mqtt_line import STRANGER, Account, Broker, Carried, Line, connected
from wave.bus.mqtt_notes import NOTE, Notes, about, told
from wave.bus.mqtt_topic import PROOF, ROOT, credentials_topic, denied_topic, place, proof_topic
from wave.bus.mqtt_wanted import Wanted
from wave.bus.proofs import Proofs, ProofSource
from wave.bus.reading import Reading
from wave.bus.router import end_task
from wave.codec import decode, id_text
from wave.dots.cache import LeastRecent
from wave.dots.proof import Proof
from wave.entities import keys
from wave.entities.entity import EntitySecret
from wave.errors import (
    BadPayload,
    BeforeRestart,
    BrokerRefused,
    BrokerUnavailable,
    Refused,
    Replayed,
    RolledBack,
    Unavailable,
    WaveError,
)
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers, resource

R = TypeVar("R")
Credentials: TypeAlias = Callable[[], Account]
"""Gives the name and password for the next connection."""

PASSWORD: Final = "wave/mqtt/v1"  # noqa: S105 - what a box with a password begins with

_BACKOFF_FIRST: Final = 0.1
_BACKOFF_MOST: Final = 5.0
_REVIEW: Final = 1.0
_TICK: Final = 0.01
_GREETING: Final = 0.1  # seconds for a retained password to come after the subscription to it
_NAMED: Final = 3.0  # seconds for a lock to let a newcomer in
_QUIET: Final = 0.15  # seconds without a retained message, after which all of them are taken to have come
_KEPT: Final = 5.0
_GIVEN: Final = 4096
_CLIENT_BYTES: Final = 12  # by which a client id cannot be guessed
_log = logging.getLogger(__name__)


def _ignore(_message: Message | None, _error: WaveError) -> None:
    pass


def _log_denied(message: Message | None, error: WaveError) -> None:
    where = "" if message is None else f" at {message.resource}"
    _log.warning("a receiver refused a message%s: %s (%s)", where, error.message, error.code)


class MqttBus:
    """``async with MqttBus(secret, url, …) as bus``: stays connected, and subscribed, while the body runs."""

    def __init__(
        self,
        secret: EntitySecret,
        url: str,
        *,
        proofs: ProofSource,
        facts: FactsSource,
        clock: Clock,
        draw: Callable[[int], bytes],
        patience: float = 10.0,
        state: Path | None = None,
        inbox: Inbox | None = None,
        credentials: Credentials | None = None,
        lifetime: int = 30,
        denied: OnRefused = _log_denied,
    ) -> None:
        """Act as ``secret`` on the broker at ``url`` (mqtt:// or mqtts://); :class:`BadSetting`.

        ``credentials`` are for brokers with passwords of their own; without them a password is looked for where a lock
        would leave it. ``state`` is a directory for what was received already, unless an ``inbox`` is shared that knows
        it. ``denied`` hears of messages of ours that a receiver refused.
        """
        self.secret = secret
        self._broker = Broker.parse(url)
        self._proofs = Proofs(secret.entity, proofs)
        self._facts = facts
        self._clock = clock
        self._draw = draw
        self._patience = patience
        self._credentials = credentials or _signed_in(self._broker, secret, clock, draw)
        self._lifetime = lifetime
        self._denied = denied
        self._client = f"{id_text(secret.id)}-{draw(_CLIENT_BYTES).hex()}"
        self._marks = None if state is None or inbox is not None else Marks(state / "received.marks")
        self._inbox = inbox or Inbox(since=int(clock()), marks=self._marks)
        self._sequence = 0
        self._number = 0
        self._line: Line | None = None
        self._account: Account | None = None
        self._password: str | None = None
        self._asked = False
        self._spent: str | None = None  # a password that the broker does not take any more
        self._up = asyncio.Event()
        self._named = asyncio.Event()
        self._trouble: WaveError = BrokerUnavailable(f"the broker at {url} does not answer")
        self._wanted: dict[int, Wanted] = {}
        self._proofs_out: set[bytes] = set()
        self._known = Shelf()
        self._arrivals = Arrivals(self._known, check=self._check, refuse=self._refuse, begin=self._begin)
        self._given: LeastRecent[bytes, frozenset[int]] = LeastRecent(_GIVEN)
        self._sent: LeastRecent[bytes, Message] = LeastRecent(_GIVEN)
        self._notes = Notes()
        self._last_kept = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._reviewing: asyncio.Task[None] | None = None
        self._lost = 0

    @property
    def dropped(self) -> int:
        """How many messages were dropped on this side for want of room; what the broker drops it does not tell."""
        return self._lost + (0 if self._line is None else self._line.dropped)

    @property
    def connected(self) -> bool:
        """Whether the broker let us in."""
        return self._up.is_set()

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._task = asyncio.create_task(self._stay_connected())
        self._reviewing = asyncio.create_task(self._review_always())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        for task in (self._reviewing, self._task):
            if task is not None:
                await end_task(task)
        if self._marks is not None:
            self._marks.close()

    # Acts ------------------------------------------------------------------------------------------------------------

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
        """Publish; return 0 when the broker says that nobody hears, else 1, for it does not say how many.

        With ``persist`` it is retained. ``also`` are further payloads. Raises what the agent refused, and
        :class:`BrokerRefused` when the broker does.
        """
        pattern, payloads = resource(where), (Payload(content_type, payload), *also)
        asked = requests(self.secret.id, PUBLISH, namespace, pattern, values_in(payloads))
        proof = await self._proofs.get(asked, int(self._clock()))
        message = self._sign(PUBLISH, namespace, pattern, payloads, persist=persist, proof=proof)
        self._sent[message.id] = message
        return await self._let_in(lambda line: self._send(line, message, proof))

    async def forward(self, message: bytes, proof: bytes) -> int:
        """Publish a message that somebody else signed, as it is, with its proof; returns as :meth:`publish` does."""
        signed, shown = Message.from_bytes(message), Proof.from_bytes(proof)
        return await self._let_in(lambda line: self._send(line, signed, shown))

    async def subscribe(
        self,
        namespace: bytes,
        pattern: str,
        *,
        refused: OnRefused = _ignore,
        since: int | None = None,
        began: int | None = None,
    ) -> Reading:
        """Subscribe, if a proof shows the right to it: the broker alone may not ask. :class:`Refused`.

        With ``since``, whatever its number, what the broker retains comes first, but not when a reading goes on that
        ``began`` without. The subscription outlives a lost connection, and ends with the right to it.
        """
        reading = Reading(self._next_number(), namespace, Pattern(pattern), refused=refused, give_up=self.unsubscribe)
        wanted = Wanted(reading, SUBSCRIBE, kept=since is not None and began is None, live=True)
        await self._want(wanted)
        reading.opened = True
        return reading

    async def unsubscribe(self, reading: Reading) -> None:
        """End a subscription here, and at the broker if that can be told."""
        await self._forget(reading.number)

    async def query(self, namespace: bytes, pattern: str, *, last: int = 1) -> tuple[Accepted, ...]:  # noqa: ARG002
        """Return what the broker retains, one message a resource however many are asked for: brokers keep no more."""
        found = await self._retained(QUERY, namespace, pattern)
        return tuple(found[where] for where in sorted(found))

    async def list(self, namespace: bytes, pattern: str) -> tuple[str, ...]:
        """Return the resources with a retained message that can be believed."""
        return tuple(sorted(await self._retained(LIST, namespace, pattern)))

    async def _retained(self, permission: str, namespace: bytes, pattern: str) -> dict[str, Accepted]:
        reading = Reading(self._next_number(), namespace, Pattern(pattern), refused=_ignore, give_up=self.unsubscribe)
        wanted = Wanted(reading, permission, kept=True, live=False)
        try:
            await self._want(wanted)
            loop = asyncio.get_running_loop()
            self._last_kept = begun = loop.time()
            while loop.time() < begun + _KEPT:
                idle = self._line is None or self._line.idle
                if idle and not self._arrivals and loop.time() - self._last_kept > _QUIET:
                    break
                await asyncio.sleep(_QUIET / 5)
        finally:
            await self._forget(reading.number)
        return wanted.found

    async def _want(self, wanted: Wanted) -> None:
        number = wanted.reading.number
        await self._prove(wanted)
        await self._connected()
        self._wanted[number] = wanted
        try:
            await self._let_in(lambda line: self._hear(line, wanted))
        except BaseException:
            self._wanted.pop(number, None)
            raise

    async def _prove(self, wanted: Wanted) -> None:
        """Raise unless this entity has the right to what is wanted, by a proof that is checked here."""
        reading, now = wanted.reading, int(self._clock())
        asked = requests(self.secret.id, wanted.permission, reading.namespace, reading.pattern, ({},))
        proof = await self._proofs.get(asked, now)
        facts = await self._facts()
        try:
            authorized(self._inbox.verifier, asked, proof, facts, now=now)
        except Refused:
            renewed = await self._proofs.renew(asked, now, proof)
            if renewed is None or renewed.id == proof.id:
                raise
            proof = renewed
            authorized(self._inbox.verifier, asked, proof, facts, now=now)
        wanted.proof = proof

    async def _hear(self, line: Line, wanted: Wanted) -> None:
        await line.hear(wanted.filters, number=wanted.reading.number, kept=wanted.kept)
        wanted.heard = True

    async def _forget(self, number: int) -> None:
        wanted = self._wanted.pop(number, None)
        if wanted is None or self._line is None:
            return
        still = {one for other in self._wanted.values() for one in other.filters}
        gone = [one for one in wanted.filters if one not in still]
        if gone:
            with contextlib.suppress(WaveError):
                await self._line.forget(gone)

    def _sign(
        self,
        permission: str,
        namespace: bytes,
        where: Pattern,
        payloads: tuple[Payload, ...],
        *,
        proof: Proof,
        persist: bool = False,
    ) -> Message:
        now = int(self._clock())
        self._sequence += 1
        return Message.create(
            self.secret,
            permission=permission,
            namespace=namespace,
            resource=where,
            payloads=payloads,
            persist=persist,
            created=now,
            expires=now + (LIMITS.persist_lifetime if persist else self._lifetime),
            sequence=self._sequence,
            nonce=self._draw(NONCE_BYTES),
            proof=proof.id,
        )

    async def _send(self, line: Line, message: Message, proof: Proof, topic: str | None = None) -> int:
        now = int(self._clock())
        if proof.id not in self._proofs_out:
            until = min([dot.expires for dot in proof.dots], default=message.expires)
            publication = Carried(proof_topic(message.sender, proof.id), proof.to_bytes())
            await line.send(publication, retain=True, lasts=until - now)
            self._proofs_out.add(proof.id)
        return await line.send(carried(message, topic), retain=message.persist, lasts=message.expires - now)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    # The connection --------------------------------------------------------------------------------------------------

    async def _connected(self) -> Line:
        """Return the line, as soon as there is one; :class:`BrokerUnavailable`, or why we are not let in."""
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    await self._up.wait()
                    if self._line is not None and not self._line.broken:
                        return self._line
                    await asyncio.sleep(_TICK)
        except TimeoutError:
            raise self._trouble from None

    async def _let_in(self, act: Callable[[Line], Awaitable[R]]) -> R:
        """Act, and once more over the next connection when this one breaks, or as oneself where a stranger is refused.

        (A message that is sent twice is the same message: who got it already takes it for a replay.)
        """
        line = await self._connected()
        try:
            return await act(line)
        except BrokerUnavailable:
            if not line.broken:
                raise
        except BrokerRefused:
            if self._account is not None:
                raise
            try:
                async with asyncio.timeout(min(self._patience, _NAMED)):
                    while self._account is None:
                        await self._named.wait()
                        await asyncio.sleep(_TICK)
            except TimeoutError:
                raise self._refused_stranger() from None
        return await act(await self._connected())

    def _refused_stranger(self) -> BrokerRefused:
        return BrokerRefused(
            f"the broker at {self._broker.url} refuses, and has no password for {id_text(self.secret.id)}",
            hint=STRANGER,
        )

    async def _stay_connected(self) -> None:
        backoff = _BACKOFF_FIRST
        while True:
            begun = asyncio.get_running_loop().time()
            self._account = self._next_account()
            try:
                async with connected(self._broker, self._account, client=self._client) as line:
                    await self._attend(line)
                self._trouble = BrokerUnavailable(f"the broker at {self._broker.url} closed the connection")
            except WaveError as error:
                self._trouble = error
                if isinstance(error, BrokerRefused):
                    self._spent, self._password = self._password, None
                    self._named.clear()
            except Exception:  # noqa: BLE001 - whatever a broker sent, the next connection is a new beginning
                _log.exception("the connection to the broker at %s failed", self._broker.url)
                self._trouble = BrokerUnavailable(f"the broker at {self._broker.url} sent what could not be handled")
            if self._account is None and self._password is not None:
                continue  # as oneself now
            if asyncio.get_running_loop().time() - begun > _BACKOFF_MOST:
                backoff = _BACKOFF_FIRST
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads reconnections
            backoff = min(2 * backoff, _BACKOFF_MOST)

    def _next_account(self) -> Account | None:
        if self._credentials is not None:
            return self._credentials()
        return None if self._password is None else Account(id_text(self.secret.id), self._password)

    async def _attend(self, line: Line) -> None:
        """Serve one connection until it ends, or until a stranger is told its password."""
        self._line = line
        self._proofs_out = set()
        self._asked = False
        receiving = asyncio.create_task(self._receive_all(line))
        renamed: asyncio.Task[bool] | None = None
        try:
            with contextlib.suppress(BrokerRefused):
                await line.hear([denied_topic(self.secret.id)], kept=False)
            if self._account is None:
                await self._ask_name(line)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GREETING):
                        await self._named.wait()
                if self._named.is_set():
                    return
                renamed = asyncio.create_task(self._named.wait())
            else:
                self._named.set()
            for wanted in tuple(self._wanted.values()):
                wanted.heard = False
            await self._open_again(line)
            self._up.set()
            waited = [task for task in (receiving, renamed) if task is not None]
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._up.clear()
            self._lost += line.dropped
            self._line = None
            self._arrivals.clear()
            ending = [task for task in (receiving, renamed, *self._tasks) if task is not None]
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)

    async def _ask_name(self, line: Line) -> None:
        """Look for a password, where this one is a stranger and may look."""
        with contextlib.suppress(BrokerRefused):
            await line.hear([credentials_topic(self.secret.id)], kept=True)
            self._asked = True

    async def _open_again(self, line: Line) -> None:
        for wanted in tuple(self._wanted.values()):
            if not wanted.heard:
                with contextlib.suppress(BrokerRefused):  # asked again with the next review
                    await self._hear(line, wanted)

    async def _review_always(self) -> None:
        """End subscriptions with the right to them, and open again what the broker refused for a while."""
        while True:
            await asyncio.sleep(_REVIEW)
            for wanted in tuple(self._wanted.values()):
                if wanted.live:
                    await self._review(wanted)
            try:
                if self._line is not None and self._up.is_set():
                    if self._account is None and not self._asked:
                        await self._ask_name(self._line)
                    await self._open_again(self._line)
            except BrokerUnavailable:
                continue
            except Exception:  # noqa: BLE001 - subscriptions that nobody looks at any more would outlive their rights
                _log.exception("what the broker refused could not be asked for again")

    async def _review(self, wanted: Wanted) -> None:
        """End a subscription whose right is gone, though no new proof can be looked for."""
        try:
            await self._prove(wanted)
        except Refused as error:
            await self._end(wanted, error)
        except Exception as error:  # noqa: BLE001 - whatever a source of proofs raises, rights end all the same
            if not isinstance(error, Unavailable):
                _log.warning("no proof for %s: %s", wanted.reading.pattern, error, exc_info=error)
            try:
                await self._check_old(wanted)
            except Refused as over:
                await self._end(wanted, over)
            except Exception as unsure:  # noqa: BLE001 - without facts nothing is taken anyway
                _log.info("the right to %s cannot be checked: %s", wanted.reading.pattern, unsure)

    async def _check_old(self, wanted: Wanted) -> None:
        """Raise unless the proof that was good for a subscription still is."""
        if wanted.proof is not None:
            reading, now = wanted.reading, int(self._clock())
            asked = requests(self.secret.id, wanted.permission, reading.namespace, reading.pattern, ({},))
            authorized(self._inbox.verifier, asked, wanted.proof, await self._facts(), now=now)

    async def _end(self, wanted: Wanted, error: WaveError) -> None:
        wanted.reading.end(error)
        await self._forget(wanted.reading.number)

    # What comes ------------------------------------------------------------------------------------------------------

    async def _receive_all(self, line: Line) -> None:
        own_password, own_notes = credentials_topic(self.secret.id), denied_topic(self.secret.id)
        while True:
            publication = await line.receive()
            if publication.retained:
                self._last_kept = asyncio.get_running_loop().time()
            if publication.topic.startswith(f"{ROOT}/{PROOF}/"):
                await self._arrivals.take(line, publication)
            elif publication.topic == own_password:
                self._take_password(publication)
            else:
                await self._take(line, publication, note=publication.topic == own_notes)

    def _take_password(self, publication: Carried) -> None:
        """Take the password that a lock sealed to us, but for one that the broker refused already."""
        if not publication.payload:
            return
        try:
            match decode(keys.unseal(self.secret.seed, publication.payload)):
                case (mark, identity, str(password)) if (mark, identity) == (PASSWORD, self.secret.id):
                    if password != self._spent:
                        self._password = password
                        self._named.set()
        except WaveError as error:
            _log.warning("the broker's password for this entity cannot be opened: %s", error.message)

    async def _take(self, line: Line, publication: Carried, *, note: bool) -> None:
        """Take a message: check it if its proof is known, else fetch that first."""
        try:
            message = read(publication, beside=note)
        except WaveError as error:
            self._refuse_unread(publication, error)
            return
        if note or any(one.wants(message, retained=publication.retained) for one in self._wanted.values()):
            if message.proof is None or self._known.get(message.proof) is not None:
                await self._check(message, publication)
            elif not self._arrivals.add(line, message, publication, message.proof):
                self._lost += 1

    def _refuse_unread(self, publication: Carried, error: WaveError) -> None:
        try:
            namespace, where = place(publication.topic)
        except WaveError:
            return
        for wanted in tuple(self._wanted.values()):
            if wanted.reading.namespace == namespace and covers(wanted.reading.pattern, where):
                wanted.reading.refused(None, error)

    async def _check(self, message: Message, publication: Carried) -> None:
        """Check a message as if nobody had, and give it to whoever wants it.

        The broker sends a message once for each subscription that matches it, under that one's number; it is a replay
        if it comes a second time under the same.
        """
        note = publication.topic == denied_topic(self.secret.id)
        numbers = frozenset(publication.subscriptions)
        given = self._given.get(message.id)
        if not publication.retained and given is not None and numbers and not numbers & given:
            self._given[message.id] = given | numbers
            return
        proof = NO_PROOF if message.proof is None else self._known.get(message.proof)
        if proof is None:  # forgotten for others since it came
            proof = NO_PROOF
        try:
            accepted = self._inbox.accept(
                message,
                proof,
                await self._facts(),
                permission=SUBSCRIBE if note else PUBLISH,
                now=int(self._clock()),
                kept=publication.retained,
            )
        except WaveError as error:
            self._refuse(message, error, publication)
            return
        if note:
            self._take_note(message)
            return
        if not publication.retained:
            self._given[message.id] = numbers
        for wanted in tuple(self._wanted.values()):
            if wanted.wants(message, retained=publication.retained):
                wanted.put(accepted)

    def _refuse(self, message: Message, error: WaveError, publication: Carried) -> None:
        if publication.topic == denied_topic(self.secret.id):
            _log.info("a note of denial was refused: %s", error.message)
            return
        wanting = [one for one in self._wanted.values() if one.wants(message, retained=publication.retained)]
        for wanted in wanting:
            wanted.reading.refused(message, error)
        if wanting and not publication.retained and not isinstance(error, Replayed | RolledBack | BeforeRestart):
            self._note(message, error, wanting[0])

    # Notes of denial -------------------------------------------------------------------------------------------------

    def _note(self, message: Message, error: WaveError, wanted: Wanted) -> None:
        """Tell the sender that its message was refused, signed by who has the right to hear there; not too often."""
        if wanted.proof is None or self._line is None or not self._notes.allowed(asyncio.get_running_loop().time()):
            return
        note = self._sign(
            SUBSCRIBE,
            message.namespace,
            message.resource,
            (Payload(NOTE, told(message, error)),),
            proof=wanted.proof,
        )
        self._begin(self._send_note(self._line, note, wanted.proof, denied_topic(message.sender)))

    async def _send_note(self, line: Line, note: Message, proof: Proof, topic: str) -> None:
        with contextlib.suppress(WaveError):
            await self._send(line, note, proof, topic)

    def _take_note(self, note: Message) -> None:
        """Tell of a denial, if it is of a message that was sent from here and by who may hear it."""
        found = about(note)
        if found is None:
            return
        sent = self._sent.get(found[0])
        if sent is not None and (note.namespace, note.resource) == (sent.namespace, sent.resource):
            self._denied(sent, found[1])

    def _begin(self, act: Awaitable[None]) -> None:
        async def acting() -> None:
            with contextlib.suppress(BrokerUnavailable, BadPayload):
                await act

        task = asyncio.create_task(acting())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _signed_in(broker: Broker, secret: EntitySecret, clock: Clock, draw: Callable[[int], bytes]) -> Credentials | None:
    """Return signed logins, when the broker's address asks for them."""
    if broker.login is None:
        return None
    from wave.bus.login import signed_login

    name = broker.login
    return lambda: signed_login(secret, name, now=int(clock()), draw=draw)
