"""Which router it is: it signs its first word, and what is signed for one router is of no use with another."""

import asyncio
import logging

import pytest

from tests.bus.town import Town, until
from tests.world import HOUR, World
from wave.bus.frame import Denied, Hello, Publish, Subscribe, parcel, read_parcel
from wave.bus.greeting import answering, greeted_by, greeting
from wave.bus.message import PUBLISH, QUERY, SUBSCRIBE, Message
from wave.bus.router import Router
from wave.bus.websocket import connected
from wave.entities.entity import EntitySecret
from wave.errors import (
    BadPattern,
    BadSignature,
    EntityRevoked,
    MessageStale,
    TooLarge,
    WaveError,
    WrongPurpose,
    WrongRouter,
)
from wave.limits import LIMITS


def granted(world: World) -> Town:
    town = Town(world)
    town.given = town.give("home", "alice", "publish,subscribe,query,list@home/*")
    return town


async def refusal(town: Town, **options: object) -> WaveError:
    async with town.peer("alice", patience=0.3, **options) as alice:
        with pytest.raises(WaveError) as caught:
            await alice.publish(town.home, "a", b"1")
    return caught.value


async def test_a_peer_finds_the_router_that_it_expects(world: World) -> None:
    town = granted(world)
    async with town.open(secret=world.entity("router")), town.peer("alice", router=world.id("router")) as alice:
        reading = await alice.subscribe(town.home, "a")
        await alice.publish(town.home, "a", b"1")
        assert (await asyncio.wait_for(anext(reading), 5)).message.payload == b"1"


async def test_a_peer_takes_no_other_router_and_none_without_a_name(world: World) -> None:
    town = granted(world)
    async with town.open(secret=world.entity("other")):
        assert type(await refusal(town, router=world.id("router"))) is WrongRouter
    async with town.open():
        assert type(await refusal(town, router=world.id("router"))) is WrongRouter


async def test_a_router_whose_entity_was_revoked_is_not_the_expected_one_any_more(world: World) -> None:
    town = granted(world)
    async with town.open(secret=world.entity("router")):
        world.revoke("router")
        assert type(await refusal(town, router=world.id("router"))) is EntityRevoked


class Pretender(Router):
    """Greets in the name of another entity."""

    stolen: EntitySecret
    word: Message | None = None

    def _hello(self, challenge: bytes) -> Hello:
        word = greeting(self.stolen, challenge, now=self._now(), draw=self._draw) if self.word is None else self.word
        if self.word is None:
            word = Message(word.body, bytes(64))
        return Hello(challenge, self.stolen.entity.to_bytes(), word.to_bytes())


async def test_a_router_must_sign_for_the_entity_and_for_this_challenge(world: World) -> None:
    town, stolen = granted(world), world.entity("router")
    async with town.open(Pretender) as router:
        assert isinstance(router, Pretender)
        router.stolen = stolen
        assert type(await refusal(town)) is BadSignature
        router.word = greeting(stolen, bytes(16), now=world.now, draw=bytes)
        assert type(await refusal(town)) is WrongRouter


@pytest.mark.parametrize("permission", [SUBSCRIBE, QUERY, "list"])
async def test_a_challenge_passed_on_by_a_router_in_the_middle_is_of_no_use(world: World, permission: str) -> None:
    """The middle one shows the other's challenge as its own; what it gets is bound to its own entity."""
    town = granted(world)
    proof, _ = await town.prove(world.request("alice", f"{permission}@home/a"))
    async with town.open(secret=world.entity("router")), connected(town.url) as link:
        (hello,) = read_parcel(await link.receive() or b"")
        assert isinstance(hello, Hello)
        for router, fault in ((world.id("middle"), WrongPurpose), (None, WrongPurpose)):
            message = Message.create(
                world.entity("alice"), permission=permission, namespace=town.home, resource="a",
                payload=answering(hello.challenge, router), created=world.now, expires=world.now + 30,
                nonce=bytes(16), proof=proof.id,
            )  # fmt: skip
            await link.send(parcel(Subscribe(1, message.to_bytes())))
            (answer,) = read_parcel(await link.receive() or b"")
            assert isinstance(answer, Denied)
            assert type(answer.error) is fault


