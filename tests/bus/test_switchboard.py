"""The switchboard over real routers: each namespace by its own, wherever that is, and none held up by another."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bus.town import Town, until
from tests.mqtt.broker import plain
from tests.world import DAY, World
from wave.bus.connect import open_bus
from wave.bus.message import Message
from wave.bus.mqtt import MqttBus
from wave.bus.peer import Peer
from wave.bus.port import Bus
from wave.bus.reading import Reading, Received
from wave.bus.recent import Carried
from wave.bus.router import Router
from wave.bus.store import Store
from wave.bus.switchboard import Carrier, Switchboard
from wave.bus.websocket import serving
from wave.dots.facts import Facts
from wave.errors import (
    AgentUnavailable,
    BadRoute,
    BadSetting,
    BeforeRestart,
    NoProof,
    Replayed,
    Revoked,
    RouterUnavailable,
    StateLocked,
    UnknownRouter,
    WaveError,
    WrongRouter,
)

ON = b'{"state":"on"}'


class Recorder(Router):
    """A router that shows again what it saw."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.seen: list[Carried] = []

    def hand_on(self, carried: Carried, facts: Facts) -> int:
        self.seen.append(carried)
        return super().hand_on(carried, facts)


class Place:
    """A router that can be stopped, and started again anywhere."""

    def __init__(self, town: Town, name: str) -> None:
        self.town = town
        self.secret = town.world.entity(name)
        self.router: Recorder
        self.store: Store | None = None
        self.url = ""
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        self.router = Recorder(
            self.town.facts,
            clock=self.town.clock,
            draw=os.urandom,
            review_every=self.town.review_every,
            secret=self.secret,
            store=self.store,
        )
        self.url = await self._stack.enter_async_context(serving(self.router, port=0))

    async def stop(self) -> None:
        await self._stack.aclose()

    def show(self, carried: Carried) -> None:
        """Give a message to whoever reads what it is about."""
        assert self.router.hand_on(carried, self.town.world.facts) == 1


