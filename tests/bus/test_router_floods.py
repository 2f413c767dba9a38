"""What strangers, forgers and those who do not read can make a router do: as little as its bounds say."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.bus.liar import Liar
from tests.bus.town import Town, until
from tests.world import HOUR, World, made
from wave.bus.connection import Connection, Gifts
from wave.bus.delivering import end_task
from wave.bus.frame import (
    Denied,
    Done,
    Found,
    Frame,
    Give,
    ListKept,
    Publish,
    Query,
    Subscribe,
    Want,
    parcel,
    read_parcel,
)
from wave.bus.message import LIST, QUERY, Message
from wave.bus.recent import Carried, Recent
from wave.bus.router import Router
from wave.bus.store import Kept, Store
from wave.dots.cache import Verifier
from wave.dots.dot import Dot
from wave.dots.proof import Proof
from wave.entities import keys
from wave.errors import BadSignature, NotRead, NotServed, Revoked, RouterFull, TooLarge, UnknownProof, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern


class Quiet:
    """A link in memory, of which nobody reads until told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.heard: list[Frame] = []
        self._said: asyncio.Queue[bytes] = asyncio.Queue()

    def say(self, *frames: Frame) -> None:
        self._said.put_nowait(parcel(*frames))

    async def send(self, data: bytes) -> None:
        await self.reads.wait()
        self.heard += read_parcel(data)

    async def receive(self) -> bytes | None:
        return await self._said.get()

    def found(self) -> list[Found]:
        return [one for one in self.heard if isinstance(one, Found)]

    def denied(self, number: int) -> list[type[WaveError]]:
        return [type(one.error) for one in self.heard if isinstance(one, Denied) and one.number == number]


@asynccontextmanager
async def quiet(router: Router) -> AsyncIterator[tuple[Quiet, Connection]]:
    link = Quiet()
    serving = asyncio.create_task(router.attend(link))
    before = set(router._connections)
    await until(lambda: len(router._connections) > len(before))
    (connection,) = set(router._connections) - before
    try:
        yield link, connection
    finally:
        await end_task(serving)


async def signed(town: Town, act: str, proof: Proof, payload: bytes = b"1", **more: Any) -> Message:
    """Return what somebody signs, said as ``publish alice a/b``."""
    permission, who, where = act.split()
    now = town.world.now
    fields = {"created": now, "expires": now + 60, "nonce": os.urandom(16), "proof": proof.id, **more}
    return Message.create(
        town.world.entity(who), permission=permission, namespace=town.home, resource=where, payload=payload, **fields
    )


async def proof_of(town: Town, who: str, text: str) -> Proof:
    return (await town.prove(town.world.request(who, text)))[0]


@pytest.fixture
def town(world: World) -> Town:
    town = Town(world)
    town.given = town.give("home", "alice", "publish@home/*")
    town.read = town.give("home", "bob", "subscribe,query,list@home/*")
    return town


def small(monkeypatch: pytest.MonkeyPatch, module: str, **bounds: Any) -> None:
    monkeypatch.setattr(f"wave.bus.{module}.LIMITS", replace(LIMITS, **bounds))


# The store ----------------------------------------------------------------------------------------------------------

HOME, OTHER = b"h" * 32, b"o" * 32


def kept(serial: int, where: str, *, space: bytes = HOME, size: int = 1, proof: bytes | None = None) -> Kept:
    return Kept(serial, space, where, 100, bytes(size), proof)


def serials(store: Store, space: bytes = HOME) -> list[int]:
    return [one.serial for one in store.newest(space, Pattern("*"), 99, 0)]


def test_a_namespace_that_used_up_its_share_takes_no_history_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "store", kept_per_namespace=4)
    store = Store(None)
    store.keep([kept(number, "a") for number in (1, 2, 3)], {}, 0)
    store.keep([kept(10 + number, f"r{number}", space=OTHER) for number in range(4)], {}, 0)
    assert set(store.keep([kept(20, "one-more", space=OTHER)], {}, 0)) == {20}
    assert serials(store) == [1, 2, 3]
    assert store.keep([kept(21, "r0", space=OTHER)], {}, 0) == {}, "a value that replaces another is kept"
    assert serials(store) == [1, 2, 3]


