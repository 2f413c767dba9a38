"""A real router on loopback with real peers."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from tests.bus.liar import Liar
from tests.bus.town import Town, until
from tests.world import DAY, HOUR, World
from wave.bus.frame import Denied, Frame, Give, Hello, Publish, Subscribe, Unsubscribe, parcel, read_parcel
from wave.bus.message import JSON, PUBLISH, SUBSCRIBE, Message, Payload
from wave.bus.peer import Peer
from wave.bus.reading import Reading, Received
from wave.bus.router import Link, Router
from wave.bus.websocket import connected, serving
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.errors import (
    BadRequest,
    BadSetting,
    BadSignature,
    ChainUnavailable,
    ConditionFailed,
    Expired,
    MessageStale,
    NoProof,
    OutOfScope,
    PortInUse,
    Replayed,
    Revoked,
    RouterUnavailable,
    StaleFacts,
    TooLarge,
    UnknownSubscription,
    WaveError,
    WrongPurpose,
    WrongSender,
)
from wave.limits import LIMITS
from wave.namespace.condition import when, where

LIGHT = "s.light/light0/i.boolean"
SLOT = f"{LIGHT}/slot/state"


@pytest.fixture
async def town(world: World) -> AsyncIterator[Town]:
    """Alice may publish to the light's slots and the light may subscribe to them, on an honest router."""
    town = granted(world)
    async with town.open():
        yield town


def granted(world: World) -> Town:
    town = Town(world)
    town.given = town.give("home", "alice", f"publish@home/{LIGHT}/slot/*")
    town.read = town.give("home", "light", f"subscribe@home/{LIGHT}/slot/*")
    return town


async def soon(reading: Reading) -> Received:
    return await asyncio.wait_for(anext(reading), 5)


async def test_a_granted_message_reaches_a_granted_subscriber(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, f"{LIGHT}/slot/*")
        assert await alice.publish(town.home, SLOT, b'{"state": "on"}') == 1
        received = await soon(reading)
    assert received.message.payload == b'{"state": "on"}'
    assert received.message.sender == town.world.id("alice")
    assert received.grant.until == town.world.now + 30 * DAY
    assert len(received.decision) == 32


async def test_one_proof_serves_many_messages(town: Town) -> None:
    async with town.peer("alice") as alice:
        for _ in range(5):
            await alice.publish(town.home, SLOT, b"true")
    assert town.proofs_built == 1


async def test_a_peer_without_a_grant_is_told_so_before_it_sends(town: Town) -> None:
    async with town.peer("stranger") as stranger:
        with pytest.raises(NoProof):
            await stranger.publish(town.home, SLOT, b"true")


# Whose proof: DESIGN §8, fault 5 ------------------------------------------------------------------------------------


def borrowing(town: Town, owner: str) -> Callable[[Request], object]:
    """Return a source that gives whoever asks the proof that ``owner`` would get."""

    async def source(request: Request) -> tuple[Proof, int]:
        return await town.prove(Request(town.world.id(owner), request.namespace, request.statements, request.context))

    return source


async def test_a_router_refuses_somebody_elses_proof(town: Town) -> None:
    async with town.peer("mallory", proofs=borrowing(town, "alice")) as mallory:
        with pytest.raises(WrongSender) as caught:
            await mallory.publish(town.home, SLOT, b"true")
    assert caught.value.decision is not None


async def test_a_receiver_refuses_somebody_elses_proof_though_the_router_lets_it_pass(world: World) -> None:
    town, refusals = granted(world), list[WaveError]()
    async with town.open(Liar), town.peer("light") as light:
        await light.subscribe(town.home, SLOT, refused=lambda _, error: refusals.append(error))
        async with town.peer("mallory", proofs=borrowing(town, "alice")) as mallory:
            await mallory.publish(town.home, SLOT, b"true")
            await until(lambda: bool(refusals))
    assert isinstance(refusals[0], WrongSender)


# What a lying router can do to a receiver ---------------------------------------------------------------------------


async def lied_to(town: Town, lie: Callable[[Liar], None]) -> WaveError:
    """Return what the light says of the lie that follows one good message."""
    refusals: list[WaveError] = []
    async with town.open(Liar) as router, town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT, refused=lambda _, error: refusals.append(error))
        await alice.publish(town.home, SLOT, b"true")
        await soon(reading)
        assert isinstance(router, Liar)
        lie(router)
        await until(lambda: bool(refusals))
        assert not reading._waiting
    return refusals[0]