class Street:
    """Two namespaces, home and next door, each with a router; and an agent that knows who carries what."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.home, self.next_door = town.home, town.world.id("neighbour")
        self.table: dict[bytes, Carrier | WaveError] = {}
        self.asked = 0
        self.own, self.other = Place(town, "own router"), Place(town, "other router")

    async def find(self, namespace: bytes) -> Carrier:
        """What an agent answers to FindRouter."""
        self.asked += 1
        found = self.table.get(namespace, UnknownRouter("no router carries it now"))
        if isinstance(found, WaveError):
            raise found
        return found

    def designate(self, namespace: bytes, place: Place, *urls: str) -> None:
        """Have a router carry a namespace, and be reached at these URLs before its own."""
        self.table[namespace] = Carrier(place.secret.id, (*urls, place.url))

    def bus(self, name: str, *, patience: float = 3.0, kept: float = 0.05) -> Switchboard:
        town = self.town
        return Switchboard(
            town.world.entity(name),
            self.find,
            proofs=town.prove,
            facts=town.facts,
            clock=town.clock,
            draw=os.urandom,
            patience=patience,
            kept=kept,
        )

    async def restart(self) -> None:
        """Have both routers run anew, elsewhere."""
        for place, namespace in ((self.own, self.home), (self.other, self.next_door)):
            await place.stop()
            await place.start()
            self.designate(namespace, place)

    def give(self) -> None:
        """Let alice and bob do everything everywhere."""
        for name in ("alice", "bob"):
            self.town.give("home", name, "publish,subscribe@home/*")
            self.town.give("neighbour", name, "publish,subscribe@neighbour/*")


@pytest.fixture
async def street(world: World) -> AsyncIterator[Street]:
    found = Street(Town(world))
    found.give()
    await found.restart()
    yield found
    for place in (found.own, found.other):
        await place.stop()


async def soon(reading: Reading) -> Received:
    async with asyncio.timeout(5):
        return await anext(reading)


@asynccontextmanager
async def quickly(seconds: float) -> AsyncIterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


async def test_each_namespace_is_carried_by_its_own_router(street: Street) -> None:
    """And nothing runs on when the body has ended."""
    running = len(asyncio.all_tasks())
    async with street.bus("alice") as alice, street.bus("bob") as bob:
        at_home = await bob.subscribe(street.home, "*")
        next_door = await bob.subscribe(street.next_door, "*")
        assert await alice.publish(street.home, "light", ON) == 1
        assert await alice.publish(street.next_door, "bell", ON) == 1
        assert (await soon(at_home)).message.resource == "light"
        assert (await soon(next_door)).message.resource == "bell"
        assert alice.connected
        assert bob.connected
    await until(lambda: len(asyncio.all_tasks()) == running)


async def test_two_namespaces_of_one_router_share_a_connection(street: Street) -> None:
    street.table[street.next_door] = street.table[street.home]
    async with street.bus("alice") as alice:
        await alice.publish(street.home, "light", ON)
        await alice.publish(street.next_door, "bell", ON)
        assert len(alice._lines) == 1


async def test_a_router_that_is_killed_and_comes_back_elsewhere_is_found(street: Street) -> None:
    """Whoever reads goes on reading, with nothing to do for it."""
    async with street.bus("alice") as alice, street.bus("bob") as bob:
        reading = await bob.subscribe(street.home, "*")
        await alice.publish(street.home, "light", ON)
        await soon(reading)
        before = street.own.url
        await street.own.stop()
        await until(lambda: not alice.connected and not bob.connected)
        await street.own.start()
        assert street.own.url != before
        street.designate(street.home, street.own)
        await until(lambda: street.own.router.open_subscriptions == 1)
        assert await alice.publish(street.home, "light", ON) == 1
        assert (await soon(reading)).message.resource == "light"
        assert len(bob._lines) == 1


async def test_nothing_is_missed_while_a_router_moves(street: Street, tmp_path: Path) -> None:
    """The same router, with what it kept, goes on after the last message that was heard."""
    store = Store(tmp_path / "kept.sqlite")
    street.own.store = store
    await street.restart()
    async with street.bus("alice") as alice:
        reading = await alice.subscribe(street.home, "*")
        await alice.publish(street.home, "light", b"1", persist=True)
        heard = await soon(reading)
        assert reading.serial == heard.serial > 0
        await street.own.stop()
        await street.own.start()  # where alice does not look for it yet
        async with Peer(
            street.town.world.entity("bob"),
            street.own.url,
            proofs=street.town.prove,
            facts=street.town.facts,
            clock=street.town.clock,
            draw=os.urandom,
        ) as bob:
            assert await bob.publish(street.home, "light", b"2", persist=True) == 0
        street.designate(street.home, street.own)
        assert (await soon(reading)).message.payload == b"2"
    store.close()


async def test_a_router_that_moves_cannot_show_a_reading_more_than_it_asked_for(street: Street, tmp_path: Path) -> None:
    store = Store(tmp_path / "kept.sqlite")
    street.own.store = store
    await street.restart()
    async with street.bus("alice") as alice, street.bus("bob") as bob:
        await bob.publish(street.home, "light", b"long ago", persist=True)
        street.town.world.pass_time(DAY)
        reading = await alice.subscribe(street.home, "*")
        (line,) = alice._lines.values()
        assert isinstance(line.bus, Peer)
        for inner in line.bus._receiving.readings.values():
            inner.serial = 0  # from where the router is asked to go on
        await street.own.stop()
        await street.own.start()
        street.designate(street.home, street.own)
        await bob.publish(street.home, "light", b"now", persist=True)
        assert (await soon(reading)).message.payload == b"now"
    store.close()


async def test_another_router_takes_over_from_one_that_runs_on(street: Street) -> None:
    """What moved is no longer asked of the one before."""
    async with street.bus("alice") as alice, street.bus("bob") as bob:
        reading = await bob.subscribe(street.home, "*")
        await alice.publish(street.home, "light", ON)
        await soon(reading)
        street.designate(street.home, street.other)
        await until(lambda: street.other.router.open_subscriptions == 1)
        await until(lambda: not street.own.router._connections)
        assert await alice.publish(street.home, "light", ON) == 1
        await soon(reading)


async def test_a_neighbours_router_that_is_down_holds_up_nothing_at_home(street: Street) -> None:
    """Messages at home come at once, before, while and after; next door they come again when its router does."""
    async with street.bus("alice", patience=0.3) as alice, street.bus("bob") as bob:
        at_home = await bob.subscribe(street.home, "*")
        next_door = await bob.subscribe(street.next_door, "*")
        await alice.publish(street.next_door, "bell", ON)
        await soon(next_door)
        await street.other.stop()
        await until(lambda: not alice.connected)
        lost = asyncio.create_task(alice.publish(street.next_door, "bell", ON))
        for _ in range(5):
            async with quickly(0.25):
                assert await alice.publish(street.home, "light", ON) == 1
                await soon(at_home)
        with pytest.raises(RouterUnavailable) as caught:
            await lost
        assert caught.value.code == "router.unavailable"
        await street.other.start()
        street.designate(street.next_door, street.other)
        await until(lambda: street.other.router.open_subscriptions == 1)
        await alice.publish(street.next_door, "bell", ON)
        await soon(next_door)


async def test_a_namespace_that_loses_its_router_is_told_so_and_reading_waits_for_the_next(street: Street) -> None:
    async with street.bus("alice") as alice, street.bus("bob") as bob:
        reading = await bob.subscribe(street.home, "*")
        await alice.publish(street.home, "light", ON)
        await soon(reading)
        del street.table[street.home]
        await until(lambda: not street.own.router._connections)
        with pytest.raises(UnknownRouter) as caught:
            await alice.publish(street.home, "light", ON)
        assert caught.value.code == "router.not_found"
        street.designate(street.home, street.other)
        await until(lambda: street.other.router.open_subscriptions == 1)
        await alice.publish(street.home, "light", ON)
        await soon(reading)


async def test_an_agent_that_cannot_be_asked_changes_nothing(street: Street) -> None:
    """Who carries a namespace is known from before; a router is trusted with delivery alone."""
    async with street.bus("alice") as alice, street.bus("bob") as bob:
        reading = await bob.subscribe(street.home, "*")
        await alice.publish(street.home, "light", ON)
        await soon(reading)
        street.table[street.home] = AgentUnavailable("the agent is gone")
        asked = street.asked
        await until(lambda: street.asked > asked + 3)
        await alice.publish(street.home, "light", ON)
        await soon(reading)
    async with street.bus("alice") as alice:
        with pytest.raises(AgentUnavailable):
            await alice.publish(street.home, "light", ON)


async def test_the_second_address_serves_when_the_first_does_not_answer(street: Street) -> None:
    gone = street.own.url
    await street.own.stop()
    await street.own.start()
    street.designate(street.home, street.own, gone)
    async with street.bus("alice") as alice:
        assert await alice.publish(street.home, "light", ON) == 0


async def test_a_message_that_another_router_shows_again_is_refused(street: Street) -> None:
    """What was received is remembered for all routers together."""
    refused: list[WaveError] = []

    def note(_: Message | None, error: WaveError) -> None:
        refused.append(error)

    async with street.bus("alice") as alice, street.bus("bob") as bob:
        reading = await bob.subscribe(street.home, "*", refused=note)
        await alice.publish(street.home, "light", ON)
        await soon(reading)
        street.designate(street.home, street.other)
        await until(lambda: street.other.router.open_subscriptions == 1)
        street.other.show(street.own.router.seen[-1])
        await until(lambda: bool(refused))
    assert isinstance(refused[0], Replayed)


async def test_a_reading_that_is_closed_ends_at_the_router(street: Street) -> None:
    async with street.bus("bob") as bob:
        first, second = await bob.subscribe(street.home, "a/*"), await bob.subscribe(street.home, "b/*")
        assert street.own.router.open_subscriptions == 2
        await first.close()
        await until(lambda: street.own.router.open_subscriptions == 1)
        with pytest.raises(StopAsyncIteration):
            await anext(first)
        assert second.opened


async def test_a_reading_ends_with_the_right_to_it(street: Street) -> None:
    right = street.town.give("home", "carol", "subscribe@home/light")
    async with street.bus("carol") as carol:
        reading = await carol.subscribe(street.home, "light")
        street.town.world.revoke(right)
        with pytest.raises(Revoked):
            await soon(reading)


async def test_what_is_refused_at_the_next_router_ends_the_reading(street: Street) -> None:
    """It waits for routers, not for rights."""
    right = street.town.give("home", "carol", "subscribe@home/light")
    street.town.review_every = 3600
    await street.restart()
    async with street.bus("carol") as carol:
        reading = await carol.subscribe(street.home, "light")
        street.town.world.revoke(right)
        street.town.graph.discard(right)
        street.designate(street.home, street.other)
        with pytest.raises((Revoked, NoProof)):
            await soon(reading)


async def test_without_a_right_nothing_is_opened(street: Street) -> None:
    async with street.bus("mallory") as mallory:
        with pytest.raises(NoProof):
            await mallory.subscribe(street.home, "*")
        with pytest.raises(NoProof):
            await mallory.publish(street.home, "light", ON)


async def test_a_router_with_no_address_that_is_known_is_named(street: Street) -> None:
    street.table[street.home] = Carrier(bytes(32), ())
    async with street.bus("alice") as alice:
        with pytest.raises(BadRoute) as caught:
            await alice.publish(street.home, "light", ON)
    assert caught.value.code == "route.bad"


async def test_a_router_that_is_not_the_one_designated_gets_nothing(street: Street) -> None:
    """Whoever answers at the address: it is told so and asked for nothing."""
    street.table[street.home] = Carrier(street.other.secret.id, (street.own.url,))
    async with street.bus("alice", patience=0.5) as alice:
        with pytest.raises(WrongRouter) as caught:
            await alice.publish(street.home, "light", ON)
        assert caught.value.code == "router.wrong"
        assert not alice.connected


async def test_what_is_kept_is_asked_of_the_namespaces_router(street: Street) -> None:
    street.town.give("home", "alice", "query,list@home/*")
    async with street.bus("alice") as alice:
        await alice.publish(street.home, "light/a", ON, persist=True)
        await alice.publish(street.home, "light/b", ON, persist=True)
        assert await alice.list(street.home, "light/*") == ("light/a", "light/b")
        assert [one.message.payload for one in await alice.query(street.home, "light/a")] == [ON]
        reading = await alice.subscribe(street.home, "light/*", since=0)
        assert {str((await soon(reading)).message.resource) for _ in range(2)} == {"light/a", "light/b"}


async def test_a_namespace_moves_from_a_router_to_a_broker_and_back(street: Street, tmp_path: Path) -> None:
    """Whatever carries it, whoever reads goes on reading."""
    with plain(tmp_path) as broker:
        async with street.bus("alice") as alice, street.bus("bob") as bob:
            reading = await bob.subscribe(street.home, "*")
            await alice.publish(street.home, "light", ON)
            await soon(reading)
            street.table[street.home] = Carrier(street.other.secret.id, (broker.url,))
            await until(lambda: not street.own.router._connections and alice.connected and bob.connected)
            for _ in range(100):  # until bob, too, has moved
                if await alice.publish(street.home, "light", ON):
                    break
                await asyncio.sleep(0.02)
            assert (await soon(reading)).message.resource == "light"
            street.designate(street.home, street.own)
            await until(lambda: street.own.router.open_subscriptions == 1)
            await until(lambda: len(alice._lines) == 1 and street.own.url in next(iter(alice._lines)).urls)
            assert await alice.publish(street.home, "light", ON) == 1
            assert (await soon(reading)).message.resource == "light"


async def test_a_broker_that_takes_over_shows_nothing_again(street: Street, tmp_path: Path) -> None:
    """What was heard from the router before is remembered there, too."""
    with plain(tmp_path) as broker:
        async with street.bus("alice") as alice, street.bus("bob") as bob:
            refused: list[WaveError] = []
            reading = await bob.subscribe(street.home, "*", refused=lambda _, error: refused.append(error))
            await alice.publish(street.home, "light", ON)
            heard = await soon(reading)
            street.table[street.home] = Carrier(street.other.secret.id, (broker.url,))
            async with MqttBus(
                street.town.world.entity("alice"), broker.url, proofs=street.town.prove, facts=street.town.facts,
                clock=street.town.clock, draw=os.urandom,
            ) as again:  # fmt: skip
                for _ in range(200):  # until bob has moved
                    if await again.forward(heard.message.to_bytes(), heard.proof.to_bytes()):
                        break
                    await asyncio.sleep(0.02)
                await until(lambda: bool(refused))
            assert isinstance(refused[0], Replayed)


def opened(street: Street, url: str | None, **more: Any) -> Bus:
    town = street.town
    secret = town.world.entity("alice")
    return open_bus(
        secret, url, proofs=town.prove, facts=town.facts, clock=town.clock, draw=os.urandom, patience=3.0, **more
    )


async def test_the_one_way_to_the_bus_opens_what_an_address_names(street: Street) -> None:
    """A router, a broker, or without an address the namespaces' own routers."""
    async with opened(street, street.own.url) as bus:
        assert isinstance(bus, Peer)
        assert await bus.publish(street.home, "light", ON) == 0
    async with opened(street, None, routes=street.find) as bus:
        assert isinstance(bus, Switchboard)
        assert await bus.publish(street.home, "light", ON) == 0
    assert isinstance(opened(street, "mqtt://127.0.0.1:1"), MqttBus)
    for url in ("", "http://127.0.0.1", "127.0.0.1:4410", None):
        with pytest.raises(BadSetting) as caught:
            opened(street, url)
        assert caught.value.code == "setting.bad"


@pytest.mark.parametrize("way", ["router", "switchboard"])
async def test_what_was_received_is_remembered_by_the_next_process(street: Street, tmp_path: Path, way: str) -> None:
    """Whichever way the bus was opened; and one at a time owns the memory."""
    refused: list[WaveError] = []

    def bus() -> Bus:
        return opened(street, street.own.url if way == "router" else None, routes=street.find, state=tmp_path)

    async with street.bus("bob") as bob:
        async with bus() as first:
            reading = await first.subscribe(street.home, "*")
            await bob.publish(street.home, "light", ON)
            await soon(reading)
            with pytest.raises(StateLocked):
                bus()
        async with bus() as second:
            await second.subscribe(street.home, "*", refused=lambda _, error: refused.append(error))
            street.own.show(street.own.router.seen[-1])
            await until(lambda: bool(refused))
    assert isinstance(refused[0], BeforeRestart)
