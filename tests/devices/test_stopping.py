"""A device as a daemon: its last words, another with its entity, hardware that fails, clocks that are wrong."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from devices.device import PRESENCE_SIGNAL, Device
from devices.light import Light, LightState
from devices.machine import Command
from devices.onoff import STATE_SIGNAL, STATE_SLOT
from devices.site import Site
from devices.thermostat import Thermostat
from tests.bus.liar import Liar
from tests.bus.town import until
from tests.devices.house import House
from wave.bus.reading import Reading
from wave.errors import BadSetting, EntityInUse

LIGHT = "s.light/light0"
SLOT = f"{LIGHT}/{STATE_SLOT}"
PRESENCE = f"{LIGHT}/{PRESENCE_SIGNAL}"
HOUR = 3600


async def heard(reading: Reading) -> Any:
    return json.loads((await asyncio.wait_for(anext(reading), 5)).message.payload)


def rights(house: House, name: str) -> None:
    house.town.give("home", name, f"subscribe@home/{LIGHT}/+/slot/+", f"publish@home/{LIGHT}/+/signal/+")


async def test_a_device_says_its_state_and_that_it_is_there(house: House) -> None:
    house.town.give("home", "alice", "subscribe@home/s.light/*")
    async with house.town.peer("alice") as alice:
        states = await alice.subscribe(house.home, f"{LIGHT}/{STATE_SIGNAL}")
        presence = await alice.subscribe(house.home, PRESENCE)
        light = await house.device("light", "light0")
        assert await heard(states) == {"state": "off", "brightness": 0}
        said = await heard(presence)
        assert (said["state"], said["since"]) == ("online", house.town.world.now)
        assert light.subscribed


async def test_a_device_that_stops_finishes_what_is_in_hand_and_says_that_it_is_gone(house: House) -> None:
    """What was taken is done and told, what comes later is not."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async with AsyncExitStack() as stack:
        rights(house, "light0")
        house.town.give("home", "alice", "publish,subscribe@home/s.light/*")
        alice = await stack.enter_async_context(house.town.peer("alice"))
        states = await alice.subscribe(house.home, f"{LIGHT}/{STATE_SIGNAL}")
        presence = await alice.subscribe(house.home, PRESENCE)
        secret = house.town.world.entity("light0")
        async with house.site.device("light", "light0", secret, house.home, tell=house.log.append) as light:
            await asyncio.wait_for(light.ready.wait(), 5)
            await heard(states), await heard(presence)
            known = light._names

            async def slow_names() -> dict[str, str]:
                begun.set()
                await go_on.wait()
                return await known()

            light._names = slow_names
            await alice.publish(house.home, SLOT, b'"on"')
            await asyncio.wait_for(begun.wait(), 5)
            stopping = asyncio.create_task(light.stop())
            await until(lambda: light.subscriptions == 1 and light._stopping)
            assert not stopping.done()
            assert light.state == LightState()
            go_on.set()
            await asyncio.wait_for(stopping, 5)
            assert light.state == LightState(on=True)
            assert await alice.publish(house.home, SLOT, b'"off"') == 0
        assert (await heard(states))["state"] == "on"
        assert (await heard(presence))["state"] == "offline"
        assert [one.did for one in house.log] == ["on"]


async def test_what_a_device_said_last_is_kept_when_it_is_gone(house: House) -> None:
    house.town.give("home", "alice", f"publish@home/{SLOT}", "query@home/s.light/*")
    rights(house, "light0")
    secret = house.town.world.entity("light0")
    async with house.site.device("light", "light0", secret, house.home, tell=house.log.append) as light:
        await asyncio.wait_for(light.ready.wait(), 5)
        await house.send("alice", SLOT, b'"on"')
        await until(lambda: light.state.on)
    async with house.town.peer("alice") as alice:
        kept = await alice.query(house.home, f"{LIGHT}/+/signal/+")
    said = {str(one.message.resource): json.loads(one.message.payload)["state"] for one in kept}
    assert said == {f"{LIGHT}/{STATE_SIGNAL}": "on", PRESENCE: "offline"}


