"""The log and the watch stream: all about a namespace, in order, resumed exactly, void after a reorganisation."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.conftest import House, person
from tests.chain.staged import NOW, Staged, entity, forged, revoked
from wave.agent import history, server, watch, wire
from wave.agent.client import AgentClient
from wave.agent.engine import Engine
from wave.agent.history import History
from wave.agent.knowledge import Knowledge
from wave.agent.settings import Settings
from wave.chain.contract import Anchored
from wave.chain.follower import Follower
from wave.codec import id_text, sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.object import DOT
from wave.errors import AgentUnavailable, BadRequest, Revoked, TooLarge
from wave.namespace.grant import right
from wave.namespace.name import Name


def log_of(house: House, **more: str) -> wire.LogReply:
    return house.engine.call(wire.Log(namespace=id_text(house.owner.id), **more))


def name(house: House, giver: EntitySecret, label: str, target: EntitySecret) -> Name:
    now = int(house.clock.now)
    return Name.create(giver, label=label, target=target.id, created=now - 5, expires=now + 3600)


def revoke(house: House, *preimages: bytes) -> int:
    return house.engine.call(wire.Revoke(preimages=preimages)).height


# The log -----------------------------------------------------------------------------------------------------------


def test_the_log_has_everything_about_a_namespace_in_order(house: House) -> None:
    """A grant, a grant of it, names, an alias and three revocations, each with its block's height and time."""
    first, second = house.dot(house.owner, house.guest, hops=1), house.dot(house.guest, house.stranger)
    house.publish(first)
    house.publish(second)
    called = name(house, house.owner, "plumber", house.guest)
    house.engine.call(wire.Publish(objects=(called.to_object().to_bytes(),)))
    house.engine.call(wire.Claim(label="our-home", target=id_text(house.owner.id)))
    revoke(house, second.preimage(house.guest))
    revoke(house, called.preimage(house.owner))
    revoke(house, house.guest.preimage())
    reply = log_of(house)
    assert [one.kind for one in reply.entries] == [
        "delegation",
        "delegation",
        "name",
        "alias",
        "revocation",
        "revocation",
        "revocation",
    ]
    assert [one.object for one in reply.entries if one.kind == "delegation"] == [id_text(first.id), id_text(second.id)]
    assert [one.what for one in reply.entries[4:]] == ["dot", "name", "entity"]
    assert [one.signer for one in reply.entries[4:]] == [
        id_text(one.id) for one in (house.guest, house.owner, house.guest)
    ]
    assert all(one.by_signer for one in reply.entries[4:])
    heights = [one.height for one in reply.entries]
    assert heights == sorted(heights)
    times = [one.time or 0 for one in reply.entries]
    assert times == sorted(times)
    assert abs(times[0] - house.clock.now) < 60
    assert (reply.next, reply.unknown) == (None, 0)


def test_what_does_not_concern_the_namespace_is_left_out(house: House) -> None:
    """Another namespace's grants, names and revocations are its own business."""
    now = int(house.clock.now)
    other, friend = person(now), person(now)
    house.engine.call(wire.Publish(objects=(other.entity.to_bytes(), friend.entity.to_bytes())))
    dot = Dot.create(
        other,
        receiver=friend.id,
        namespace=other.id,
        grants=(right(("list",), "x"),),
        created=now - 5,
        expires=now + 60,
    )
    house.publish(dot)
    house.engine.call(wire.Publish(objects=(name(house, other, "pal", friend).to_object().to_bytes(),)))
    house.engine.call(wire.Claim(label="not-ours", target=id_text(other.id)))
    revoke(house, dot.preimage(other), other.preimage())
    reply = log_of(house)
    assert (reply.entries, reply.unknown) == ((), 0)
    assert len(house.engine.call(wire.Log(namespace=id_text(other.id))).entries) == 5


def test_a_revocation_of_something_unknown_is_counted_and_not_guessed(house: House) -> None:
    """Nobody can tell whose it is."""
    house.publish(house.dot(house.owner, house.guest))
    revoke(house, sha256(b"something else"))
    reply = log_of(house)
    assert ([one.kind for one in reply.entries], reply.unknown) == (["delegation"], 1)