def test_history_is_not_deleted_for_a_message_that_is_refused_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "store", kept_bytes=10)
    store = Store(None)
    store.keep([kept(1, "a"), kept(2, "a"), kept(3, "b", size=8)], {}, 0)
    (refused,) = store.keep([kept(4, "c", space=OTHER, size=5)], {}, 0).values()
    assert type(refused) is RouterFull
    assert serials(store) == [1, 2, 3]
    assert store.keep([kept(5, "c", space=OTHER)], {}, 0) == {}, "that is enough for a small one"
    assert serials(store) == [2, 3]
    assert store.keep([kept(6, "d", space=OTHER)], {}, 0).keys() == {6}, "what was undone is counted right"


def test_as_much_history_goes_as_a_large_message_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "store", kept_bytes=1000)
    store = Store(None)
    store.keep([kept(number, f"r{number // 50}") for number in range(1, 1001)], {}, 0)
    assert store.keep([kept(2000, "large", space=OTHER, size=600)], {}, 0) == {}
    assert 0 < len(serials(store)) <= 400


def test_proofs_are_counted_once_each_and_go_with_the_last_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "store", kept_bytes=100, kept_reserve_bytes=50, kept_per_resource=2)
    store = Store(None)
    one, two, three = (bytes([number]) * 32 for number in (1, 2, 3))
    assert store.keep([kept(1, "a", proof=one), kept(2, "b", proof=one)], {one: bytes(60)}, 0) == {}
    assert store.keep([kept(3, "c", proof=one)], {one: bytes(60)}, 0) == {}
    assert set(store.keep([kept(4, "d", proof=two)], {two: bytes(60)}, 0)) == {4}
    assert store.proof(two) is None, "of what is refused nothing is kept"
    assert store.keep([kept(5, "c", proof=two)], {two: bytes(60)}, 0) == {}, "there is a reserve for what replaces"
    assert set(store.keep([kept(6, "c", proof=three)], {three: bytes(60)}, 0)) == {6}, "and it has an end"
    for serial in (7, 8):
        assert store.keep([kept(serial, "c")], {}, 0) == {}
    assert store.proof(two) is None
    assert store.proof(one) is not None
    assert store._bytes == 60 + len(store)


def test_the_bytes_of_proofs_are_counted_over_a_restart(tmp_path: Any) -> None:
    for _ in range(2):
        store = Store(tmp_path / "kept.db")
        store.keep([kept(1 + len(store), f"r{len(store)}", proof=bytes(32))], {bytes(32): bytes(60)}, 0)
        store.close()
    store = Store(tmp_path / "kept.db")
    assert store._bytes == 62
    store.close()


def test_a_refused_message_costs_little_however_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 20_000
    small(monkeypatch, "store", kept_per_namespace=rows)
    store, proofs = Store(None), {bytes(32): b"p"}
    store.keep([kept(number, f"r{number}", proof=bytes(32)) for number in range(1, rows + 1)], proofs, 0)
    store.keep([kept(10**6 + number, f"r{number // 50}", space=OTHER) for number in range(3000)], {}, 0)
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._database.set_progress_handler(step, 100)
    more = [kept(rows + 1 + number, f"n{number}", proof=bytes(32)) for number in range(20)]
    assert len(store.keep(more, {}, 0)) == 20
    proofs = {number.to_bytes(32): b"p" for number in range(1, LIMITS.kept_per_resource + 21)}
    store.keep([kept(10**7 + n, "x", space=b"x" * 32, proof=one) for n, one in enumerate(proofs)], proofs, 0)
    assert store._database.execute("SELECT count(*) FROM proofs").fetchone() == (1 + LIMITS.kept_per_resource,)
    assert steps < 20 * rows / 100, "in hundreds of SQLite's instructions: nothing like all the rows is looked at"


def test_recent_messages_are_counted_with_their_proofs() -> None:
    recent = Recent(1, count=100, size=1000)

    def carried(serial: int, proof: bytes) -> Carried:
        return Carried(serial, HOME, Pattern("a"), 100, b"m", proof, bytes([proof[0]]) * 300, kept=False)

    for serial in range(1, 51):
        recent.add(carried(serial, b"\1" * 32))
    held = recent.after(0, most=99)
    assert len(held) == 50
    assert len({id(one.proof_bytes) for one in held}) == 1, "one proof is held once, however often it was given"
    for serial in range(51, 61):
        recent.add(carried(serial, bytes([serial]) * 32))
    held = recent.after(0, most=99)
    assert sum(len(one.message) for one in held) + 300 * len({one.proof for one in held}) == recent._bytes <= 1000
    assert [one.serial for one in held] == [58, 59, 60]


