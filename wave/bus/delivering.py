"""How a router hands on what was published: now, later to who was away, and to nobody whose right has ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from wave.bus.connection import Clock, Connection, FactsSource, Subscription
from wave.bus.frame import Deliver, denied, write_frame
from wave.bus.message import Accepted, Inbox, authorized
from wave.bus.recent import Carried, Recent
from wave.bus.store import Kept, Store
from wave.bus.wanting import Wanting
from wave.dots.explain import decision_id
from wave.dots.facts import Facts
from wave.errors import Refused, Unavailable, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

_FLUSH: Final = 1.0  # seconds between two times that what is kept is written to the disk itself


class Delivering:
    """The connections of a router, and what was carried between them."""

    def __init__(self, facts: FactsSource, *, clock: Clock, review_every: float, store: Store) -> None:
        """Number messages from where the store's last router cannot have come to."""
        self._facts = facts
        self._clock = clock
        self._review_every = review_every
        self._store = store
        self._inbox = Inbox(since=int(clock()), marks=store.marks)
        self._connections: dict[Connection, None] = {}
        self._serial = store.first_serial(int(clock() * 1_000_000))
        self._recent = Recent(self._serial + 1)
        self._wanting = Wanting()

    @property
    def open_subscriptions(self) -> int:
        """How many subscriptions are open."""
        return sum(len(connection.subscriptions) for connection in self._connections)

    def _now(self) -> int:
        return int(self._clock())

    # Handing on -----------------------------------------------------------------------------------------------------

    def hand_on(self, carried: Carried, facts: Facts) -> int:
        """Queue a message for each connection with a subscription that wants it and still holds by ``facts``.

        Return how many there are. A connection that has no room for it falls behind, and gets it later if it can.
        """
        frame: bytes | None = None
        reached = 0
        for connection, numbers in self._wanting.of(carried.namespace, carried.resource).items():
            held = [number for number in numbers if self._still_holds(connection, number, facts)]
            if not held:
                continue
            reached += 1
            if connection.catching_up is None:
                if frame is None:
                    frame = write_frame(Deliver(carried.serial, carried.message))
                if connection.outbox.has_room(len(frame)):
                    connection.tell(carried.proof, carried.proof_bytes)
                    connection.outbox.put(frame)
                else:
                    self._fall_behind(connection, carried.serial - 1)
        return reached

    def _open(self, connection: Connection, number: int, subscription: Subscription) -> None:
        connection.subscriptions[number] = subscription
        self._wanting.add(connection, number, subscription)

    def _close(self, connection: Connection, number: int) -> bool:
        """End a connection's subscription; False when it has none of that number."""
        subscription = connection.subscriptions.pop(number, None)
        if subscription is None:
            return False
        self._wanting.remove(connection, number, subscription)
        return True

    def _forget(self, connection: Connection) -> None:
        """End a connection and all its subscriptions."""
        self._connections.pop(connection, None)
        for number in tuple(connection.subscriptions):
            self._close(connection, number)

    def _fall_behind(self, connection: Connection, serial: int) -> None:
        """Let a connection catch up from ``serial`` on, all its subscriptions together, so that order holds."""
        for subscription in connection.subscriptions.values():
            if subscription.cursor is None:
                subscription.cursor = serial
                subscription.counted = max(subscription.counted, serial)
        if connection.catching_up is None:
            connection.catching_up = asyncio.create_task(self._catch_up(connection))

    async def _catch_up(self, connection: Connection) -> None:
        while connection.subscriptions:
            await connection.outbox.room()
            try:
                facts = await self._facts()
                self._count_lost(connection)
                batch = self._after(connection)
            except WaveError:  # nothing is delivered for want of facts, and a disk may get better
                await asyncio.sleep(self._review_every)
                continue
            if not batch:
                break
            for one in batch:
                if connection.outbox.full:  # by the time that there is room again, the facts are others
                    break
                self._deliver_again(connection, one, facts)
        for subscription in connection.subscriptions.values():
            subscription.cursor = None
        connection.catching_up = None

    def _after(self, connection: Connection) -> list[Carried]:
        """Return what comes next for a connection that is behind; what is not with the recent ones, from the store."""
        behind = connection.subscriptions.values()
        cursor = min((one.cursor or 0 for one in behind), default=self._serial)
        if cursor + 1 < self._recent.first:
            rows = self._store.after(
                cursor, self._recent.first, {one.namespace for one in behind}, most=LIMITS.parcel_frames
            )
            if rows:
                return [self._from_store(row) for row in rows]
            cursor = self._recent.first - 1
        return self._recent.after(cursor, most=LIMITS.parcel_frames)

    def _from_store(self, row: Kept) -> Carried:
        proof = (row.proof and self._store.proof(row.proof)) or b""
        return Carried(
            row.serial, row.namespace, Pattern(row.resource), row.expires, row.message, row.proof, proof, kept=True
        )

    def _deliver_again(self, connection: Connection, one: Carried, facts: Facts) -> None:
        wanting = [
            number
            for number, held in connection.subscriptions.items()
            if (held.cursor or 0) < one.serial and held.wants(one.namespace, one.resource)
        ]
        if any([self._still_holds(connection, number, facts) for number in wanting]):  # noqa: C419 - all are looked at
            if one.expires > self._now():
                connection.tell(one.proof, one.proof_bytes)
                connection.outbox.answer(Deliver(one.serial, one.message, again=True))
            elif not one.kept:
                connection.outbox.lose(1)
        for subscription in connection.subscriptions.values():
            subscription.cursor = max(subscription.cursor or 0, one.serial)

    def _count_lost(self, connection: Connection) -> None:
        """Count what a connection missed and nobody has any more."""
        for subscription in connection.subscriptions.values():
            if subscription.counted + 1 < self._recent.first:
                gone = self._recent.gone_after(subscription.counted)
                lost = sum(subscription.wants(namespace, resource) for _, namespace, resource in gone)
                subscription.counted = self._recent.first - 1
                if lost:
                    connection.outbox.lose(lost)

    # Subscriptions end with the right to them -----------------------------------------------------------------------

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
        for connection in tuple(self._connections):
            for number in tuple(connection.subscriptions):
                self._still_holds(connection, number, facts)

    async def review_always(self) -> None:
        """Review until cancelled."""
        while True:
            await asyncio.sleep(self._review_every)
            await self.review()

    async def _flush_always(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH)
            with contextlib.suppress(WaveError):
                await asyncio.to_thread(self._store.flush)

    def _still_holds(self, connection: Connection, number: int, facts: Facts) -> bool:
        """Tell whether a subscription holds by ``facts``; looked at once for the same facts and second.

        One whose right is gone is told so and ends, and with the last one the connection.
        """
        subscription = connection.subscriptions.get(number)
        if subscription is None:
            return False
        now = self._now()
        held = subscription.held
        if held is not None and held[0] is facts and held[1] == now:
            return True
        try:
            self._check_again(subscription.accepted, facts, now)
        except Refused as error:
            self._close(connection, number)
            connection.outbox.answer(denied(number, error))
            if not connection.subscriptions:
                connection.outbox.close()
            return False
        except Unavailable:
            return False
        subscription.held = facts, now
        return True

    def _check_again(self, accepted: Accepted, facts: Facts, now: int) -> None:
        """Raise what speaks against an accepted message by these facts; its time and signature aside."""
        asked = accepted.message.requests()
        try:
            authorized(self._inbox.verifier, asked, accepted.proof, facts, now=now)
        except Refused as error:
            error.decision = decision_id(
                accepted.proof, asked[0], facts, now=now, outcome=error, act=accepted.message.id
            )
            raise

    @asynccontextmanager
    async def reviewing(self) -> AsyncIterator[None]:
        """Review open subscriptions in the background while the body runs."""
        tasks = [asyncio.create_task(self.review_always()), asyncio.create_task(self._flush_always())]
        try:
            yield
        finally:
            await end_task(*tasks)


async def end_task(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until all have ended; raise what the first of them failed with.

    A cancellation of one's own is never swallowed.
    """
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    failed = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if failed:
        raise failed[0]