def test_a_revocation_by_a_further_revoker_says_so(house: House) -> None:
    """The commitment is among the DoT's, and not its giver's own."""
    now = int(house.clock.now)
    dot = Dot.create(
        house.owner,
        receiver=house.guest.id,
        namespace=house.owner.id,
        grants=(right(("list",), "x"),),
        created=now - 5,
        expires=now + 60,
        revokers=(sha256(sha256(b"the caretaker's")),),
    )
    house.publish(dot)
    revoke(house, sha256(b"the caretaker's"))
    entry = log_of(house).entries[-1]
    assert (entry.what, entry.object, entry.by_signer) == ("dot", id_text(dot.id), False)


def test_the_log_goes_on_after_a_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound one answer has all; one past it, the next answer goes on exactly behind."""
    house.publish(*(house.dot(house.owner, house.guest, where=f"light/{number}") for number in range(4)))
    whole = log_of(house).entries
    monkeypatch.setattr(history, "ENTRIES", 4)
    assert (log_of(house).entries, log_of(house).next) == (whole, None)
    monkeypatch.setattr(history, "ENTRIES", 3)
    first = log_of(house)
    assert (first.entries, first.next) == (whole[:3], whole[2].id)
    assert log_of(house, after=first.next or "").entries == whole[3:]
    assert log_of(house, after=str(whole[0].height)).entries == tuple(
        one for one in whole if one.height > whole[0].height
    )


@pytest.mark.parametrize("place", ["x", "-1", "1-", "1-2-3", "99999999999999999", "1-99999999999"])
def test_what_is_no_place_is_bad_input(house: House, place: str) -> None:
    """Nothing is looked up."""
    with pytest.raises(BadRequest):
        log_of(house, after=place)


@pytest.mark.parametrize("place", [(3, 4, 0), (3, 4, 7), (0, 0, 0)])
def test_a_place_is_read_as_it_is_written(place: history.Place) -> None:
    """Height, index, and number in a batch."""
    assert history.parse_place(history.place_text(place)) == place


def test_objects_of_a_batch_have_places_of_their_own(house: House) -> None:
    """They share block and log entry, and a stream that breaks off among them goes on among them."""
    dots = [house.dot(house.owner, house.guest, where=f"light/{number}") for number in range(3)]
    house.engine.call(wire.Anchor(objects=tuple(dot.to_bytes() for dot in dots)))
    entries = log_of(house).entries
    assert len({one.height for one in entries}) == 1
    assert len({one.id for one in entries}) == 3
    assert log_of(house, after=entries[0].id).entries == entries[1:]


# The stream --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[AgentClient]:
    async with server.serving(settings) as address, AgentClient(address) as client:
        yield client


async def until(stream: AsyncIterator[wire.Happening], kind: str) -> list[wire.Happening]:
    """Return what comes, up to the first of ``kind``."""
    found = []
    async for one in stream:
        found.append(one)
        if one.kind == kind:
            return found
    raise AssertionError(f"the stream ended before any {kind}")


class Town:
    """A namespace and a guest that an agent knows."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.owner, self.guest = person(now), person(now)

    def dot(self, where: str) -> Dot:
        return Dot.create(
            self.owner,
            receiver=self.guest.id,
            namespace=self.owner.id,
            grants=(right(("publish",), where),),
            created=self.now - 5,
            expires=self.now + 3600,
        )


@pytest.fixture
async def town(agent: AgentClient) -> Town:

    made = Town(int(time.time()))
    await agent.call(wire.Publish(objects=(made.owner.entity.to_bytes(), made.guest.entity.to_bytes())))
    return made


