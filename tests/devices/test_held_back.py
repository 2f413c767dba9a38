"""A router that shows old words as kept ones moves no device and no controller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from devices.controller import mirror
from devices.device import PRESENCE_SIGNAL, Speaker
from devices.light import LightState
from devices.onoff import STATE_SIGNAL, STATE_SLOT
from tests.bus.test_missed import Holder
from tests.bus.town import Town, until
from tests.devices.house import House
from tests.world import DAY, World
from wave.bus.message import Accepted
from wave.bus.values import read_json
from wave.limits import LIMITS

SLOT = f"s.light/light0/{STATE_SLOT}"
PRESENCE = f"s.light/light0/{PRESENCE_SIGNAL}"
SWITCH = f"s.switch/switch0/{STATE_SIGNAL}"


class Street:
    """A house on a router that holds back and shows what it likes."""

    def __init__(self, house: House, router: Holder) -> None:
        self.house = house
        self.town = house.town
        self.router = router

    def said(self, resource: str) -> list[bytes]:
        """What was published at a resource."""
        return [one.message for one in self.router.seen if str(one.resource) == resource]

    def done(self) -> list[str]:
        """What the light did."""
        return [one.did for one in self.house.log if one.device == "light0" and one.allowed]

    async def end_readings(self, actor: Speaker) -> None:
        """End all readings, and wait until an actor has subscribed anew."""
        before = set(actor._readings)
        self.router.end_readings()
        await until(lambda: actor.subscribed and not before & set(actor._readings))

    async def kept(self, resource: str) -> Accepted:
        """Return the last value at a resource, checked, as one that was kept."""
        self.town.give("home", "reader", f"query,subscribe@home/{resource}")
        async with self.town.peer("reader") as reader:
            reading = await reader.subscribe(self.town.home, resource, since=1)
            self.router.show(self.said(resource)[-1])
            return await asyncio.wait_for(anext(reading), 5)


@pytest.fixture
async def street(world: World) -> AsyncIterator[Street]:
    town = Town(world)
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(town.open(Holder))
        assert isinstance(router, Holder)
        town.give("home", "alice", f"publish@home/{SLOT}", f"publish@home/{SWITCH}")
        yield Street(House(town, stack), router)


async def test_a_command_of_long_ago_is_not_obeyed_again(street: Street) -> None:
    """Neither in the reading in which it came, nor in those that follow when the router ends that one."""
    light = await street.house.device("light", "light0")
    async with street.town.peer("alice") as alice:
        await alice.publish(street.town.home, SLOT, b'"on"', persist=True)
        await until(lambda: light.state.on)
        (on,) = street.said(SLOT)
        await alice.publish(street.town.home, SLOT, b'"off"')
        await until(lambda: not light.state.on)
        street.town.world.pass_time(5 * DAY)
        street.router.show(on)
        await street.house.entry("light0", code="message.replayed")
        await street.end_readings(light)
        street.router.show(on)
        await alice.publish(street.town.home, SLOT, b'"toggle"')
        await until(lambda: light.state.on)
    assert street.done() == ["on", "off", "on"]


async def test_a_command_that_was_held_back_too_long_is_refused_though_it_is_shown_as_kept(street: Street) -> None:
    light = await street.house.device("light", "light0")
    street.router.holds = True
    async with street.town.peer("alice") as alice:
        await alice.publish(street.town.home, SLOT, b'"on"', persist=True)
        street.router.holds = False
        street.town.world.pass_time(LIMITS.message_lifetime + 1)
        street.router.show(street.said(SLOT)[-1])
        await street.house.entry("light0", code="message.stale")
        assert light.state == LightState()


async def test_a_command_that_came_while_the_connection_was_lost_is_obeyed_once(street: Street) -> None:
    light = await street.house.device("light", "light0")
    street.router.holds = True
    async with street.town.peer("alice") as alice:
        await alice.publish(street.town.home, SLOT, b'"toggle"', persist=True)
        street.router.holds = False
        street.town.world.pass_time(LIMITS.message_lifetime // 2)
        street.router.show(street.said(SLOT)[-1])
        await until(lambda: light.state.on)
        await street.end_readings(light)
        street.router.show(street.said(SLOT)[-1])
        await street.house.entry("light0", code="message.replayed")
        assert light.state.on


async def test_a_command_from_before_the_device_started_is_refused(street: Street) -> None:
    async with street.town.peer("alice") as alice:
        await alice.publish(street.town.home, SLOT, b'"on"', persist=True)
    kept = await street.kept(SLOT)
    street.town.world.pass_time(5)
    light = await street.house.device("light", "light0")
    await light.obey(kept)
    await street.house.entry("light0", code="message.stale", did="before the device started")
    assert light.state == LightState()


async def test_a_word_of_its_own_life_before_does_not_stop_a_device(street: Street) -> None:
    street.town.give("home", "light0", f"subscribe@home/{PRESENCE}")
    async with AsyncExitStack() as before:
        await House(street.town, before).device("light", "light0")
        await until(lambda: bool(street.said(PRESENCE)))
        kept = await street.kept(PRESENCE)
        assert read_json(kept.message.payload)["state"] == "online"
    street.town.world.pass_time(5 * DAY)
    light = await street.house.device("light", "light0")
    await until(lambda: len(light._readings) == 2)
    street.router.show(kept.message.to_bytes())
    await light._meet(kept)
    await street.house.send("alice", SLOT, b'"on"')
    await until(lambda: light.state.on)
    assert not light.displaced.is_set()


async def test_a_controller_does_not_act_on_a_report_of_long_ago(street: Street) -> None:
    async with street.town.peer("alice") as alice:
        await alice.publish(street.town.home, SWITCH, b'{"state":"on"}', persist=True)
        older = await street.kept(SWITCH)
        street.town.world.pass_time(5 * DAY)
        light = await street.house.device("light", "light0")
        controller = await street.house.controller("mirror", mirror, SLOT, switch=SWITCH)
        await controller._act("switch", older)
        for state in ("on", "off"):
            await alice.publish(street.town.home, SWITCH, b'{"state":"%s"}' % state.encode(), persist=True)
            await street.house.entry("light0", did=state)
            street.town.world.pass_time(2)
        on = street.said(SWITCH)[1]
        street.town.world.pass_time(5 * DAY)
        for _ in range(2):
            await street.end_readings(controller)
            street.router.show(on)
        await alice.publish(street.town.home, SWITCH, b'{"state":"off"}', persist=True)
        await until(lambda: street.done()[2:] != [])
        assert street.done() == ["on", "off", "off"]
        assert not light.state.on