async def test_a_replayed_message_is_refused(world: World) -> None:
    """DESIGN §8, fault 8."""
    assert isinstance(await lied_to(granted(world), Liar.replay), Replayed)


async def test_an_altered_payload_is_refused(world: World) -> None:
    error = await lied_to(
        granted(world), lambda router: router.alter(payloads=(Payload(JSON, b"false"),), nonce=b"n" * 16)
    )
    assert isinstance(error, BadSignature)


async def test_a_message_held_back_too_long_is_refused(world: World) -> None:
    def late(router: Liar) -> None:
        world.pass_time(30)
        router.replay()

    assert isinstance(await lied_to(granted(world), late), MessageStale)


async def test_a_message_whose_right_was_revoked_meanwhile_is_refused(world: World) -> None:
    town, refusals = granted(world), list[WaveError]()
    async with town.open(Liar), town.peer("alice") as alice, town.peer("light") as light:
        await light.subscribe(town.home, SLOT, refused=lambda _, error: refusals.append(error))
        world.revoke(town.given)
        town.graph.discard(town.given)
        with pytest.raises(NoProof):  # an honest agent would not even build the proof
            await alice.publish(town.home, SLOT, b"true")
        town.graph.add(town.given)
        found = await kept_proof(town)
        async with town.peer("alice", proofs=found) as stubborn:
            await stubborn.publish(town.home, SLOT, b"true")
            await until(lambda: bool(refusals))
    assert isinstance(refusals[0], Revoked)


async def kept_proof(town: Town) -> Callable[[Request], object]:
    """Return a source that goes on giving a proof that was good once."""
    world, revocations = town.world, town.world.revocations
    world.revocations = {}
    proof, _ = await town.prove(world.request("alice", f"publish@home/{SLOT}"))
    world.revocations = revocations

    async def source(_: Request) -> tuple[Proof, int]:
        return proof, world.now + DAY

    return source


async def test_a_receiver_refuses_on_stale_facts(world: World) -> None:
    """DESIGN §8, fault 13."""
    town, refusals = granted(world), list[WaveError]()
    async with town.open(Liar), town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT, refused=lambda _, error: refusals.append(error))
        town.block_time = world.now - LIMITS.max_staleness - 1
        await alice.publish(town.home, SLOT, b"true")
        await until(lambda: bool(refusals))
        town.block_time, town.chain_down = None, True
        await alice.publish(town.home, SLOT, b"true")
        await until(lambda: len(refusals) > 1)
        town.chain_down = False
        await alice.publish(town.home, SLOT, b"true")
        await soon(reading)
    assert [type(error) for error in refusals] == [StaleFacts, ChainUnavailable]


async def test_a_message_that_was_not_asked_for_is_dropped(world: World) -> None:
    town = granted(world)
    town.give("home", "alice", "publish@home/s.light/light1/*")
    async with town.open(Liar), town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT)
        await alice.publish(town.home, "s.light/light1/i.boolean/slot/state", b"true")
        await alice.publish(town.home, SLOT, b"false")
        assert (await soon(reading)).message.payload == b"false"


# The honest router --------------------------------------------------------------------------------------------------


async def test_a_router_refuses_on_stale_facts(town: Town) -> None:
    """DESIGN §8, fault 13."""
    async with town.peer("alice") as alice:
        await alice.publish(town.home, SLOT, b"true")
        town.block_time = town.world.now - LIMITS.max_staleness - 1
        with pytest.raises(StaleFacts):
            await alice.publish(town.home, SLOT, b"true")
        town.chain_down = True
        with pytest.raises(ChainUnavailable):
            await alice.publish(town.home, SLOT, b"true")


async def test_a_subscription_wider_than_what_is_held_is_refused(town: Town) -> None:
    """DESIGN §8, fault 6: `a/b` plus a subscription to `*` reads everything."""

    async def narrower(_: Request) -> tuple[Proof, int]:
        return await town.prove(town.world.request("light", f"subscribe@home/{LIGHT}/slot/*"))

    async with town.peer("light") as honest, town.peer("light", proofs=narrower) as sly:
        for pattern in ("*", "s.light/*", "s.light/+/i.boolean/slot/state", f"{LIGHT}/*", f"{LIGHT}/+/state"):
            with pytest.raises(NoProof):
                await honest.subscribe(town.home, pattern)
            with pytest.raises(OutOfScope):
                await sly.subscribe(town.home, pattern)
        await sly.subscribe(town.home, f"{LIGHT}/slot/+")