async def test_what_happens_is_told_while_it_happens(agent: AgentClient, town: Town) -> None:
    """A grant, an alias, a name and a revocation, in the chain's order, and the blocks that bring them."""
    stream = agent.watch()
    waiting = asyncio.create_task(until(stream, "revocation"))
    await asyncio.sleep(0.3)  # it begins with what comes from now on; this test is about order, not about losing any
    dot = town.dot("x")
    await agent.call(wire.Publish(objects=(dot.to_bytes(),)))
    await agent.call(wire.Claim(label="town", target=id_text(town.owner.id)))
    called = Name.create(town.owner, label="pal", target=town.guest.id, created=town.now, expires=town.now + 60)
    await agent.call(wire.Publish(objects=(called.to_object().to_bytes(),)))
    await agent.call(wire.Revoke(preimages=(dot.preimage(town.owner),)))
    told = await asyncio.wait_for(waiting, 20)
    assert [one.kind for one in told if one.kind != "block"] == ["delegation", "alias", "name", "revocation"]
    assert told[-1].object == id_text(dot.id)
    places = [history.parse_after(one.id)[0].place for one in told]
    assert places == sorted(set(places))
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_stream_goes_on_exactly_after_the_place_it_is_told(agent: AgentClient, town: Town) -> None:
    """From each place on, the rest comes, nothing twice and nothing left out."""
    for number in range(3):
        await agent.call(wire.Publish(objects=(town.dot(f"light/{number}").to_bytes(),)))
    await agent.call(wire.Revoke(preimages=(town.owner.preimage(),)))
    whole = [one for one in await until(agent.watch(since="0"), "block") if one.kind != "block"]
    assert [one.kind for one in whole] == ["delegation"] * 3 + ["revocation"]
    for index, one in enumerate(whole):
        again = [other for other in await until(agent.watch(since=one.id), "block") if other.kind != "block"]
        assert again == whole[index + 1 :]


async def test_last_event_id_is_where_a_browser_goes_on(agent: AgentClient, town: Town, settings: Settings) -> None:
    """The header goes before the query, as the events' ids say."""
    await agent.call(wire.Publish(objects=(town.dot("a").to_bytes(),)))
    await agent.call(wire.Publish(objects=(town.dot("b").to_bytes(),)))
    first, second, *_ = await until(agent.watch(since="0"), "block")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(settings.socket))) as session:
        headers = {"Last-Event-ID": first.id}
        async with session.get("http://localhost/v1/watch?since=0", headers=headers) as response:
            assert response.content_type == "text/event-stream"
            lines = [(await response.content.readline()).decode().rstrip() for _ in range(3)]
    assert lines[:2] == ["event: delegation", f"id: {second.id}"]
    assert json.loads(lines[2].removeprefix("data: "))["object"] == second.object


async def test_a_watcher_of_a_namespace_hears_of_nothing_else(agent: AgentClient, town: Town) -> None:
    """Another namespace's grants are left out; its own come."""
    other = Town(town.now)
    await agent.call(wire.Publish(objects=(other.owner.entity.to_bytes(), other.guest.entity.to_bytes())))
    mine, theirs = town.dot("x"), other.dot("x")
    await agent.call(wire.Publish(objects=(mine.to_bytes(), theirs.to_bytes())))
    await agent.call(wire.Revoke(preimages=(theirs.preimage(other.owner), mine.preimage(town.owner))))
    told = await until(agent.watch(since="0", namespace=id_text(town.owner.id)), "block")
    assert [(one.kind, one.object) for one in told[:-1]] == [
        ("delegation", id_text(mine.id)),
        ("revocation", id_text(mine.id)),
    ]


