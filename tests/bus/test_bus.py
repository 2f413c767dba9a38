"""A real router on loopback with real peers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.bus.town import Town
from tests.world import World
from wave.bus.router import Router
from wave.errors import NoProof, OutOfScope, Refused, Revoked, WrongSender

LIGHT = "s.light/light0/i.boolean"


@pytest.fixture
async def town(world: World) -> AsyncIterator[Town]:
    town = Town(world)
    async with town.open():
        yield town


async def test_a_granted_message_reaches_a_granted_subscriber(town: Town) -> None:
    town.give("home", "alice", f"publish@home/{LIGHT}/slot/*")
    town.give("home", "light", f"subscribe@home/{LIGHT}/slot/*")
    home = town.world.id("home")
    async with town.peer("alice") as alice, town.peer("light") as light:
        reading = await light.subscribe(home, f"{LIGHT}/slot/*")
        assert await alice.publish(home, f"{LIGHT}/slot/state", b'{"state": "on"}') == 1
        received = await asyncio.wait_for(anext(reading), 5)
    assert received.message.payload == b'{"state": "on"}'
    assert received.sender.id == town.world.id("alice")
    assert received.grant.until > town.world.now
    assert len(received.decision) == 32


async def test_a_peer_without_a_grant_is_told_so_before_it_sends(town: Town) -> None:
    async with town.peer("stranger") as stranger:
        with pytest.raises(NoProof):
            await stranger.publish(town.world.id("home"), f"{LIGHT}/slot/state", b"true")