def test_a_greeting_tells_whose_clock_is_wrong(world: World) -> None:
    word = greeting(world.entity("router"), bytes(16), now=world.now, draw=bytes)
    hello = Hello(bytes(16), world.entity("router").entity.to_bytes(), word.to_bytes())
    found = greeted_by(hello, world.now)
    assert found is not None
    assert found.id == world.id("router")
    with pytest.raises(MessageStale, match="1 hour"):
        greeted_by(hello, world.now + HOUR)
    with pytest.raises(MessageStale, match="1 hour"):
        greeted_by(hello, world.now - HOUR)


# Bad input over the real carrier ------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-HOUR, HOUR])
async def test_a_clock_that_is_off_by_an_hour_is_said_to_be(world: World, off: int) -> None:
    town = granted(world)
    async with town.open():
        error = await refusal(town, clock=lambda: world.now + off)
    assert isinstance(error, MessageStale)
    assert "clocks" in error.message
    assert "1 hour" in error.message
    assert "clocks" in error.hint


async def test_a_wildcard_is_not_published_to(world: World) -> None:
    town = granted(world)
    async with town.open(), town.peer("alice") as alice:
        for pattern in ("*", "a/+"):
            with pytest.raises(BadPattern):
                await alice.publish(town.home, pattern, b"1")


async def test_an_oversized_payload_is_refused_and_the_connection_stands(world: World) -> None:
    town = granted(world)
    async with town.open(), town.peer("alice") as alice:
        with pytest.raises(TooLarge):
            await alice.publish(town.home, "a", bytes(LIMITS.message_bytes))
        await alice.publish(town.home, "a", bytes(LIMITS.message_bytes - 1000))


@pytest.mark.parametrize("where", [1, 40, 200, -1])
async def test_a_truncated_message_is_refused_by_its_number(world: World, where: int) -> None:
    town = granted(world)
    message = Message.create(
        world.entity("alice"), permission=PUBLISH, namespace=town.home, resource="a", payload=b"1",
        created=world.now, expires=world.now + 30, nonce=bytes(16),
    )  # fmt: skip
    async with town.open(), connected(town.url) as link:
        await link.receive()
        await link.send(parcel(Publish(3, message.to_bytes()[:where])))
        (answer,) = read_parcel(await link.receive() or b"")
    assert isinstance(answer, Denied)
    assert answer.number == 3


async def test_two_devices_with_one_entity_are_told_of_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are heard, in order, and nothing of either is taken for a replay."""
    town = granted(world)
    async with town.open(), town.peer("alice") as one, town.peer("alice") as other, town.peer("alice") as reader:
        reading = await reader.subscribe(town.home, "a")
        other._sending._sequence = 500
        with caplog.at_level(logging.WARNING):
            for number in range(8):
                await (one, other)[number % 2].publish(town.home, "a", b"%d" % number)
        heard = [(await asyncio.wait_for(anext(reading), 5)).message.payload for _ in range(8)]
    assert heard == [b"%d" % number for number in range(8)]
    assert "two devices seem to act as entity" in caplog.text


async def test_what_waits_together_is_signed_together(world: World) -> None:
    town = granted(world)
    for sheaves in (True, False):
        async with town.open(), town.peer("alice", sheaves=sheaves) as alice, town.peer("alice") as reader:
            reading = await reader.subscribe(town.home, "a/*")
            await alice.publish(town.home, "a/first", b"")
            await asyncio.gather(*[alice.publish(town.home, f"a/{number}", b"") for number in range(100)])
            heard = [(await asyncio.wait_for(anext(reading), 5)).message for _ in range(101)]
        assert [str(one.resource) for one in heard] == ["a/first", *[f"a/{number}" for number in range(100)]]
        assert [one.sequence for one in heard] == list(range(heard[0].sequence, heard[0].sequence + 101))
        assert len({one.signature for one in heard}) == (3 if sheaves else 101)


async def test_a_connection_ends_with_its_last_right(world: World) -> None:
    """DESIGN §8, fault 7."""
    town = granted(world)
    async with town.open() as router, town.peer("alice") as alice:
        reading = await alice.subscribe(town.home, "a")
        (connection,) = router._connections
        world.revoke(town.given)
        with pytest.raises(WaveError):
            await asyncio.wait_for(anext(reading), 5)
        await until(lambda: connection not in router._connections)
