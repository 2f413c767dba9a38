"""What a router keeps: last values, history, serials, and what those who were away hear later. All over WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bus.liar import Liar
from tests.bus.town import Town, until
from tests.world import DAY, World
from wave.bus.connection import Connection, Link
from wave.bus.frame import Done, Found, Query
from wave.bus.message import JSON, Accepted, Message, Payload
from wave.bus.reading import Reading
from wave.bus.store import Kept, Store
from wave.bus.websocket import connected
from wave.dots.facts import Facts
from wave.errors import (
    ConditionMissing,
    NoProof,
    Replayed,
    RolledBack,
    RouterFull,
    TooLarge,
    WaveError,
    WrongPurpose,
)
from wave.limits import LIMITS
from wave.namespace.condition import where
from wave.namespace.pattern import Pattern


def granted(world: World) -> Town:
    town = Town(world)
    town.given = town.give("home", "alice", "publish@home/*")
    town.read = town.give("home", "bob", "subscribe,query,list@home/*")
    return town


@pytest.fixture
async def town(world: World) -> AsyncIterator[Town]:
    town = granted(world)
    async with town.open():
        yield town


async def soon(reading: Reading) -> Accepted:
    return await asyncio.wait_for(anext(reading), 5)


async def payloads(reading: Reading, count: int) -> list[bytes]:
    return [(await soon(reading)).message.payload for _ in range(count)]


def port_of(town: Town) -> int:
    return int(town.url.rpartition(":")[2].partition("/")[0])


# Last values, history, lists ----------------------------------------------------------------------------------------


async def test_the_last_value_is_kept_and_can_be_queried(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        await alice.publish(town.home, "a", b"gone")
        for payload in (b"1", b"2"):
            await alice.publish(town.home, "a", payload, persist=True)
        (found,) = await bob.query(town.home, "a")
        assert found.message.payload == b"2"
        assert found.kept
        assert found.serial > 0
        town.world.pass_time(10 * DAY)
        assert [one.message.payload for one in await bob.query(town.home, "a", last=9)] == [b"1", b"2"]


async def test_a_query_gives_what_matches_and_no_more(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        for where_to in ("a/b", "a/b/c", "a/d", "a/!meta/unit", "ab"):
            await alice.publish(town.home, where_to, where_to.encode(), persist=True)
        assert await bob.list(town.home, "a/*") == ("a/!meta/unit", "a/b", "a/b/c", "a/d")
        monkeypatch.setattr("wave.bus.router.LIMITS", replace(LIMITS, listed_per_frame=2))
        assert await bob.list(town.home, "a/*") == ("a/!meta/unit", "a/b", "a/b/c", "a/d")
        assert await bob.list(town.home, "a/+") == ("a/b", "a/d")
        assert await bob.list(town.home, "*/!meta/+") == ("a/!meta/unit",)
        found = await bob.query(town.home, "a/+")
        assert {str(one.message.resource) for one in found} == {"a/b", "a/d"}
        assert await bob.query(town.home, "nothing/*") == ()


async def test_query_and_list_need_the_right_to_the_pattern(town: Town) -> None:
    town.give("home", "carol", "query@home/a/*", "subscribe@home/*")
    async with town.peer("carol") as carol:
        await carol.query(town.home, "a/*")
        with pytest.raises(NoProof):
            await carol.query(town.home, "*")
        with pytest.raises(NoProof):
            await carol.list(town.home, "a/*")


async def test_a_message_of_several_payloads_arrives_whole_and_each_is_held_to_the_conditions(town: Town) -> None:
    town.give("home", "carol", "publish@home/warm", conditions=(where("value 1..9"),))
    more = (Payload("text/plain", b"more"),)
    async with town.peer("alice") as alice, town.peer("carol") as carol, town.peer("bob") as bob:
        reading = await bob.subscribe(town.home, "*")
        await alice.publish(town.home, "a", b"1", also=more)
        assert (await soon(reading)).message.payloads == (Payload(JSON, b"1"), *more)
        await carol.publish(town.home, "warm", b"5", also=(Payload(JSON, b"6"),))
        for also in ((Payload(JSON, b"66"),), more):
            with pytest.raises(WaveError) as caught:
                await carol.publish(town.home, "warm", b"5", also=also)
            assert isinstance(caught.value, NoProof | ConditionMissing)


async def test_what_its_sender_may_no_longer_say_is_not_believed_though_it_was_kept(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        await alice.publish(town.home, "a", b"1", persist=True)
        assert len(await bob.query(town.home, "a")) == 1
        town.world.revoke(town.given)
        assert await bob.query(town.home, "a") == ()


async def test_one_answer_holds_a_bounded_number(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wave.bus.router.LIMITS", replace(LIMITS, query_messages=3, listed_resources=3))
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        for number in range(3):
            await alice.publish(town.home, f"a/{number}", b"1", persist=True)
        assert len(await bob.query(town.home, "a/*")) == len(await bob.list(town.home, "a/*")) == 3
        await alice.publish(town.home, "a/3", b"1", persist=True)
        with pytest.raises(TooLarge):
            await bob.query(town.home, "a/*")
        with pytest.raises(TooLarge):
            await bob.list(town.home, "a/*")


# Lying about what was kept ------------------------------------------------------------------------------------------


class Forger(Liar):
    """Answers queries with what it is told to."""

    answer: bytes = b""

    async def _query(self, connection: Connection, frame: Query, facts: Facts | WaveError) -> None:  # noqa: ARG002
        connection.tell(self.seen[-1].proof, self.seen[-1].proof_bytes)
        connection.outbox.answer(Found(frame.number, 1, self.answer))
        connection.outbox.answer(Done(frame.number, 1))


async def test_a_router_that_shows_an_old_value_or_an_invented_one_is_not_believed(world: World) -> None:
    town = granted(world)
    async with town.open(Forger) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        assert isinstance(router, Forger)
        reading = await bob.subscribe(town.home, "a")
        for payload in (b"old", b"new"):
            await alice.publish(town.home, "a", payload, persist=True)
            await soon(reading)
            world.pass_time(1)
        old, new = [one.message for one in router.seen]
        for shown, found in ((new, 1), (old, 0), (new, 1)):
            router.answer = shown
            assert len(await bob.query(town.home, "a")) == found
        forged = Message.from_bytes(new)
        router.answer = Message(forged.body, bytes(64)).to_bytes()
        assert await bob.query(town.home, "a") == ()
        router.answer = new
        assert await bob.query(town.home, "b") == ()


async def test_a_router_cannot_show_a_kept_message_as_newer_than_it_is(world: World) -> None:
    town, refusals = granted(world), list[WaveError]()
    async with town.open(Liar) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        assert isinstance(router, Liar)
        reading = await bob.subscribe(town.home, "a", refused=lambda _, error: refusals.append(error))
        for payload in (b"old", b"new"):
            await alice.publish(town.home, "a", payload, persist=True)
            await soon(reading)
            world.pass_time(1)
        await alice.publish(town.home, "a", b"a command")
        await soon(reading)
        old, new, command = [one.message for one in router.seen]
        for turn, message in enumerate((old, new, old), start=2**60):
            router.spread(message, serial=turn, again=True)
        router.spread(command, serial=2**61, again=True)
        router.spread(command)
        await until(lambda: len(refusals) == 4)
        assert not reading._waiting
    assert [type(error) for error in refusals] == [RolledBack, Replayed, RolledBack, Replayed]


async def test_what_was_not_meant_to_be_kept_is_not_believed_later(world: World) -> None:
    """A command that was held back cannot be shown as a kept one."""
    town = granted(world)
    async with town.open(Forger) as router, town.peer("alice") as alice, town.peer("bob") as bob:
        assert isinstance(router, Forger)
        await alice.publish(town.home, "a", b"open the door")
        router.answer = router.seen[-1].message
        assert await bob.query(town.home, "a") == ()
        message = Message.from_bytes(router.answer)
        with pytest.raises(WrongPurpose):
            bob._receiving._inbox.accept(
                message, (await town.prove(world.request("alice", "publish@home/a")))[0], world.facts,
                permission="publish", now=world.now, kept=True,
            )  # fmt: skip


# Who was away -------------------------------------------------------------------------------------------------------


async def test_a_reading_may_begin_with_all_that_is_kept_and_goes_on_in_order(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        for number in range(5):
            await alice.publish(town.home, f"a/{number % 2}", b"%d" % number, persist=True)
        await alice.publish(town.home, "b/0", b"elsewhere", persist=True)
        everything = await bob.subscribe(town.home, "a/*", since=0)
        received = [await soon(everything) for _ in range(5)]
        assert [one.message.payload for one in received] == [b"0", b"1", b"2", b"3", b"4"]
        assert all(one.kept for one in received)
        part = await bob.subscribe(town.home, "a/*", since=received[2].serial)
        assert await payloads(part, 2) == [b"3", b"4"]
        new = await bob.subscribe(town.home, "a/*")
        await alice.publish(town.home, "a/0", b"5", persist=True)
        assert [(await soon(one)).message.payload for one in (everything, part, new)] == [b"5"] * 3


async def test_a_short_disconnection_loses_nothing(world: World) -> None:
    town = granted(world)
    async with town.open() as router, town.peer("alice") as alice, town.peer("bob") as bob:
        reading = await bob.subscribe(town.home, "a")
        await alice.publish(town.home, "a", b"0")
        assert await payloads(reading, 1) == [b"0"]
        for number in range(1, 9):
            if number % 3 == 0:
                for connection in router._connections:
                    if connection.subscriptions:
                        connection.outbox.close()
                await until(lambda: router.open_subscriptions == 0)
            await alice.publish(town.home, "a", b"%d" % number, persist=number % 2 == 0)
        assert await payloads(reading, 8) == [b"%d" % number for number in range(1, 9)]
        assert bob.dropped == 0


async def test_nothing_kept_is_missed_over_a_restart_of_the_router(world: World, tmp_path: Path) -> None:
    town = granted(world)
    async with AsyncExitStack() as stack:
        store = Store(tmp_path / "router.db")
        async with town.open(store=store):
            bob = await stack.enter_async_context(town.peer("bob"))
            alice = await stack.enter_async_context(town.peer("alice"))
            reading = await bob.subscribe(town.home, "a")
            await alice.publish(town.home, "a", b"1", persist=True)
            assert await payloads(reading, 1) == [b"1"]
            port = port_of(town)
        store.close()
        world.pass_time(2)
        store = Store(tmp_path / "router.db")
        async with town.open(store=store, port=port):  # bob waits longer and longer before it connects again
            await alice.publish(town.home, "a", b"2", persist=True)
            await alice.publish(town.home, "a", b"3", persist=True)
            assert await payloads(reading, 2) == [b"2", b"3"]
            assert [one.message.payload for one in await bob.query(town.home, "a", last=9)] == [b"1", b"2", b"3"]
        store.close()


async def test_a_slow_reader_catches_up_and_is_told_what_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else waits for it, and the router's memory is bounded."""
    monkeypatch.setattr("wave.bus.connection.LIMITS", replace(LIMITS, queue_frames=8))
    town = granted(world)
    async with town.open() as router, town.peer("alice") as alice, town.peer("bob") as bob:
        monkeypatch.setattr(router._recent, "_count", 20)
        reading = await bob.subscribe(town.home, "a")
        (slow,) = [connection for connection in router._connections if connection.subscriptions]
        monkeypatch.setattr(slow.outbox, "has_room", lambda _: False)
        slow.outbox._drained.clear()
        for number in range(50):
            await alice.publish(town.home, "a", b"%d" % number, persist=number < 10)
        monkeypatch.undo()
        slow.outbox._drained.set()
        expected = [*range(10), *range(30, 50)]
        assert await payloads(reading, len(expected)) == [b"%d" % number for number in expected]
        await until(lambda: bob.dropped == 20)


