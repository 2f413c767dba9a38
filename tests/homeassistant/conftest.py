"""Fixtures: a house with devices, a Mosquitto, a Home Assistant on it, and the bridge between the two."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.bus.liar import Liar
from tests.bus.town import Town
from tests.devices.house import House
from tests.homeassistant.own_broker import Mosquitto
from tests.homeassistant.stage import Stage
from tests.homeassistant.stock import Stock, stock
from tests.world import World


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path).running() as broker:
        yield broker


@pytest.fixture
async def assistant(mosquitto: Mosquitto) -> AsyncIterator[Stock]:
    async with stock(mosquitto) as home:
        yield home


@pytest.fixture
async def house(world: World) -> AsyncIterator[House]:
    town = Town(world)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.open())
        yield House(town, stack)


@pytest.fixture
async def stage(house: House, mosquitto: Mosquitto) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(house, mosquitto, stack)


@pytest.fixture
async def lied_to(world: World, mosquitto: Mosquitto) -> AsyncIterator[Stage]:
    """The same on a router that lets everything pass."""
    town = Town(world)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.open(Liar))
        yield Stage(House(town, stack), mosquitto, stack)