async def test_a_slow_watcher_gets_pages_and_loses_nothing(
    agent: AgentClient, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the bound and past it, everything comes once."""
    for number in range(5):
        await agent.call(wire.Publish(objects=(town.dot(f"light/{number}").to_bytes(),)))
    whole = await until(agent.watch(since="0"), "block")
    for page in (4, 5, 6):
        monkeypatch.setattr(history, "PAGE", page)
        assert await until(agent.watch(since="0"), "block") == whole


async def test_too_many_watchers_are_told_so(agent: AgentClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound they are served, one past it is refused, and one that goes makes room."""
    monkeypatch.setattr(watch, "WATCHERS", 2)
    first, second, third = (agent.watch(since="0") for _ in range(3))
    await anext(first)
    await anext(second)
    with pytest.raises(TooLarge):
        await anext(third)
    await first.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while True:
            try:
                await anext(agent.watch(since="0"))
            except TooLarge:
                await asyncio.sleep(0.05)
            else:
                break
    await second.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", ["since=x", "since=1-2-3", "namespace=x", "more=1"])
async def test_a_watcher_that_asks_badly_is_told_what_is_wrong(
    agent: AgentClient, settings: Settings, query: str
) -> None:
    """A problem, and no stream."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(settings.socket))) as session,
        session.get(f"http://localhost/v1/watch?{query}") as response,
    ):
        assert (response.status, (await response.json(content_type=None))["code"]) == (400, "request.bad")


async def test_an_agent_that_stops_ends_its_streams(settings: Settings) -> None:
    """At once, with a clear error at the other end."""
    async with server.serving(settings) as address:
        client = AgentClient(address)
        stream = client.watch(since="0")
        await anext(stream)
    async with asyncio.timeout(5):
        with pytest.raises(AgentUnavailable):
            await until(stream, "nothing")
    await client.close()


def test_a_revocation_that_is_told_counts_already(house: House) -> None:
    """In the same turn: whoever hears of it and asks is refused, without the chain being asked again."""
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    cursor = house.engine.watcher(None)
    revoke(house, dot.preimage(house.owner))
    told, cursor, more = house.engine.watched(cursor, None)
    assert ([one.kind for one in told], more) == (["revocation", "block"], False)
    house.engine._chain.close()
    with pytest.raises(Revoked):
        house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.guest)))


def test_an_object_whose_signature_does_not_hold_is_not_told(house: House) -> None:
    """Anyone may publish anything; it is nobody's delegation."""
    good, forged = house.dot(house.owner, house.guest), house.dot(house.owner, house.stranger)
    bad = replace_signature(forged)
    house.engine._chain.writer.publish(bad)
    house.publish(good)
    assert [one.object for one in log_of(house).entries] == [id_text(good.id)]
    told, _, _ = house.engine.watched(house.engine.watcher("0"), None)
    assert [one.object for one in told if one.kind == "delegation"] == [id_text(good.id)]


def replace_signature(dot: Dot) -> bytes:
    from wave.entities.object import SignedObject

    return SignedObject(DOT, dot.body, bytes(64)).to_bytes()


# Reorganisations ---------------------------------------------------------------------------------------------------


def test_after_a_reorganisation_a_watcher_is_told_and_goes_on_from_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came after the height is void, and what stands there instead is told."""
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    cursor = house.engine.watcher("0")
    told, cursor, _ = house.engine.watched(cursor, None)
    back = told[0].height - 1
    block = house.engine._chain.block
    with monkeypatch.context() as patch:
        patch.setattr(house.engine._chain, "block", lambda number: block(number) if number <= back else None)
        newest = block(back)
        assert newest is not None
        house.engine._follower._unwind(newest)
    house.engine._sync()
    again, cursor, more = house.engine.watched(cursor, None)
    assert [one.kind for one in again[:2]] == ["reorg", "delegation"]
    assert again[0].height == back
    assert (again[1].kind, again[1].object, again[1].height) == (told[0].kind, told[0].object, told[0].height)
    assert (again[-1].kind, more) == ("block", False)
    assert house.engine.watched(cursor, None)[0] == []


def test_a_place_above_the_newest_block_is_one_that_is_gone(house: House) -> None:
    """Somebody saw a block that this chain does not have any more."""
    height = house.engine.call(wire.Status()).height
    told, cursor, _ = house.engine.watched(house.engine.watcher(f"{height + 5}-0"), None)
    assert [(one.kind, one.height) for one in told] == [("reorg", height), ("block", height)]
    assert cursor.place[0] == height


def test_confirmed_grants_come_later_than_revocations(settings: Settings, tmp_path: Path) -> None:
    """With confirmations a grant is told in the block that confirms it, a revocation in its own."""

    from tests.agent.conftest import Clock

    clock = Clock(time.time())
    with Engine.open(replace(settings, confirmations=2), clock=clock, wait=0.0) as engine:
        now = int(clock.now)
        owner, guest = person(now), person(now)
        engine._chain.writer.publish_many([owner.entity.to_bytes(), guest.entity.to_bytes()])
        dot = Dot.create(
            owner, receiver=guest.id, namespace=owner.id, grants=(right(("list",), "x"),), created=now, expires=now + 60
        )
        granted = engine._chain.writer.publish(dot.to_bytes()).height
        revoked = engine.call(wire.Revoke(preimages=(sha256(b"other"),))).height
        told, cursor, _ = engine.watched(engine.watcher("0"), None)
        assert [one.kind for one in told] == ["revocation", "block"]
        last = engine.call(wire.Revoke(preimages=(sha256(b"one more"),))).height
        assert (granted + 1, granted + 2) == (revoked, last)
        told, cursor, _ = engine.watched(cursor, None)
        assert [(one.kind, one.height) for one in told] == [
            ("revocation", last),
            ("delegation", granted),
            ("block", last),
        ]
        assert [one.object for one in engine.call(wire.Log(namespace=id_text(owner.id))).entries] == [id_text(dot.id)]


def test_times_of_old_blocks_are_asked_for_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept, for no fork can change them any more."""
    from wave.limits import Limits

    house.publish(house.dot(house.owner, house.guest))
    monkeypatch.setattr(history, "LIMITS", Limits(reorg_blocks=0))
    monkeypatch.setattr(house.engine._follower, "times", dict)
    asked: list[int] = []
    real = house.engine._chain.block

    def block(number: int) -> object:
        asked.append(number)
        return real(number)

    monkeypatch.setattr(house.engine._chain, "block", block)
    revoke(house, sha256(b"another block"))
    asked.clear()
    first = log_of(house).entries
    assert asked == [first[0].height]
    house.engine._history._times._recent.clear()
    assert log_of(house).entries == first
    assert asked == [first[0].height]


@pytest.mark.timeout(120)
def test_a_reorganisation_of_a_real_chain_is_told_and_what_is_there_instead(tmp_path: Path) -> None:
    """Anvil takes a block with a grant away and another grant comes: the watcher hears of all three, in order."""
    from tests.chain.nodes import anvil
    from wave.chain.client import ChainClient

    with anvil(tmp_path) as node:
        node.deploy()
        settings = Settings(tmp_path / "home", node.url, payer="development")
        town = Town(int(time.time()))
        lost, found = town.dot("lost"), town.dot("found")
        with Engine.open(settings, wait=0.0) as engine:
            people = (town.owner.entity.to_bytes(), town.guest.entity.to_bytes())
            height = engine.call(wire.Publish(objects=people)).objects[-1].height
            before = node.ask("evm_snapshot")
            cursor = engine.watcher(None)
            engine._chain.writer.publish(lost.to_bytes())
            engine.follow()
            told, cursor, _ = engine.watched(cursor, None)
            assert [(one.kind, one.object) for one in told[:1]] == [("delegation", id_text(lost.id))]
            assert node.ask("evm_revert", before)
            with ChainClient.connect(node.url, state=tmp_path, payer="development") as other:
                other.publish(found.to_bytes())
            node.ask("anvil_mine", "0x2")
            engine.follow()
            again, cursor, _ = engine.watched(cursor, None)
            assert [one.kind for one in again] == ["reorg", "delegation", "block"]
            assert again[0].height == height
            assert again[1].object == id_text(found.id)
        with Engine.open(settings, wait=0.0) as engine:
            assert [one.object for one in engine.call(wire.Log(namespace=id_text(town.owner.id))).entries] == [
                id_text(found.id)
            ]


# What comes late ---------------------------------------------------------------------------------------------------

GIVERS = [entity(name) for name in ("giver one", "giver two", "giver three")]


def granted(number: int) -> Dot:
    """A DoT of one of the givers, who take turns."""
    giver = GIVERS[number % len(GIVERS)]
    return Dot.create(
        giver,
        receiver=GIVERS[(number + 1) % len(GIVERS)].id,
        namespace=giver.id,
        grants=(right(("list",), f"x/{number}"),),
        created=NOW,
        expires=NOW + 3600,
    )


DOTS = [granted(number) for number in range(14)]


class Street:
    """A staged chain, an agent's replica of it that may be closed and opened, and batches whose bytes may come late."""

    def __init__(self, home: Path, confirmations: int) -> None:
        self.chain = Staged()
        self.confirmations = confirmations
        self.batches: dict[bytes, list[bytes]] = {}
        self._home = home
        self.open()

    def open(self) -> None:
        self.follower = Follower(self.chain, self._home / "replica.sqlite", confirmations=self.confirmations)
        self._history = History(self._home, self.chain, self.follower, self.confirmations)
        self._known: Knowledge | None = None
        self._generation = self._learned = 0
        self.sync()

    def restart(self) -> None:
        self.follower.close()
        self.open()

    def anew(self) -> None:
        self.follower.close()
        (self._home / "replica.sqlite").unlink()
        self.open()

    def sync(self) -> None:
        self.follower.sync()

    def anchor(self, *objects: bytes) -> bytes:
        root = sha256(b"".join(objects))
        self.batches[root] = [*objects]
        self.chain.say(lambda height, index: Anchored(height, index, root, len(objects)))
        self.sync()
        return root

    def fetch(self, root: bytes) -> None:
        self.follower.ingest_batch(root, self.batches[root])

    @property
    def known(self) -> Knowledge:
        if self._known is None or self._generation != self.follower.generation:
            self._generation, self._learned = self.follower.generation, 0
            self._known = Knowledge(self.follower)
        for entry in self.follower.objects(after=self._learned):
            self._known.learn(entry)
            self._learned = entry.seq
        self._known.settle()
        return self._known

    def told(self, since: str) -> list[wire.Happening]:
        """Return what somebody who connects is told, but for new blocks."""
        found: list[wire.Happening] = []
        cursor, more = self._history.cursor(since), True
        while more:
            told, cursor, more = self._history.page(cursor, None, self.known)
            found += told
        return found


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    found = Street(tmp_path, 0)
    found.chain.say(*(giver.entity.to_bytes() for giver in GIVERS))
    yield found
    found.follower.close()


def about(told: list[wire.Happening]) -> list[str | None]:
    return [one.object for one in told if one.kind != "block"]


def ids(*dots: Dot) -> list[str | None]:
    return [id_text(dot.id) for dot in dots]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_came_late_while_nobody_watched_is_told_to_whoever_comes_back(street: Street, restarts: bool) -> None:  # noqa: FBT001 - a case
    """Under every id that was given before, and not again under one given after."""
    first, second, third, *_ = DOTS
    street.chain.say(first.to_bytes())
    root = street.anchor(second.to_bytes(), third.to_bytes())
    before = street.told("0")
    assert about(before) == ids(first)
    street.fetch(root)
    if restarts:
        street.restart()
    after = street.told(before[-1].id)
    assert about(after) == ids(second, third)
    assert about(street.told(before[0].id)) == ids(second, third)
    assert about(street.told(after[0].id)) == ids(third)
    assert about(street.told(after[1].id)) == []
    assert all(one.id for one in after)


def test_a_height_is_a_place_to_begin_and_what_came_late_behind_it_is_told(street: Street) -> None:
    """What stands below it is not, for whoever names a height said nothing of what it was told."""
    below, above = street.anchor(DOTS[0].to_bytes()), street.anchor(DOTS[1].to_bytes())
    height = street.follower.facts.height
    street.chain.say()
    street.sync()
    street.fetch(above)
    street.fetch(below)
    assert about(street.told(str(height - 1))) == ids(DOTS[1])
    assert about(street.told(f"{height - 1}-0")) == ids(DOTS[1])
    assert about(street.told(str(height))) == []
    assert about(street.told("0")) == ids(DOTS[0], DOTS[1])


def test_an_object_that_waited_for_its_givers_record_is_told_when_this_came(street: Street) -> None:
    """Nobody could check it before; so it is late, as the record is."""
    late = entity("late")
    dot = Dot.create(
        late, receiver=GIVERS[0].id, namespace=late.id, grants=(right(("list",), "x"),), created=NOW, expires=NOW + 60
    )
    root = street.anchor(late.entity.to_bytes())
    street.chain.say(dot.to_bytes())
    street.sync()
    before = street.told("0")
    assert about(before) == []
    street.fetch(root)
    street.restart()
    (one, *_) = street.told(before[-1].id)
    assert one.object == id_text(dot.id)
    assert about(street.told(one.id)) == []


def test_a_false_copy_that_came_first_keeps_nobody_from_hearing_of_the_true_one(street: Street) -> None:
    """Whoever sees a DoT on its way may publish it under a bad signature before it is in a block."""
    dot = DOTS[0]
    street.chain.say(forged(GIVERS[1], dot))
    street.sync()
    before = street.told("0")
    assert about(before) == []
    street.chain.say(dot.to_bytes())
    street.sync()
    for _ in range(2):
        assert about(street.told(before[-1].id)) == ids(dot)
        assert about(street.told("0")) == ids(dot)
        street.restart()


def test_an_object_that_a_late_batch_brings_to_an_earlier_block_is_not_told_twice(street: Street) -> None:
    root = street.anchor(DOTS[0].to_bytes(), DOTS[1].to_bytes())
    street.chain.say(DOTS[1].to_bytes())
    street.sync()
    before = street.told("0")
    assert about(before) == ids(DOTS[1])
    street.fetch(root)
    for _ in range(2):
        assert about(street.told(before[-1].id)) == ids(DOTS[0])
        assert about(street.told("0")) == ids(DOTS[0], DOTS[1])
        street.restart()


def test_a_replica_that_was_built_anew_begins_anew(street: Street) -> None:
    """It cannot know what an id stands for; it says that all is void, and leaves nothing out."""
    root = street.anchor(DOTS[0].to_bytes())
    street.chain.say(DOTS[1].to_bytes())
    street.sync()
    before = street.told("0")
    street.anew()
    street.fetch(root)
    after = street.told(before[-1].id)
    assert [(one.kind, one.height) for one in after[:1]] == [("reorg", 0)]
    assert about(after[1:]) == ids(DOTS[0], DOTS[1])


@pytest.mark.parametrize("text", ["1~", "1~x.0.0", "1~00000000.0", "1~00000000.0.0~x", "~00000000.0.0", "1~0~0~0"])
def test_what_is_no_id_is_bad_input(house: House, text: str) -> None:
    with pytest.raises(BadRequest):
        house.engine.watcher(text)


@dataclass
class Watcher:
    """What somebody holds true who reads some events, goes, and comes back with an id that it was given."""

    confirmations: int
    id: str = "0"
    holds: list[str] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)

    def read(self, told: list[wire.Happening]) -> None:
        for one in told:
            self.id = one.id
            if one.kind == "reorg":
                stays = [count <= one.height for count in self.counted]
                self.holds = list(compress(self.holds, stays))
                self.counted = list(compress(self.counted, stays))
            elif one.kind != "block":
                self.holds.append(one.object or one.commitment or "")
                self.counted.append(one.height + (self.confirmations if one.kind == "delegation" else 0))

    def copy(self) -> "Watcher":
        return Watcher(self.confirmations, self.id, [*self.holds], [*self.counted])