# Whose messages are carried -----------------------------------------------------------------------------------------


async def test_a_router_of_some_namespaces_refuses_the_others_and_remembers_nothing_of_them(town: Town) -> None:
    heard: list[WaveError] = []
    world = town.world
    async with (
        town.open(namespaces=[town.home], refused=lambda _, error: heard.append(error)) as router,
        town.peer("mallory") as mallory,
        town.peer("alice") as alice,
        town.peer("bob") as bob,
    ):
        for act in (
            mallory.publish(world.id("mallory"), "x", b"1", persist=True),
            mallory.subscribe(world.id("mallory"), "*"),
            mallory.query(world.id("mallory"), "*"),
            mallory.list(world.id("mallory"), "*"),
        ):
            with pytest.raises(NotServed) as caught:
                await act
            assert caught.value.hint
        assert len(router._store) == len(router._inbox._seen) == router.open_subscriptions == 0
        assert not any(connection.useful for connection in router._connections)
        assert {type(error) for error in heard} == {NotServed}
        await alice.publish(town.home, "a", b"1", persist=True)
        assert len(await bob.query(town.home, "a")) == 1


async def test_a_router_told_of_no_namespaces_carries_any(town: Town) -> None:
    async with town.open() as router, town.peer("mallory") as mallory:
        await mallory.publish(town.world.id("mallory"), "x", b"1", persist=True)
        assert len(router._store) == 1


async def test_a_web_site_is_not_let_in(town: Town) -> None:
    async with town.open(), ClientSession() as session:
        with pytest.raises(WSServerHandshakeError) as caught:
            await session.ws_connect(town.url, headers={"Origin": "https://example.org"})
        assert caught.value.status == 403
        async with session.ws_connect(town.url) as websocket:
            assert await websocket.receive_bytes()


# Those who do not read ----------------------------------------------------------------------------------------------


async def stalled(town: Town, link: Quiet, connection: Connection, permission: str, count: int) -> None:
    """Ask for more than fits into an outbox, and wait until that is full."""
    async with town.peer("alice") as alice:
        for number in range(count):
            await alice.publish(town.home, f"a/{number:03}", b"before", persist=True)
    proof = await proof_of(town, "bob", f"{permission}@home/*")
    asked = (await signed(town, f"{permission} bob *", proof, connection.challenge)).to_bytes()
    link.say(Give(proof.data), Query(1, asked, 1) if permission == QUERY else ListKept(1, asked))
    await until(lambda: connection.outbox.full)


@pytest.mark.parametrize("permission", [QUERY, LIST])
async def test_an_answer_ends_with_the_right_to_it(
    town: Town, permission: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "connection", queue_frames=8)
    small(monkeypatch, "router", listed_per_frame=1)
    async with town.open() as router, quiet(router) as (link, connection):
        await stalled(town, link, connection, permission, 40)
        town.world.revoke(town.read)
        async with town.peer("alice") as alice:
            await alice.publish(town.home, "a/039", b"after", persist=True)
        link.reads.set()
        await until(lambda: bool(link.denied(1)))
        assert link.denied(1) == [Revoked]
        assert len(link.heard) < 20
        assert not [one for one in link.found() if Message.from_bytes(one.message).payload == b"after"]


async def test_who_goes_on_reading_gets_all_of_an_answer(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "connection", queue_frames=8)
    async with town.open() as router, quiet(router) as (link, connection):
        await stalled(town, link, connection, QUERY, 40)
        link.reads.set()
        await until(lambda: Done(1, 40) in link.heard)
        assert len(link.found()) == 40


async def test_an_answer_that_nobody_reads_ends(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "connection", queue_frames=8)
    small(monkeypatch, "router", answer_wait=0.05)
    async with town.open() as router, quiet(router) as (link, connection):
        await stalled(town, link, connection, QUERY, 40)
        await asyncio.sleep(0.2)
        link.reads.set()
        await until(lambda: bool(link.denied(1)))
        assert link.denied(1) == [NotRead]


