"""What a router shows as kept to a reading that asked for no history: what it missed, once, and nothing older."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.bus.liar import Liar
from tests.bus.town import Town, until
from tests.world import DAY, World
from wave.bus.connection import Connection
from wave.bus.frame import Deliver, Done, Frame, Listed, ListKept, Want, denied
from wave.bus.marks import Marks
from wave.bus.message import Inbox, Message
from wave.bus.peer import Peer
from wave.bus.reading import Reading
from wave.bus.recent import Carried
from wave.codec import amend, record_bytes
from wave.dots.facts import Facts
from wave.errors import BeforeRestart, Replayed, Revoked, RolledBack, RouterUnavailable, WaveError
from wave.limits import LIMITS


class Holder(Liar):
    """Holds back what it is told to, and shows it when it likes."""

    holds = False
    serials = 2**60

    def hand_on(self, carried: Carried, facts: Facts) -> int:
        if not self.holds:
            return super().hand_on(carried, facts)
        self.seen.append(carried)
        return 1

    def show(self, message: bytes) -> None:
        """Give a message to everybody as one that was kept, under a serial above all others."""
        self.serials += 1
        self.spread(message, serial=self.serials, again=True)

    def end_readings(self) -> None:
        """End every reading, for no reason."""
        for connection in self._connections:
            for number in tuple(connection.subscriptions):
                connection.outbox.answer(denied(number, Revoked("so it says")))
                self._close(connection, number)

    async def _list(self, connection: Connection, frame: ListKept, facts: Facts | WaveError) -> None:  # noqa: ARG002
        connection.outbox.answer(Listed(frame.number, ("a/b", "elsewhere", "a/b c", "a/*", "a//b", "a/\x1b[2J")))
        connection.outbox.answer(Done(frame.number, 1))


class Heard:
    """What one reading is given and what is refused."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.kept: list[bool] = []
        self.refused: list[type[WaveError]] = []

    async def read(self, peer: Peer, town: Town, **more: int) -> Reading:
        reading = await peer.subscribe(
            town.home, "a", refused=lambda _, error: self.refused.append(type(error)), **more
        )
        self._task = asyncio.create_task(self._take(reading))
        return reading

    async def _take(self, reading: Reading) -> None:
        with suppress(Revoked):
            async for received in reading:
                self.given.append(received.message.payload)
                self.kept.append(received.kept)

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 5)


@pytest.fixture
def town(world: World) -> Town:
    town = Town(world)
    town.give("home", "alice", "publish@home/*")
    town.give("home", "bob", "subscribe,query,list@home/*")
    return town


@asynccontextmanager
async def lied_to(town: Town) -> AsyncIterator[Holder]:
    async with town.open(Holder) as router:
        assert isinstance(router, Holder)
        yield router


def fast(town: Town) -> Peer:
    """Alice, whose clock runs ahead as far as it may."""
    return town.peer("alice", clock=lambda: town.world.now + LIMITS.clock_skew)


async def test_a_reading_is_shown_nothing_that_was_made_before_it_began(town: Town) -> None:
    """Whatever was said in the year before, and whatever the router calls it."""
    heard = Heard()
    async with lied_to(town) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        await alice.publish(town.home, "a", b"long ago", persist=True)
        old = router.seen[-1].message
        town.world.pass_time(20 * DAY)
        await heard.read(bob, town)
        router.show(old)
        await alice.publish(town.home, "a", b"now")
        await until(lambda: bool(heard.given))
        assert heard.given == [b"now"]


async def test_a_router_that_ends_a_reading_cannot_show_the_next_what_was_taken_before(town: Town) -> None:
    heard, later = Heard(), Heard()
    async with lied_to(town) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        await heard.read(bob, town)
        await alice.publish(town.home, "a", b"open", persist=True)
        await until(lambda: heard.given == [b"open"])
        taken = router.seen[-1].message
        router.end_readings()
        await heard.ended()
        await later.read(bob, town)
        router.show(taken)
        await until(lambda: later.refused == [Replayed])
        town.world.pass_time(20 * DAY)
        router.end_readings()
        await later.ended()
        await later.read(bob, town)
        router.show(taken)
        await alice.publish(town.home, "a", b"now")
        await until(lambda: bool(later.given))
        assert later.given == [b"now"]


async def test_what_a_reading_missed_is_given_however_late_and_once(town: Town) -> None:
    heard = Heard()
    async with lied_to(town) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        await heard.read(bob, town)
        router.holds = True
        for payload in (b"first", b"second"):
            await alice.publish(town.home, "a", payload, persist=True)
            town.world.pass_time(1)
        first, second = [one.message for one in router.seen]
        town.world.pass_time(10 * LIMITS.message_lifetime)
        for message in (first, second, second, first):
            router.show(message)
        await until(lambda: len(heard.refused) == 2)
        assert heard.given == [b"first", b"second"]
        assert heard.kept == [True, True]
        assert heard.refused == [Replayed, RolledBack]