async def test_stopping_without_a_router_does_not_wait_for_one(house: House) -> None:
    rights(house, "light0")
    site = house.site
    site.router = "ws://127.0.0.1:1/v1/bus"
    before = asyncio.get_running_loop().time()
    secret = house.town.world.entity("light0")
    async with site.device("light", "light0", secret, house.home, tell=house.log.append) as light:
        assert not light.subscribed
        assert light.subscriptions == 0
    assert asyncio.get_running_loop().time() - before < 2


# Two with one entity ------------------------------------------------------------------------------------------------


async def test_of_two_devices_with_one_entity_the_later_one_gives_up_and_says_so(house: House) -> None:
    house.town.give("home", "light0", f"subscribe@home/{PRESENCE}")
    first = await house.device("light", "light0")
    house.town.world.pass_time(1)
    second = await house.device("light", "light0")
    await asyncio.wait_for(second.displaced.wait(), 5)
    await until(lambda: not second._readings)
    assert first.subscribed
    assert not first.displaced.is_set()
    told = {one.did for one in house.log if one.code == EntityInUse.code}
    assert told == {
        "another device came with this one's entity, and was told so",
        "another device acts with this entity already, so this one stops",
    }
    house.town.give("home", "alice", f"publish@home/{SLOT}")
    await house.send("alice", SLOT, b'"on"')
    await until(lambda: first.state.on)
    assert not second.state.on


async def test_others_cannot_tell_a_device_that_it_is_not_wanted(house: House) -> None:
    house.town.give("home", "light0", f"subscribe@home/{PRESENCE}")
    house.town.give("home", "mallory", f"publish@home/{LIGHT}/*")
    light = await house.device("light", "light0")
    for payload in (b'{"state":"online","since":0,"run":"x"}', b"nonsense", b'{"state":"online","since":"x","run":1}'):
        await house.send("mallory", PRESENCE, payload)
    await house.send("mallory", SLOT, b'"on"')
    await until(lambda: light.state.on)
    assert not light.displaced.is_set()


async def test_on_one_machine_the_second_process_does_not_even_begin(house: House, tmp_path: Path) -> None:
    site = house.site
    site.state = tmp_path / "devices"
    secret = house.town.world.entity("light0")
    rights(house, "light0")
    async with site.device("light", "light0", secret, house.home, tell=house.log.append):
        with pytest.raises(EntityInUse):
            async with site.device("light", "light1", secret, house.home, tell=house.log.append):
                raise AssertionError
    async with site.device("light", "light0", secret, house.home, tell=house.log.append) as again:
        await asyncio.wait_for(again.ready.wait(), 5)


async def test_a_command_of_a_life_before_is_not_carried_out_again(lied_to: House, tmp_path: Path) -> None:
    """The marks in the device's state directory outlive it; without them this toggle, of this second, would pass."""
    router = lied_to.town.routers[-1]
    assert isinstance(router, Liar)
    site = lied_to.site
    site.state = tmp_path / "devices"
    secret = lied_to.town.world.entity("light0")
    rights(lied_to, "light0")
    lied_to.town.give("home", "alice", f"publish@home/{SLOT}")
    async with site.device("light", "light0", secret, lied_to.home, tell=lied_to.log.append) as light:
        await asyncio.wait_for(light.ready.wait(), 5)
        await lied_to.send("alice", SLOT, b'"toggle"')
        await until(lambda: light.state.on)
    commands = [frame for frame in router.seen if b"toggle" in frame.message]
    async with site.device("light", "light0", secret, lied_to.home, tell=lied_to.log.append) as light:
        await asyncio.wait_for(light.ready.wait(), 5)
        router.seen.append(commands[0])
        router.replay()
        await lied_to.entry("light0", code="message.before_restart")
        assert light.state == LightState()


# Hardware -----------------------------------------------------------------------------------------------------------


class Bulb(Light):
    """A light whose wire can break."""

    def __init__(self) -> None:
        self.broken = False
        self.shines: list[bool] = []

    def act(self, state: LightState) -> None:
        if self.broken:
            raise OSError("no such pin")
        self.shines.append(state.on)


