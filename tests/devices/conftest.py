"""Fixtures for devices."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.bus.liar import Liar
from tests.bus.town import Town
from tests.devices.house import House
from tests.world import World


@pytest.fixture
async def house(world: World) -> AsyncIterator[House]:
    """A house on an honest router."""
    town = Town(world)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.open())
        yield House(town, stack)


@pytest.fixture
async def lied_to(world: World) -> AsyncIterator[House]:
    """A house on a router that lets everything pass."""
    town = Town(world)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.open(Liar))
        yield House(town, stack)