async def test_catching_up_ends_with_the_right(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        await alice.publish(town.home, "a", b"1", persist=True)
        town.world.revoke(town.read)
        with pytest.raises(WaveError):
            await bob.subscribe(town.home, "a", since=0)


# The store ----------------------------------------------------------------------------------------------------------


def kept(serial: int, resource: str = "a", *, size: int = 1, namespace: bytes = bytes(32), expires: int = 100) -> Kept:
    return Kept(serial, namespace, resource, expires, bytes(size), None)


def serials(store: Store, resource: str = "*", last: int = 99, now: int = 0, namespace: bytes = bytes(32)) -> list[int]:
    return [one.serial for one in store.newest(namespace, Pattern(resource), last, now)]


def test_each_resource_has_a_bounded_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wave.bus.store.LIMITS", replace(LIMITS, kept_per_resource=3))
    store = Store(tmp_path / "kept.db")
    store.keep([kept(number, "ab"[number % 2]) for number in range(1, 11)], {}, 0)
    assert serials(store) == [6, 8, 10, 5, 7, 9]
    assert len(store) == 6
    assert serials(store, "a", last=1) == [10]
    store.close()
    store = Store(tmp_path / "kept.db")
    assert len(store) == 6
    store.close()


@pytest.mark.parametrize("bound", ["kept_messages", "kept_per_namespace", "kept_bytes"])
def test_a_full_store_lets_history_go_and_never_a_last_value(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wave.bus.store.LIMITS", replace(LIMITS, **{bound: 4}))
    store = Store(None)
    assert store.keep([kept(1), kept(2), kept(3, "b"), kept(4, "b")], {}, 0) == {}
    assert store.keep([kept(5, "c")], {}, 0) == {}
    assert serials(store, last=1) == [2, 4, 5]
    assert store.keep([kept(6, "d")], {}, 0) == {}
    refused = store.keep([kept(7, "e"), kept(8, "d")], {}, 0)
    assert [(serial, type(error)) for serial, error in refused.items()] == [(7, RouterFull)]
    assert serials(store, last=1) == [2, 4, 5, 8]
    assert store.keep([kept(9, "e", expires=300)], {}, 200) == {}, "what expired made room"
    assert serials(store, now=200) == [9]


def test_one_namespace_does_not_crowd_out_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wave.bus.store.LIMITS", replace(LIMITS, kept_per_namespace=2))
    store = Store(None)
    assert set(store.keep([kept(number, f"a/{number}") for number in range(1, 5)], {}, 0)) == {3, 4}
    assert store.keep([kept(5, namespace=b"o" * 32)], {}, 0) == {}


def test_serials_never_come_twice(tmp_path: Path) -> None:
    highest = 0
    for clock in (1000, 5, 10**15, 7):
        store = Store(tmp_path / "kept.db")
        first = store.first_serial(clock)
        assert first > highest
        highest = first + 1000
        store.close()


async def test_what_a_router_has_no_room_for_is_refused_to_its_sender(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wave.bus.store.LIMITS", replace(LIMITS, kept_messages=1))
    town = granted(world)
    async with town.open(), town.peer("alice") as alice, town.peer("bob") as bob:
        reading = await bob.subscribe(town.home, "*")
        await alice.publish(town.home, "a", b"1", persist=True)
        with pytest.raises(RouterFull):
            await alice.publish(town.home, "b", b"2", persist=True)
        await alice.publish(town.home, "b", b"3")
        assert await payloads(reading, 2) == [b"1", b"3"]


async def test_a_peer_whose_proof_was_forgotten_sends_it_again(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        reading = await bob.subscribe(town.home, "a")
        await alice.publish(town.home, "a", b"1")
        town.routers[-1]._proofs._proofs.clear()
        await alice.publish(town.home, "a", b"2")
        bob._receiving._proofs._proofs.clear()
        await alice.publish(town.home, "a", b"3")
        assert await payloads(reading, 3) == [b"1", b"2", b"3"]


async def test_a_proof_travels_once_over_a_connection(world: World) -> None:
    town, sent = granted(world), list[int]()

    class Counting:
        def __init__(self, link: Link) -> None:
            self._link = link

        async def send(self, data: bytes) -> None:
            sent.append(len(data))
            await self._link.send(data)

        async def receive(self) -> bytes | None:
            return await self._link.receive()

    @asynccontextmanager
    async def counting(url: str) -> AsyncIterator[Counting]:
        async with connected(url) as link:
            yield Counting(link)

    async with town.open(), town.peer("alice", connect=counting) as alice:
        for _ in range(3):
            await alice.publish(town.home, "a", b"1")
    proof, _ = await town.prove(world.request("alice", "publish@home/a"))
    assert sent[0] > len(proof.data) > sent[1] == sent[2]