async def test_what_is_subscribed_is_what_is_delivered(town: Town) -> None:
    """DESIGN §8, fault 6: the pattern that was checked is the one that messages are matched with."""
    town.give("home", "alice", f"publish@home/{LIGHT}/*")
    async with town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, f"{LIGHT}/slot/+")
        for resource in (f"{LIGHT}/slot", f"{LIGHT}/slot/a/b", f"{LIGHT}/signal/state"):
            assert await alice.publish(town.home, resource, b"1") == 0
        assert await alice.publish(town.home, f"{LIGHT}/slot/a", b"2") == 1
        assert (await soon(reading)).message.payload == b"2"


async def test_another_namespaces_messages_are_not_delivered(town: Town) -> None:
    town.give("elsewhere", "alice", f"publish@elsewhere/{SLOT}")
    async with town.peer("alice") as alice, town.peer("light") as light:
        await light.subscribe(town.home, SLOT)
        assert await alice.publish(town.world.id("elsewhere"), SLOT, b"1") == 0


async def test_a_revocation_ends_an_open_subscription(town: Town) -> None:
    """DESIGN §8, fault 7."""
    async with town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT)
        town.world.revoke(town.read)
        with pytest.raises(Revoked) as caught:
            await soon(reading)
    assert caught.value.decision is not None


async def test_nothing_is_delivered_after_a_revocation_though_no_review_was_due(world: World) -> None:
    town = granted(world)
    town.review_every = 1000.0
    async with town.open() as router, town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT)
        assert await alice.publish(town.home, SLOT, b"1") == 1
        await soon(reading)
        world.revoke(town.read)
        assert await alice.publish(town.home, SLOT, b"2") == 0
        with pytest.raises(Revoked):
            await soon(reading)
        assert router.open_subscriptions == 0


async def test_a_subscription_ends_with_its_dot_and_with_its_hours(town: Town) -> None:
    """DESIGN §8, fault 7."""
    friday = (when("fri 08:00-09:00 UTC"),)
    town.give("home", "short", f"subscribe@home/{SLOT}", expires=town.world.now + 60)
    town.give("home", "hours", f"subscribe@home/{SLOT}", conditions=friday)
    async with town.peer("short") as short, town.peer("hours") as hours:
        first, second = await short.subscribe(town.home, SLOT), await hours.subscribe(town.home, SLOT)
        town.world.pass_time(60)
        with pytest.raises(Expired):
            await soon(first)
        town.world.pass_time(HOUR)
        with pytest.raises(ConditionFailed):
            await soon(second)


async def test_a_subscription_outlives_the_message_that_opened_it(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT)
        town.world.pass_time(2 * LIMITS.message_lifetime)
        await asyncio.sleep(0.1)
        await alice.publish(town.home, SLOT, b"1")
        await soon(reading)