@hypothesis.settings(max_examples=60)
@given(
    data=st.data(),
    confirmations=st.sampled_from([0, 0, 2]),
    forks=st.booleans(),
    page=st.integers(1, 4),
)
def test_whoever_comes_back_with_any_id_misses_nothing_and_hears_nothing_twice(
    data: st.DataObject, confirmations: int, *, forks: bool, page: int
) -> None:
    """Whatever is published, anchored, fetched late, forged, brought to earlier blocks or forked away in between."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "PAGE", page)
        street = Street(Path(folder), confirmations)
        watchers = [Watcher(confirmations)]
        objects = [dot.to_bytes() for dot in DOTS]
        objects += [forged(GIVERS[2], dot) for dot in DOTS[:2]]
        objects += [giver.entity.to_bytes() for giver in GIVERS]
        if forks:
            street.chain.say(*objects[-3:])
        some = st.lists(st.sampled_from(objects), max_size=4, unique=True)
        twice: set[str | None] = set()
        acts = ["publish", "anchor", "fetch", "fetch", "read", "read", "restart", *(["fork"] if forks else [])]
        for turn, act in enumerate(data.draw(st.lists(st.sampled_from(acts), min_size=4, max_size=24))):
            chosen = data.draw(some) if act in ("publish", "anchor") else []
            missing = [anchor.root for anchor in street.follower.missing_batches()]
            if act == "publish":
                street.chain.say(*chosen, revoked(b"%d" % len(street.chain.blocks)))
                street.sync()
            elif act == "anchor" and chosen:
                street.anchor(*chosen)
            elif act == "fetch" and missing:
                street.fetch(data.draw(st.sampled_from(missing)))
            elif act == "restart":
                street.restart()
            elif act == "fork":
                height = data.draw(st.integers(1, len(street.chain.blocks) - 1))
                twice |= {*ids(*DOTS)} if height < len(street.chain.blocks) - 1 else set()
                street.chain.fork(height, str(turn))
                street.chain.say()
                street.chain.say()
                street.sync()
            else:
                watcher = data.draw(st.sampled_from(watchers)).copy()
                told = street.told(watcher.id)
                watcher.read(told[: data.draw(st.integers(0, len(told)))])
                watchers.append(watcher)
        street.chain.say()
        street.chain.say()
        street.sync()
        for anchor in street.follower.missing_batches():
            street.fetch(anchor.root)
        fresh = Watcher(confirmations)
        fresh.read(street.told("0"))
        assert len(set(fresh.holds)) == len(fresh.holds)
        for watcher in watchers:
            watcher.read(street.told(watcher.id))
            assert set(watcher.holds) == set(fresh.holds)
            assert len(watcher.holds) == len(set(watcher.holds)) or twice
        street.follower.close()
