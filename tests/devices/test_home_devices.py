"""Devices on a real router: who may, does; who may not, changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from devices.device import Device
from devices.light import Light, LightState
from devices.log import Entry
from devices.machine import Machine
from tests.bus.town import Town
from tests.world import World
from wave.codec import id_text

LIGHT = "s.light/light0"
STATE = f"{LIGHT}/i.boolean/slot/state"


class House:
    """A town with devices in it, and what their logs say."""

    def __init__(self, town: Town, stack: AsyncExitStack) -> None:
        self.town = town
        self.home = town.world.id("home")
        self.log: list[Entry] = []
        self._stack = stack

    async def names(self) -> dict[str, str]:
        return {id_text(one): self.town.world.name(one) for one in self.town.world.records}

    async def device(self, machine: Machine[Any], instance: str, **more: Any) -> Device[Any]:
        """Return a device that runs, with the rights to its own resources."""
        path = f"{machine.service}/{instance}"
        self.town.give("home", instance, f"subscribe@home/{path}/+/slot/+", f"publish@home/{path}/+/signal/+")
        peer = await self._stack.enter_async_context(self.town.peer(instance))
        device = Device(
            machine, instance, peer, self.home, clock=self.town.clock, tell=self.log.append, names=self.names, **more
        )
        task = asyncio.create_task(device.run())

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(stop)
        await asyncio.wait_for(device.ready.wait(), 5)
        return device

    async def entry(self, number: int = 1) -> Entry:
        """Return the log's entry of that number, waiting for it."""
        await until(lambda: len(self.log) >= number)
        return self.log[number - 1]


async def until(holds: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture
async def house(world: World) -> AsyncIterator[House]:
    town = Town(world)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.open())
        yield House(town, stack)


async def test_a_light_obeys_whom_its_home_granted_and_says_who_it_was(house: House) -> None:
    light = await house.device(Light(), "light0")
    house.town.give("home", "alice", f"publish@home/{STATE}")
    async with house.town.peer("alice") as alice:
        await alice.publish(house.home, STATE, b'{"state":"on"}')
        entry = await house.entry()
    assert light.state == LightState(on=True)
    assert (entry.name, entry.did, entry.code, entry.allowed) == ("alice", "on", "ok", True)
    assert entry.decision is not None