async def test_want_of_facts_ends_no_subscription_and_delivers_nothing(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(town.home, SLOT)
        town.chain_down = True
        await asyncio.sleep(0.1)
        with pytest.raises(ChainUnavailable):
            await alice.publish(town.home, SLOT, b"1")
        town.chain_down = False
        await alice.publish(town.home, SLOT, b"2")
        assert (await soon(reading)).message.payload == b"2"


async def test_a_new_grant_serves_after_the_old_one_was_revoked(town: Town) -> None:
    async with town.peer("alice") as alice:
        await alice.publish(town.home, SLOT, b"1")
        town.world.revoke(town.given)
        with pytest.raises(Revoked):
            await alice.publish(town.home, SLOT, b"2")
        other = town.give("home", "alice", f"publish@home/{SLOT}")
        await alice.publish(town.home, SLOT, b"3")
        town.world.revoke(other)
        town.give("home", "alice", "publish@home/s.light/*")
        await alice.publish(town.home, SLOT, b"4")  # refused once, and sent again with the newer proof


async def test_a_proof_is_built_for_each_value_only_where_values_are_bounded(town: Town) -> None:
    town.give("home", "bob", f"publish@home/{SLOT}", conditions=(where("level 1..9"),))
    async with town.peer("alice") as alice, town.peer("bob") as bob:
        for level in range(1, 4):
            await alice.publish(town.home, SLOT, b'{"level":%d}' % level)
        assert town.proofs_built == 1
        for level in range(1, 4):
            await bob.publish(town.home, SLOT, b'{"level":%d}' % level)
        assert town.proofs_built == 4


async def test_many_subscriptions_get_one_copy(town: Town) -> None:
    async with town.peer("alice") as alice, town.peer("light") as light:
        readings = [await light.subscribe(town.home, pattern) for pattern in (SLOT, f"{LIGHT}/slot/*")]
        assert await alice.publish(town.home, SLOT, b"1") == 1
        for reading in readings:
            assert (await soon(reading)).message.payload == b"1"
        await readings[0].close()
        with pytest.raises(StopAsyncIteration):
            await anext(readings[0])
        assert await alice.publish(town.home, SLOT, b"2") == 1
        assert (await soon(readings[1])).message.payload == b"2"


# Frames by hand -----------------------------------------------------------------------------------------------------


class Hand:
    """A connection on which a test writes its own frames."""

    def __init__(self, town: Town, link: Link, challenge: bytes) -> None:
        self.town, self.link, self.challenge = town, link, challenge
        self.heard: deque[Frame] = deque()

    async def say(self, frame: Frame | bytes) -> Frame | None:
        await self.link.send(frame if isinstance(frame, bytes) else parcel(frame))
        return await self.next()

    async def next(self) -> Frame | None:
        """Return the router's next frame, None when it closed the connection."""
        if not self.heard:
            async with asyncio.timeout(5):
                data = await self.link.receive()
            self.heard.extend(() if data is None else read_parcel(data))
        return self.heard.popleft() if self.heard else None

    async def signed(self, who: str, permission: str, payload: bytes, **more: object) -> bytes:
        """Return a signed message; its proof is given to the router."""
        world = self.town.world
        proof, _ = await self.town.prove(world.request(who, f"{permission}@home/{SLOT}"))
        fields = {"created": world.now, "expires": world.now + 30, "nonce": os.urandom(16), **more}
        message = Message.create(
            world.entity(who), permission=permission, namespace=self.town.home, resource=SLOT, payload=payload,
            proof=proof.id, **fields,
        )  # fmt: skip
        await self.link.send(parcel(Give(proof.data)))
        return message.to_bytes()


async def hand(town: Town, stack: AsyncExitStack) -> Hand:
    link = await stack.enter_async_context(connected(town.url))
    one = Hand(town, link, b"")
    first = await one.next()
    assert isinstance(first, Hello)
    one.challenge = first.challenge
    return one


def denied(answer: Frame | None, number: int, kind: type[WaveError]) -> None:
    assert isinstance(answer, Denied)
    assert answer.number == number
    assert type(answer.error) is kind


async def test_nobody_ends_anothers_subscription(town: Town) -> None:
    """DESIGN §8, fault 7: numbers are each connection's own."""
    async with AsyncExitStack() as stack:
        mine, theirs = await hand(town, stack), await hand(town, stack)
        await mine.say(Subscribe(7, await mine.signed("light", SUBSCRIBE, mine.challenge)))
        denied(await theirs.say(Unsubscribe(1, 7)), 1, UnknownSubscription)
        async with town.peer("alice") as alice:
            assert await alice.publish(town.home, SLOT, b"1") == 1


async def test_a_subscription_is_signed_for_one_connection(town: Town) -> None:
    async with AsyncExitStack() as stack:
        mine, theirs = await hand(town, stack), await hand(town, stack)
        signed = await mine.signed("light", SUBSCRIBE, mine.challenge)
        denied(await theirs.say(Subscribe(1, signed)), 1, WrongPurpose)
        await mine.say(Subscribe(1, signed))
        denied(await mine.say(Subscribe(2, signed)), 2, Replayed)
        denied(await mine.say(Subscribe(1, signed)), 1, BadRequest)


async def test_a_message_is_not_published_twice(town: Town) -> None:
    """DESIGN §8, fault 8."""
    async with AsyncExitStack() as stack:
        one = await hand(town, stack)
        signed = await one.signed("alice", PUBLISH, b"1")
        await one.say(Publish(1, signed))
        denied(await one.say(Publish(2, signed)), 2, Replayed)
        denied(await (await hand(town, stack)).say(Publish(1, signed)), 1, Replayed)


async def test_a_publication_opens_no_subscription_and_the_other_way_round(town: Town) -> None:
    town.give("home", "alice", f"publish,subscribe@home/{SLOT}")
    async with AsyncExitStack() as stack:
        one = await hand(town, stack)
        denied(await one.say(Subscribe(1, await one.signed("alice", PUBLISH, one.challenge))), 1, WrongPurpose)
        denied(await one.say(Publish(2, await one.signed("alice", SUBSCRIBE, one.challenge))), 2, WrongPurpose)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x91\xa5hello", b"\x93\xa7publish\x01\x02"])
async def test_a_frame_that_is_none_ends_the_connection_with_a_word(town: Town, data: bytes) -> None:
    async with AsyncExitStack() as stack:
        one = await hand(town, stack)
        answer = await one.say(data)
        assert isinstance(answer, Denied)
        assert await one.next() is None


async def test_a_message_that_is_none_is_refused_by_its_number(town: Town) -> None:
    async with AsyncExitStack() as stack:
        one = await hand(town, stack)
        answer = await one.say(Publish(5, b"nonsense"))
        assert isinstance(answer, Denied)
        assert answer.number == 5


async def test_an_oversized_frame_ends_the_connection(town: Town) -> None:
    async with AsyncExitStack() as stack:
        one = await hand(town, stack)
        await one.link.send(bytes(LIMITS.frame_bytes + 1))
        assert await one.next() is None
        other = await hand(town, stack)
        assert await other.say(Publish(1, b"")) is not None


async def test_subscriptions_of_a_connection_are_bounded(town: Town) -> None:
    async with AsyncExitStack() as stack:
        one = await hand(town, stack)
        for number in range(LIMITS.subscriptions_per_connection):
            await one.say(Subscribe(number + 1, await one.signed("light", SUBSCRIBE, one.challenge)))
        denied(await one.say(Subscribe(999, await one.signed("light", SUBSCRIBE, one.challenge))), 999, TooLarge)


# Connections --------------------------------------------------------------------------------------------------------


async def test_whoever_is_stopped_stops_at_whatever_moment(town: Town) -> None:
    """Python 3.11's wait_for swallows a cancellation that comes together with the answer."""

    async def publish_always(alice: Peer) -> None:
        while True:
            await alice.publish(town.home, SLOT, b"1")

    async with town.peer("alice") as alice:
        for turn in range(60):
            task = asyncio.create_task(publish_always(alice))
            await asyncio.sleep(turn / 10_000)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=2)
            assert done