async def test_what_stands_behind_a_query_is_judged_when_its_turn_comes(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "connection", queue_frames=8)
    held = town.give("home", "carol", "publish@home/c")
    async with town.open() as router, quiet(router) as (link, connection):
        asking = await proof_of(town, "bob", "query@home/*")
        saying = await proof_of(town, "carol", "publish@home/c")
        async with town.peer("alice") as alice:
            for number in range(40):
                await alice.publish(town.home, f"a/{number:03}", b"1", persist=True)
        query = await signed(town, "query bob *", asking, connection.challenge)
        said = await signed(town, "publish carol c", saying)
        link.say(
            Give(asking.data), Give(saying.data), Query(1, query.to_bytes(), 1), Publish(2, said.to_bytes())
        )  # fmt: skip
        await until(lambda: connection.outbox.full)
        town.world.revoke(held)
        link.reads.set()
        await until(lambda: bool(link.denied(2)))
        assert link.denied(2) == [Revoked]


async def test_catching_up_looks_at_the_right_anew_when_it_had_to_wait(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The facts of the moment count, even where nothing reviews subscriptions."""
    small(monkeypatch, "connection", queue_frames=8)
    town.review_every = HOUR
    async with town.open() as router, quiet(router) as (link, connection):
        async with town.peer("alice") as alice:
            for number in range(40):
                await alice.publish(town.home, f"a/{number:03}", b"1", persist=True)
        proof = await proof_of(town, "bob", "subscribe@home/*")
        asked = await signed(town, "subscribe bob *", proof, connection.challenge)
        link.say(Give(proof.data), Subscribe(1, asked.to_bytes(), 0))
        await until(lambda: connection.outbox.full)
        town.world.revoke(town.read)
        link.reads.set()
        await until(lambda: bool(link.denied(1)))
        assert link.denied(1) == [Revoked]
        assert len(link.heard) < 20


async def test_who_wants_proofs_has_to_read_them(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "connection", queue_frames=8)
    async with town.open() as router, quiet(router) as (link, connection):
        async with town.peer("alice") as alice:
            await alice.publish(town.home, "a", b"1")
        ((identity, proof),) = router._proofs._proofs.items()
        link.say(*[Want(identity)] * 64)
        await until(lambda: connection.outbox.full)
        await asyncio.sleep(0.01)
        assert len(connection.outbox._frames) == 8
        link.reads.set()
        await until(lambda: link.heard.count(Give(proof.data)) == 64)


# Proofs that prove nothing ------------------------------------------------------------------------------------------


async def test_proofs_given_are_bounded_over_all_connections(world: World) -> None:
    greedy, modest = Connection(bytes(16)), Connection(bytes(16))
    proof = world.proof(world.grant("home", "bob", "publish@home/a"))
    size = len(proof.data)
    gifts = Gifts(count=4, size=4 * size)
    gifts.put(modest, proof.data)
    for number in range(50):
        gifts.put(greedy, bytes([number]) * size)
        assert len(gifts) <= 4 * size
    found = gifts.get(modest, proof.id)
    assert found is not None
    assert found.data == proof.data
    assert gifts.get(greedy, proof.id) is None, "nobody uses what another gave"
    gifts.put(modest, proof.data)
    gifts.forget(greedy)
    assert len(gifts) == len(proof.data)
    gifts.drop(modest, proof.id)
    assert len(gifts) == 0
    assert (gifts._sizes, gifts._held) == ({}, {})
    with pytest.raises(TooLarge):
        gifts.put(modest, bytes(LIMITS.proof_bytes + 1))
    for number in range(9):
        gifts.put(modest, bytes([number]))
    assert len(gifts) == 4


async def test_a_proof_given_is_not_read_before_a_message_names_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    class Read(Proof):
        def __init__(self, data: bytes) -> None:
            read.append(data)
            super().__init__(data)

    monkeypatch.setattr("wave.bus.connection.Proof", Read)
    async with town.open() as router, quiet(router) as (link, _):
        link.reads.set()
        proof = await proof_of(town, "alice", "publish@home/a")
        link.say(Give(proof.data), Give(b"nonsense"))
        await until(lambda: len(router._gifts) == len(proof.data) + len(b"nonsense"))
        assert read == []
        for number in (1, 2):
            message = await signed(town, "publish alice a", proof)
            link.say(Publish(number, message.to_bytes()))
        await until(lambda: any(isinstance(one, Done) and one.number == 2 for one in link.heard))
        assert read == [proof.data]
        assert len(router._gifts) == len(b"nonsense"), "what proved something is held with the proofs known"
    await until(lambda: len(router._gifts) == 0)


async def test_a_proof_that_was_never_given_is_asked_for(town: Town) -> None:
    async with town.open() as router, quiet(router) as (link, _):
        link.reads.set()
        proof = await proof_of(town, "alice", "publish@home/a")
        link.say(Publish(1, (await signed(town, "publish alice a", proof)).to_bytes()))
        await until(lambda: bool(link.denied(1)))
        assert link.denied(1) == [UnknownProof]


def forged_proof(world: World, count: int) -> Proof:
    """Return a proof of paths from home to mallory, none of which home signed."""
    dots = [world.grant("home", "mallory", "publish@home/*", comment=str(number)) for number in range(count)]
    paths = [(Dot(dot.body, bytes([1]) * 63 + b"\0"),) for dot in dots]
    return Proof.build(paths, [made(name).entity for name in ("home", "mallory")])


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    looked_at: list[bytes] = []

    def verify(key: bytes, data: bytes, signature: bytes, real: Any = keys.verify) -> None:
        looked_at.append(signature)
        real(key, data, signature)

    monkeypatch.setattr("wave.dots.dot.keys.verify", verify)
    return looked_at


def test_a_forged_signature_is_looked_at_once(world: World, looked_at: list[bytes]) -> None:
    """And a good one of the same DoT is as good as ever."""
    verifier, proof = Verifier(), forged_proof(world, 8)
    for resource in "abc":
        with pytest.raises(BadSignature):
            verifier.verify(proof, world.request("mallory", f"publish@home/{resource}"), world.facts, now=world.now)
    assert len(looked_at) == 8
    good = world.proof(world.grant("home", "mallory", "publish@home/*", comment="0"))
    verifier.verify(good, world.request("mallory", "publish@home/a"), world.facts, now=world.now)
    few = Verifier(forged=4)
    for _ in range(2):
        with pytest.raises(BadSignature):
            few.verify(proof, world.request("mallory", "publish@home/a"), world.facts, now=world.now)
    assert len(few._forged) == 4


async def test_others_have_their_turn_between_two_messages_of_a_parcel(town: Town) -> None:
    turns: list[int] = []

    async def others() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(len(refused))

    refused: list[WaveError] = []
    proof = forged_proof(town.world, 2)
    async with town.open(refused=lambda _, error: refused.append(error)) as router, quiet(router) as (link, _):
        messages = [await signed(town, "publish mallory a", proof) for _ in range(20)]
        other = asyncio.create_task(others())
        link.say(Give(proof.data), *[Publish(number, one.to_bytes()) for number, one in enumerate(messages, start=1)])
        await until(lambda: len(refused) == 20)
        await end_task(other)
    assert set(range(1, 20)) <= set(turns)


async def test_what_was_accepted_is_carried_though_its_connection_ends(town: Town) -> None:
    """Else it could not be said again: its nonce is used up."""
    async with town.open() as router:
        proof = await proof_of(town, "alice", "publish@home/*")
        async with quiet(router) as (link, _):
            messages = [await signed(town, f"publish alice a/{number}", proof, persist=True) for number in range(40)]
            link.say(Give(proof.data), *[Publish(number, one.to_bytes()) for number, one in enumerate(messages)])
            await until(lambda: len(router._inbox._seen) > 1)
        assert len(router._store) == len(router._inbox._seen) - 1, "the window holds the sender too"


# Ends ---------------------------------------------------------------------------------------------------------------


async def test_all_of_a_connection_ends_though_a_part_of_it_failed(town: Town) -> None:
    class Broken(Quiet):
        async def receive(self) -> bytes | None:
            await self.reads.wait()
            raise ZeroDivisionError

    router = town.router(Liar)
    link = Broken()
    serving = asyncio.create_task(router.attend(link))
    await until(lambda: bool(router._connections))
    (connection,) = router._connections
    behind = connection.catching_up = asyncio.create_task(asyncio.sleep(60))
    link.reads.set()
    with pytest.raises(ZeroDivisionError):
        await serving
    assert behind.cancelled()
    assert not router._connections