async def test_hardware_follows_the_state_and_its_failure_is_told(house: House) -> None:
    bulb = Bulb()
    light = await house.device(bulb, "light0")
    house.town.give("home", "alice", f"publish@home/{SLOT}", "subscribe@home/s.light/*")
    async with house.town.peer("alice") as alice:
        denied = await alice.subscribe(house.home, f"{LIGHT}/i.device/signal/denied")
        await alice.publish(house.home, SLOT, b'"on"')
        await until(lambda: bulb.shines == [False, True])
        bulb.broken = True
        await alice.publish(house.home, SLOT, b'"off"')
        assert (await heard(denied))["code"] == "device.fault"
        assert light.state == LightState(on=True)
        bulb.broken = False
        await alice.publish(house.home, SLOT, b'"off"')
        await until(lambda: bulb.shines[-1] is False)


class Buggy(Light):
    def handle(self, state: LightState, command: Command) -> tuple[LightState, str]:
        del state, command
        raise ZeroDivisionError


async def test_a_machine_with_a_mistake_in_it_lives_on(house: House) -> None:
    light = await house.device(Buggy(), "light0")
    house.town.give("home", "alice", f"publish@home/{SLOT}")
    await house.send("alice", SLOT, b'"on"')
    entry = await house.entry("light0", code="device.fault")
    assert "ZeroDivisionError" in entry.did
    assert light.subscribed


# Clocks -------------------------------------------------------------------------------------------------------------


def with_clock_off(house: House, seconds: int) -> Site:
    site = house.site
    site.clock = lambda: house.town.world.now + seconds
    return site


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_device_whose_clock_is_an_hour_off_says_so_in_its_log(house: House, seconds: int) -> None:
    rights(house, "light0")
    secret = house.town.world.entity("light0")
    site = with_clock_off(house, seconds)
    async with site.device("light", "light0", secret, house.home, tell=house.log.append) as light:
        entry = await house.entry("light0", code="message.stale", did="the clock here says")
        assert "is the time right?" in entry.did
        assert not light.ready.is_set()


@pytest.mark.parametrize(("seconds", "words"), [(HOUR, "1 hour ahead of"), (-HOUR, "1 hour behind")])
async def test_a_sender_whose_clock_is_an_hour_off_is_told_from_a_slow_one(
    lied_to: House, seconds: int, words: str
) -> None:
    light = await lied_to.device("light", "light0")
    lied_to.town.give("home", "alice", f"publish@home/{SLOT}")
    await lied_to.send("alice", SLOT, b'"on"', clock=lambda: lied_to.town.world.now + seconds)
    entry = await lied_to.entry("light0", code="message.stale", did=words)
    assert "one of the two is wrong" in entry.did
    assert light.state == LightState()


async def test_a_sensor_that_fails_is_told_once_and_read_again(house: House) -> None:
    class Dead(Thermostat):
        fails = True

        def pass_time(self, state: Any, now: float) -> Any:
            if self.fails:
                raise OSError("no answer on the bus")
            return super().pass_time(state, now)

    sensor = Dead()
    device: Device[Any] = await house.device(sensor, "thermostat0")
    assert device._pass_time() is False
    assert device._pass_time() is False
    assert len([one for one in house.log if one.code == "device.fault"]) == 1
    sensor.fails = False
    assert device._pass_time() is True


def test_a_machine_of_ones_own_that_is_none_is_said(tmp_path: Path) -> None:
    from devices.site import machine

    path = tmp_path / "own.py"
    path.write_text("class Lamp: pass\nraise_it = 0\n")
    for kind in (f"{path}:Lamp", f"{path}:Nothing", f"{tmp_path}/no.py:Lamp", ":Lamp", "x:"):
        with pytest.raises(BadSetting):
            machine(kind)
    path.write_text("1/0\n")
    with pytest.raises(BadSetting, match="ZeroDivisionError"):
        machine(f"{path}:Lamp")
    path.write_text(
        "from devices.light import Light\nclass Lamp(Light):\n    def __init__(self): raise OSError('no pin')\n"
    )
    with pytest.raises(BadSetting, match="no pin"):
        machine(f"{path}:Lamp")