async def test_a_router_that_is_not_there_is_named(world: World) -> None:
    town = granted(world)
    town.url = "ws://127.0.0.1:9/v1/bus"
    async with town.peer("alice", patience=0.3) as alice:
        with pytest.raises(RouterUnavailable):
            await alice.publish(town.home, SLOT, b"1")


async def test_a_subscription_is_opened_again_when_the_router_comes_back(world: World) -> None:
    town = granted(world)
    async with AsyncExitStack() as stack:
        async with town.open():
            light = await stack.enter_async_context(town.peer("light"))
            alice = await stack.enter_async_context(town.peer("alice"))
            reading = await light.subscribe(town.home, SLOT)
        port = int(town.url.rpartition(":")[2].partition("/")[0])
        async with town.open(port=port) as router:
            await until(lambda: router.open_subscriptions == 1)
            await alice.publish(town.home, SLOT, b"1")
            assert (await soon(reading)).message.payload == b"1"


async def test_a_right_that_was_lost_while_away_ends_the_reading(world: World) -> None:
    town = granted(world)
    async with AsyncExitStack() as stack:
        async with town.open():
            light = await stack.enter_async_context(town.peer("light"))
            reading = await light.subscribe(town.home, SLOT)
        world.revoke(town.read)
        port = int(town.url.rpartition(":")[2].partition("/")[0])
        async with town.open(port=port):
            with pytest.raises((NoProof, Revoked)):
                await soon(reading)


async def test_a_port_in_use_is_named(town: Town) -> None:
    port = int(town.url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(PortInUse):
        async with serving(town.router(), port=port):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
async def test_a_router_listens_on_loopback_unless_told_otherwise(town: Town, host: str) -> None:
    with pytest.raises(BadSetting):
        async with serving(town.router(), host=host, port=0):
            pass


async def test_no_option_of_the_router_makes_it_check_less() -> None:
    import inspect

    assert set(inspect.signature(Router).parameters) == {
        "facts",
        "clock",
        "draw",
        "review_every",
        "refused",
        "store",
        "secret",
        "namespaces",
    }
