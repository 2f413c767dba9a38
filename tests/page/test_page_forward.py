"""What a visitor signed goes through every carrier as it is, whoever hands it over, and is checked at its end."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.bus.town import Town
from tests.mqtt.broker import plain
from tests.mqtt.village import Village, granted
from tests.world import World
from wave.bus.message import PUBLISH, Message, requests
from wave.bus.port import Bus
from wave.bus.proofs import Proofs
from wave.bus.router import Router
from wave.bus.switchboard import Carrier, Switchboard
from wave.bus.websocket import serving
from wave.dots.proof import Proof
from wave.errors import BadSignature
from wave.namespace.pattern import resource

SLOT = "s.light/light0/i.boolean/slot/state"
SLOTS = "s.light/light0/+/slot/+"
CARRIERS = ("router", "switchboard", "broker")


async def carriers(kind: str, world: World, tmp_path: Path, stack: AsyncExitStack) -> tuple[Town | Village, Bus, Bus]:
    """Return a place where alice may switch the light, a bus that holds nothing but can carry, and the light's bus."""
    if kind == "broker":
        village = granted(world)
        village.give("home", "light", f"subscribe@home/{SLOTS}")
        village.url = stack.enter_context(plain(tmp_path)).url
        return village, village.bus("viewer"), village.bus("light")
    town = Town(world)
    town.give("home", "alice", f"publish@home/{SLOT}")
    town.give("home", "light", f"subscribe@home/{SLOTS}")
    secret = world.entity("router")
    carrying = Router(town.facts, clock=town.clock, draw=os.urandom, secret=secret)
    town.url = await stack.enter_async_context(serving(carrying, port=0))
    if kind == "router":
        return town, town.peer("viewer"), town.peer("light")

    async def find(_: bytes) -> Carrier:
        return Carrier(secret.id, (town.url,))

    board = Switchboard(
        world.entity("viewer"), find, proofs=town.prove, facts=town.facts, clock=town.clock, draw=os.urandom
    )
    return town, board, town.peer("light")


async def signed(place: Town | Village) -> tuple[Message, Proof]:
    """Return alice's command, and the proof beside it."""
    alice, where = place.world.entity("alice"), resource(SLOT)
    asked = requests(alice.id, PUBLISH, place.home, where, ({},))
    proof = await Proofs(alice.entity, place.prove).get(asked, place.world.now)
    now = place.world.now
    message = Message.create(
        alice, permission=PUBLISH, namespace=place.home, resource=where, payload=b'"on"', created=now,
        expires=now + 30, nonce=os.urandom(16), proof=proof.id,
    )  # fmt: skip
    return message, proof


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.parametrize("kind", CARRIERS)
async def test_a_visitors_message_is_carried_by_one_who_may_not_send_it(
    kind: str, world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    place, viewer, light = await carriers(kind, world, tmp_path, stack)
    async with viewer, light:
        reading = await light.subscribe(place.home, SLOTS)
        message, proof = await signed(place)
        assert await viewer.forward(message.to_bytes(), proof.to_bytes()) == 1
        async with asyncio.timeout(5):
            received = await anext(reading)
        assert received.message.to_bytes() == message.to_bytes()
        assert received.message.sender == world.id("alice")


@pytest.mark.parametrize("kind", ["router", "switchboard"])
async def test_a_message_that_the_carrier_altered_is_refused(
    kind: str, world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    place, viewer, light = await carriers(kind, world, tmp_path, stack)
    async with viewer, light:
        message, proof = await signed(place)
        altered = Message(message.body.replace(b'"on"', b'"of"'), message.signature)
        with pytest.raises(BadSignature):
            await viewer.forward(altered.to_bytes(), proof.to_bytes())


async def test_a_message_that_was_altered_on_a_broker_is_refused_by_the_device(
    world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    place, viewer, light = await carriers("broker", world, tmp_path, stack)
    refused: list[str] = []
    async with viewer, light:
        await light.subscribe(place.home, SLOTS, refused=lambda _, error: refused.append(error.code))
        message, proof = await signed(place)
        altered = Message(message.body.replace(b'"on"', b'"of"'), message.signature)
        await viewer.forward(altered.to_bytes(), proof.to_bytes())
        async with asyncio.timeout(5):
            while not refused:  # noqa: ASYNC110 - the callback is called by the bus
                await asyncio.sleep(0.01)
    assert refused == ["signature.bad"]