async def test_a_word_of_a_clock_that_runs_ahead_is_not_taken_again_by_a_later_reading(town: Town) -> None:
    heard, later = Heard(), Heard()
    async with lied_to(town) as router, fast(town) as alice, town.peer("bob") as bob:
        await heard.read(bob, town)
        await alice.publish(town.home, "a", b"open", persist=True)
        await until(lambda: heard.given == [b"open"])
        router.end_readings()
        await heard.ended()
        await later.read(bob, town)
        town.world.pass_time(2 * LIMITS.message_lifetime)
        router.show(router.seen[-1].message)
        await until(lambda: later.refused == [Replayed])
        assert later.given == []


async def test_a_word_of_a_clock_that_runs_ahead_is_not_taken_again_after_a_restart(town: Town, tmp_path: Path) -> None:
    heard, later = Heard(), Heard()
    async with lied_to(town) as router, fast(town) as alice:
        for one in (heard, later):
            marks = Marks(tmp_path / "marks")
            async with town.peer("bob", inbox=Inbox(marks=marks)) as bob:
                await one.read(bob, town)
                if one is heard:
                    await alice.publish(town.home, "a", b"open", persist=True)
                    await until(lambda: heard.given == [b"open"])
                else:
                    town.world.pass_time(2 * LIMITS.message_lifetime)
                    router.show(router.seen[-1].message)
                    await until(lambda: later.refused == [BeforeRestart])
            marks.close()
        assert later.given == []


async def test_a_reading_that_goes_on_elsewhere_asks_for_no_more_than_before(town: Town) -> None:
    heard = Heard()
    async with town.open(), town.peer("alice") as alice, town.peer("bob") as bob:
        await alice.publish(town.home, "a", b"before", persist=True)
        town.world.pass_time(DAY)
        began = town.world.now
        await alice.publish(town.home, "a", b"missed", persist=True)
        town.world.pass_time(DAY)
        await heard.read(bob, town, since=0, began=began)
        await until(lambda: bool(heard.given))
        assert heard.given == [b"missed"]


async def test_a_held_back_value_does_not_take_the_place_of_a_newer_one(town: Town) -> None:
    heard = Heard()
    async with lied_to(town) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        await heard.read(bob, town)
        router.holds = True
        await alice.publish(town.home, "a", b"old", persist=True)
        town.world.pass_time(5)
        router.holds = False
        await alice.publish(town.home, "a", b"new", persist=True)
        router.spread(router.seen[0].message, serial=2)
        await until(lambda: heard.refused == [RolledBack])
        assert heard.given == [b"new"]


async def test_a_router_does_not_keep_a_held_back_value_in_the_place_of_a_newer_one(town: Town) -> None:
    async with town.open(), town.peer("alice") as alice, town.peer("bob") as bob:
        proof, _ = await town.prove(town.world.request("alice", "publish@home/a"))
        older = Message.create(
            town.world.entity("alice"), permission="publish", namespace=town.home, resource="a", payload=b"old",
            persist=True, created=town.world.now, expires=town.world.now + DAY, nonce=bytes(16), proof=proof.id,
        )  # fmt: skip
        town.world.pass_time(5)
        await alice.publish(town.home, "a", b"new", persist=True)
        with pytest.raises(RolledBack):
            await alice.forward(older.to_bytes(), proof.data)
        assert [one.message.payload for one in await bob.query(town.home, "a", last=9)] == [b"new"]


async def test_only_resources_that_were_asked_for_are_listed(town: Town) -> None:
    async with lied_to(town), town.peer("bob") as bob:
        assert await bob.list(town.home, "a/*") == ("a/b",)


# A router that answers nothing --------------------------------------------------------------------------------------


class Silent:
    """A connection over which nothing ever comes."""

    async def send(self, parcel: bytes) -> None:
        """Swallow it."""

    async def receive(self) -> bytes | None:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def test_a_router_that_does_not_greet_is_left_for_the_next_address(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wave.bus.peer._GREETING", 0.02)
    tried: list[str] = []

    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[Silent]:
        tried.append(url)
        yield Silent()

    async with town.peer("bob", connect=connect, url="ws://silent", patience=0.2) as bob:
        await until(lambda: len(tried) > 2)
        with pytest.raises(RouterUnavailable, match="did not greet"):
            await bob.query(town.home, "a")


async def test_proofs_are_asked_for_as_long_as_messages_can_wait_for_them(town: Town) -> None:
    async with town.open(Liar), town.peer("bob") as bob:
        await bob.subscribe(town.home, "a")
        known = Message.create(
            town.world.entity("alice"), permission="publish", namespace=town.home, resource="a", payload=b"",
            created=town.world.now, expires=town.world.now + 30, nonce=bytes(16), proof=bytes(32),
        )  # fmt: skip
        said: list[Frame] = []
        bob._receiving._say = said.append
        for number in range(LIMITS.queue_frames + 50):
            fields = amend(known.fields, proof=number.to_bytes(32, "big"))
            message = Message(record_bytes(fields), known.signature).to_bytes()
            await bob._receiving.take([Deliver(number + 1, message)])
        assert len(said) == LIMITS.queue_frames
        assert bob.dropped == 50


def test_a_router_that_does_not_read_is_not_asked_for_proofs_without_end(town: Town) -> None:
    sending = town.peer("bob")._sending
    for number in range(LIMITS.queue_frames + 50):
        sending.say(Want(number.to_bytes(32, "big")))
    assert len(sending._plain) == LIMITS.queue_frames
