"""The router: carries messages from those who may publish to those who may subscribe, and is trusted with nothing else.

It checks both rights against the registry itself, so that a network is not flooded by strangers and the unentitled hear
nothing; receivers check everything again. It knows no sockets: a carrier (:mod:`wave.bus.websocket`) gives it links.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from wave.bus.connection import Clock, Connection, FactsSource, Gifts, Link, OnRefused, Outbox, Shelf, Subscription
from wave.bus.delivering import Delivering, end_task
from wave.bus.frame import (
    CHALLENGE_BYTES,
    NO_PROOF,
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
    Want,
    denied,
    parcel,
    read_parcel,
)
from wave.bus.greeting import answering, greeting
from wave.bus.message import LIST, PUBLISH, QUERY, SUBSCRIBE, Accepted, Message
from wave.bus.recent import Carried
from wave.bus.store import Kept, Store
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import (
    BadRequest,
    NotServed,
    RouterUnavailable,
    TooLarge,
    Unavailable,
    UnknownProof,
    UnknownSubscription,
    WaveError,
    WrongPurpose,
)
from wave.limits import LIMITS

__all__ = ["Clock", "Connection", "FactsSource", "Link", "OnRefused", "Outbox", "Router", "Subscription", "end_task"]


@dataclass(frozen=True, slots=True)
class _Publication:
    """A message that was accepted and waits to be carried, and by which number its connection waits for the answer."""

    connection: Connection
    number: int
    accepted: Accepted


class Router(Delivering):
    """Takes links and carries messages between them. There is no way to make it check less."""

    def __init__(
        self,
        facts: FactsSource,
        *,
        clock: Clock,
        draw: Callable[[int], bytes],
        review_every: float = 1.0,
        refused: OnRefused = lambda _message, _error: None,
        store: Store | None = None,
        secret: EntitySecret | None = None,
        namespaces: Collection[bytes] | None = None,
    ) -> None:
        """Check against ``facts``; look at open subscriptions again every ``review_every`` seconds.

        ``refused`` hears of every message that did not pass, None for one that could not be read. What is persisted is
        kept in ``store``, or in memory; whoever opened the store closes it. With ``secret`` it shows who it is.
        With ``namespaces`` it carries those alone; without, whatever anybody publishes in any namespace.
        """
        super().__init__(facts, clock=clock, review_every=review_every, store=Store(None) if store is None else store)
        self._refused = refused
        self._draw = draw
        self._secret = secret
        self._identity = None if secret is None else secret.id
        self._namespaces = None if namespaces is None else frozenset(namespaces)
        self._proofs = Shelf()
        self._gifts = Gifts()

    # Connections ----------------------------------------------------------------------------------------------------

    async def attend(self, link: Link) -> None:
        """Serve one link until it closes."""
        if len(self._connections) >= LIMITS.connections and not self._turn_out():
            await link.send(parcel(denied(0, Unavailable("the router has no room for another connection"))))
            return
        connection = Connection(self._draw(CHALLENGE_BYTES))
        connection.outbox.answer(self._hello(connection.challenge))
        self._connections[connection] = None
        sending = asyncio.create_task(_send_all(link, connection.outbox))
        receiving = asyncio.create_task(self._receive_all(link, connection))
        try:
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._forget(connection)
            try:
                await end_task(sending, receiving, *filter(None, [connection.catching_up]))
            finally:
                self._gifts.forget(connection)

    def _turn_out(self) -> bool:
        """End the oldest connection over which nothing was ever granted; False when there is none."""
        for connection in self._connections:
            if not connection.useful:
                self._forget(connection)
                connection.outbox.close()
                return True
        return False

    def _hello(self, challenge: bytes) -> Hello:
        if self._secret is None:
            return Hello(challenge)
        word = greeting(self._secret, challenge, now=self._now(), draw=self._draw)
        return Hello(challenge, self._secret.entity.to_bytes(), word.to_bytes())

    async def _receive_all(self, link: Link, connection: Connection) -> None:
        with contextlib.suppress(RouterUnavailable):
            while (data := await link.receive()) is not None:
                await connection.outbox.room()
                try:
                    frames = read_parcel(data)
                except WaveError as error:
                    connection.outbox.answer(denied(0, error))
                    connection.outbox.close()
                    await asyncio.Event().wait()  # for the end, which is when that is sent
                else:
                    await self._handle(connection, frames)

    async def _handle(self, connection: Connection, frames: Sequence[Frame]) -> None:
        """Do what a parcel asks, in its order; publications that stand together go together.

        All is done by the same facts, for a second and until something has had to wait.
        """
        facts, asked = await self._known_facts(), self._now()
        together: list[_Publication] = []
        try:
            for frame in frames:
                if asked != self._now():
                    self._carry(together, facts)
                    together = []
                    facts, asked = await self._known_facts(), self._now()
                try:
                    if isinstance(frame, Publish):
                        accepted = self._accept(connection, frame.message, facts, PUBLISH)
                        together.append(_Publication(connection, frame.number, accepted))
                    else:
                        self._carry(together, facts)
                        together = []
                        await self._do(connection, frame, facts)
                except WaveError as error:
                    connection.outbox.answer(denied(getattr(frame, "number", 0), error))
                if isinstance(frame, Publish):
                    await asyncio.sleep(0)  # a message may cost many signatures, and others have their turn
                elif isinstance(frame, Want | Query | ListKept):
                    facts, asked = await self._known_facts(), self._now()
        finally:
            self._carry(together, facts)

    async def _known_facts(self) -> Facts | WaveError:
        try:
            return await self._facts()
        except WaveError as error:
            return error

    async def _do(self, connection: Connection, frame: Frame, facts: Facts | WaveError) -> None:
        match frame:
            case Give(proof):
                self._gifts.put(connection, proof)
            case Want(identity):
                await connection.outbox.room()
                known = self._proofs.get(identity)
                connection.tell(identity, self._store.proof(identity) if known is None else known.data, again=True)
            case Subscribe():
                self._subscribe(connection, frame, facts)
            case Unsubscribe(number, subscription):
                if not self._close(connection, subscription):
                    raise UnknownSubscription(f"this connection has no subscription {subscription}")
                connection.outbox.answer(Done(number, 0))
            case Query():
                await self._query(connection, frame, facts)
            case ListKept():
                await self._list(connection, frame, facts)
            case _:
                raise BadRequest("a peer does not say that to a router")

    # Acts -----------------------------------------------------------------------------------------------------------

    def _accept(self, connection: Connection, data: bytes, facts: Facts | WaveError, permission: str) -> Accepted:
        """Check a message that came over a connection. All but a publication must answer the connection's challenge."""
        message: Message | None = None
        try:
            message = Message.from_bytes(data)
            if self._namespaces is not None and message.namespace not in self._namespaces:
                raise NotServed("the router does not carry the message's namespace")
            challenged = permission != PUBLISH
            if challenged and message.payload != answering(connection.challenge, self._identity):
                raise WrongPurpose("the message was signed for another connection, or for another router")
            proof = self._proof_of(connection, message)
            if isinstance(facts, WaveError):
                raise facts
            accepted = self._inbox.accept(
                message, proof, facts, permission=permission, now=self._now(), challenged=challenged
            )
        except WaveError as error:
            self._refused(message, error)
            raise
        connection.useful = True
        if message.proof is not None:
            self._proofs.put(proof, message.proof)
            self._gifts.drop(connection, message.proof)
        return accepted

    def _proof_of(self, connection: Connection, message: Message) -> Proof:
        """Return the proof that a message names; :class:`UnknownProof`, :class:`InputError` when it is none."""
        if message.proof is None:
            return NO_PROOF
        proof = self._proofs.get(message.proof) or self._gifts.get(connection, message.proof)
        if proof is None:
            raise UnknownProof("the proof that the message names is not known here")
        return proof

    def _subscribe(self, connection: Connection, frame: Subscribe, facts: Facts | WaveError) -> None:
        """Open a subscription; what it is to catch up with, all of the connection waits for, so that order holds."""
        if len(connection.subscriptions) >= LIMITS.subscriptions_per_connection:
            raise TooLarge(f"at most {LIMITS.subscriptions_per_connection} subscriptions may be open on a connection")
        if frame.number in connection.subscriptions:
            raise BadRequest("a subscription of that number is open already")
        accepted = self._accept(connection, frame.message, facts, SUBSCRIBE)
        since = self._serial if frame.since is None else max(0, min(frame.since, self._serial))
        subscription = Subscription(accepted, cursor=since, counted=since or self._serial)
        self._open(connection, frame.number, subscription)
        connection.outbox.answer(Done(frame.number, 0, self._serial))
        if frame.since is None and connection.catching_up is None:
            subscription.cursor = None
        else:
            self._fall_behind(connection, self._serial)

    async def _query(self, connection: Connection, frame: Query, facts: Facts | WaveError) -> None:
        accepted = self._accept(connection, frame.message, facts, QUERY)
        asked = accepted.message
        last = max(1, min(frame.last, LIMITS.kept_per_resource))
        count = 0
        for one in self._store.newest(asked.namespace, asked.resource, last, self._now()):
            if count == LIMITS.query_messages:
                raise TooLarge(f"more than {LIMITS.query_messages} messages match", hint="ask for a narrower pattern")
            await self._room_to_answer(connection, accepted)
            connection.tell(one.proof, self._store.proof(one.proof) if one.proof else None)
            connection.outbox.answer(Found(frame.number, one.serial, one.message))
            count += 1
        connection.outbox.answer(Done(frame.number, count))

    async def _list(self, connection: Connection, frame: ListKept, facts: Facts | WaveError) -> None:
        accepted = self._accept(connection, frame.message, facts, LIST)
        asked = accepted.message
        found = self._store.listed(asked.namespace, asked.resource, self._now())
        if len(found) > LIMITS.listed_resources:
            raise TooLarge(f"{len(found)} resources; at most {LIMITS.listed_resources} are listed at once")
        for start in range(0, len(found), LIMITS.listed_per_frame):
            await self._room_to_answer(connection, accepted)
            connection.outbox.answer(Listed(frame.number, tuple(found[start : start + LIMITS.listed_per_frame])))
        connection.outbox.answer(Done(frame.number, len(found)))

    async def _room_to_answer(self, connection: Connection, accepted: Accepted) -> None:
        """Wait for room for the next part of an answer; whoever had to wait must still have the right to it."""
        if connection.outbox.full:
            await connection.outbox.room(patience=LIMITS.answer_wait)
            self._check_again(accepted, await self._facts(), self._now())

    def _carry(self, publications: Sequence[_Publication], facts: Facts | WaveError) -> None:
        """Keep what is to be kept, all in one transaction, and only then hand on and answer."""
        if not publications or isinstance(facts, WaveError):
            return
        carried = [_carried(one.accepted, serial) for serial, one in enumerate(publications, start=self._serial + 1)]
        refused = self._keep([one for one in carried if one.kept])
        self._serial += len(carried)
        for asked, one in zip(publications, carried, strict=True):
            if one.serial in refused:
                self._recent.add(one.blank())
                asked.connection.outbox.answer(denied(asked.number, refused[one.serial]))
            else:
                self._recent.add(one)
                asked.connection.outbox.answer(Done(asked.number, self.hand_on(one, facts), one.serial))

    def _keep(self, carried: Sequence[Carried]) -> dict[int, WaveError]:
        """Commit what is to be kept; return the serials of what is not, each with the reason."""
        if not carried:
            return {}
        rows = [Kept(one.serial, one.namespace, one.resource, one.expires, one.message, one.proof) for one in carried]
        proofs = {one.proof: one.proof_bytes for one in carried if one.proof is not None}
        try:
            return dict(self._store.keep(rows, proofs, self._now()))
        except WaveError as error:
            return {one.serial: error for one in carried}


def _carried(accepted: Accepted, serial: int) -> Carried:
    message = accepted.message
    return Carried(
        serial,
        message.namespace,
        message.resource,
        message.expires,
        message.to_bytes(),
        message.proof,
        accepted.proof.data,
        message.persist,
    )


async def _send_all(link: Link, outbox: Outbox) -> None:
    with contextlib.suppress(RouterUnavailable):
        while (parcels := await outbox.take()) is not None:
            for one in parcels:
                await link.send(one)
