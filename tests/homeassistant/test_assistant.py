"""The bridge between a home and a stock Home Assistant, over a real router, real devices and a real Mosquitto."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from devices.device import PRESENCE_SIGNAL
from devices.homeassistant.board import read_account, withdraw
from devices.homeassistant.bridge import COMMAND_LASTS
from devices.homeassistant.discovery import Layout, Named
from devices.homeassistant.faces import MOTION_LASTS
from tests.bus.town import until
from tests.devices.house import House
from tests.homeassistant.own_broker import Cable, Mosquitto
from tests.homeassistant.stage import Stage
from tests.homeassistant.stock import Stock, stock
from wave.bus.mqtt_line import Account, Broker
from wave.codec import id_text
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.errors import BadSetting, SecretFileMode
from wave.limits import LIMITS
from wave.namespace.condition import Condition

LIGHT = Named("light", "light0")
SWITCH = Named("switch", "switch0")
THERMOSTAT = Named("thermostat", "thermostat0")
NOTIFIER = Named("notifier", "notifier0")
DOOR = Named("motion", "door")
LIGHT_SLOT = "s.light/light0/i.boolean/slot/state"
PACKAGE = "s.motion/door/i.motion/slot/package"
REFUSAL = "sensor.bridge_last_refusal"


async def standing(stage: Stage, *devices: Named) -> Any:
    """Run these devices, and return the first."""
    running = [await stage.house.device(one.kind, one.instance) for one in devices]
    return running[0]


def of_bridge(house: House, device: str) -> list[tuple[str, str]]:
    """Return what a device has noted of the bridge: code and deed."""
    return [(one.code, one.did) for one in house.log if one.device == device and one.name == "bridge"]


# Round trips --------------------------------------------------------------------------------------------------------


async def test_a_light_is_switched_and_dimmed(stage: Stage, assistant: Stock) -> None:
    light = await standing(stage, LIGHT)
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state="off", brightness=None)

    await assistant.turn_on("light.light0")
    await assistant.sees("light.light0", state="on", brightness=255)
    await assistant.turn_on("light.light0", brightness=128)
    await assistant.sees("light.light0", state="on", brightness=128)
    assert (light.state.on, light.state.brightness) == (True, 50)
    await assistant.turn_off("light.light0")
    await assistant.sees("light.light0", state="off", brightness=None)
    assert not light.state.on
    assert of_bridge(stage.house, "light0") == [("ok", "on"), ("ok", "brightness 50"), ("ok", "off")]


async def test_what_others_do_is_shown_too(stage: Stage, assistant: Stock) -> None:
    await standing(stage, LIGHT)
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    stage.town.give("home", "alice", f"publish@home/{LIGHT_SLOT}")
    await assistant.sees("light.light0", state="off")
    await stage.house.send("alice", LIGHT_SLOT, b'"on"')
    await assistant.sees("light.light0", state="on")


async def test_both_set_points_come_as_one_command(stage: Stage, assistant: Stock) -> None:
    """Home Assistant says them in two messages, of which the first alone would put heating above cooling."""
    thermostat = await standing(stage, THERMOSTAT)
    stage.allow(THERMOSTAT)
    await stage.bridge(THERMOSTAT)
    climate = await assistant.sees("climate.thermostat0", available=True)
    await until(lambda: climate.values.get("temperature_low_state_topic") == "70.0")
    assert climate.values["mode_state_topic"] in climate.config["modes"]
    assert climate.values["action_topic"] in {"off", "heating", "cooling", "drying", "idle", "fan"}
    assert float(climate.values["current_temperature_topic"]) == pytest.approx(72, abs=2)
    await assistant.sees("binary_sensor.thermostat0_occupancy", available=True, state="on")

    await assistant.set_temperature("climate.thermostat0", low=75.5, high=78.0)
    await until(lambda: climate.values["temperature_low_state_topic"] == "75.5")
    await until(lambda: climate.values["temperature_high_state_topic"] == "78.0")
    assert (thermostat.state.hsp, thermostat.state.csp) == (75.5, 78.0)
    assert of_bridge(stage.house, "thermostat0") == [("ok", "csp 78.0, hsp 75.5")]
    await assistant.command("climate.thermostat0", "temperature_low_command_topic", "74.0")
    await until(lambda: climate.values["temperature_low_state_topic"] == "74.0")


async def test_a_switch_a_note_and_a_package(stage: Stage, assistant: Stock) -> None:
    switch = await standing(stage, SWITCH, NOTIFIER, DOOR)
    stage.allow(SWITCH, NOTIFIER, DOOR)
    await stage.bridge(SWITCH, NOTIFIER, DOOR)
    await assistant.sees("switch.switch0", available=True, state="off")
    await assistant.turn_on("switch.switch0")
    await assistant.sees("switch.switch0", state="on")
    assert switch.state is True
    await assistant.turn_off("switch.switch0")
    await assistant.sees("switch.switch0", state="off")

    await assistant.sees("notify.notifier0", available=True)
    await assistant.send_message("notify.notifier0", "the door\nis open")
    await assistant.sees("sensor.notifier0_newest_note", state="the door is open")
    assert [did for _, did in of_bridge(stage.house, "notifier0")] == ["note 'the door\\nis open'"]

    await assistant.sees("binary_sensor.door", available=True, state="off")
    stage.town.give("home", "courier", f"publish@home/{PACKAGE}")
    await stage.house.send("courier", PACKAGE, b'{"package": "delivered"}')
    await assistant.sees("binary_sensor.door", state="on")
    stage.town.world.pass_time(int(MOTION_LASTS) + 1)
    await assistant.sees("binary_sensor.door", state="off")


async def test_the_home_may_be_on_the_same_broker(stage: Stage, assistant: Stock) -> None:
    """Signed messages on topics of the home, and Home Assistant's beside them."""
    stage.town.url = stage.mosquitto.url
    light = await standing(stage, LIGHT)
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state="off")
    await assistant.turn_on("light.light0", brightness=128)
    await assistant.sees("light.light0", state="on", brightness=128)
    assert light.state.brightness == 50


# Rights -------------------------------------------------------------------------------------------------------------


async def test_a_command_beyond_the_bridges_right_changes_nothing_and_is_told(stage: Stage, assistant: Stock) -> None:
    """The owner gave the set points from 66 to 74 and of the lights one; Home Assistant's picture stays true."""
    thermostat = await standing(stage, THERMOSTAT, LIGHT)
    await stage.house.device("light", "bedroom")
    other = Named("light", "bedroom")
    stage.allow(LIGHT)
    for device in (THERMOSTAT, other):
        stage.town.give("home", "bridge", f"subscribe,query@home/{device.path}/+/signal/+")
    bounds = Condition("value", ("set_point", "66", "74"))
    stage.town.give("home", "bridge", "publish@home/s.thermostat/thermostat0/+/slot/+", conditions=(bounds,))
    bridge = await stage.bridge(THERMOSTAT, LIGHT, other)
    climate = await assistant.sees("climate.thermostat0", available=True)
    await until(lambda: "temperature_high_state_topic" in climate.values)

    climate.came.clear()
    await assistant.set_temperature("climate.thermostat0", low=70.0, high=80.0)
    refusal = await assistant.sees(REFUSAL, available=True)
    await until(lambda: "thermostat0" in str(refusal.state))
    assert refusal.attributes["code"] == "proof.none"
    assert refusal.attributes["decision"] or refusal.attributes["hint"]
    await until(lambda: ("temperature_high_state_topic", "73.0") in climate.came)
    assert (thermostat.state.hsp, thermostat.state.csp) == (70.0, 73.0)
    await stage.told(code="proof.none", device="thermostat0")

    await assistant.set_temperature("climate.thermostat0", low=67.0, high=73.5)
    await until(lambda: climate.values["temperature_high_state_topic"] == "73.5")

    dark = await assistant.sees("light.bedroom", available=True, state="off")
    dark.came.clear()
    await assistant.turn_on("light.bedroom")
    await until(lambda: str(refusal.state).startswith("bedroom: "))
    await until(lambda: bool(dark.came))
    assert dark.state == "off"
    assert of_bridge(stage.house, "bedroom") == []
    assert of_bridge(stage.house, "thermostat0") == [("ok", "csp 73.5, hsp 67.0")]
    assert bridge.ready.is_set()


async def test_what_the_device_itself_refuses_is_told(stage: Stage, assistant: Stock) -> None:
    """A right to set, and a set point that makes no sense: the device says so on its own signal."""
    thermostat = await standing(stage, THERMOSTAT)
    stage.allow(THERMOSTAT)
    await stage.bridge(THERMOSTAT)
    climate = await assistant.sees("climate.thermostat0", available=True)
    await assistant.command("climate.thermostat0", "temperature_low_command_topic", "90.0")
    refusal = await assistant.sees(REFUSAL)
    await until(lambda: "may not be above" in str(refusal.state))
    assert refusal.attributes["code"] == "payload.bad"
    assert (thermostat.state.hsp, climate.values["temperature_low_state_topic"]) == (70.0, "70.0")


async def test_a_revoked_right_to_command_ends_it_and_nothing_else(stage: Stage, assistant: Stock) -> None:
    light = await standing(stage, LIGHT)
    _, switching, _ = stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state="off")
    await assistant.turn_on("light.light0")
    await assistant.sees("light.light0", state="on")

    stage.town.world.revoke(switching)
    await assistant.turn_off("light.light0")
    refusal = await assistant.sees(REFUSAL)
    await until(lambda: str(refusal.state).startswith("light0: "))
    assert refusal.attributes["code"] in {"dot.revoked", "proof.none"}
    assert light.state.on
    shown = await assistant.sees("light.light0", available=True, state="on")
    await assistant.turn_on("light.light0", brightness=51)
    await until(lambda: shown.brightness == 51)
    assert light.state.brightness == 20


async def test_a_revoked_right_to_read_makes_the_device_unavailable(stage: Stage, assistant: Stock) -> None:
    """What the bridge may not hear it does not show; given again, it shows the device as it is by then."""
    await standing(stage, LIGHT)
    reading, _, _ = stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state="off")
    stage.town.world.revoke(reading)
    await assistant.sees("light.light0", available=False)
    stage.town.give("home", "alice", f"publish@home/{LIGHT_SLOT}")
    await stage.house.send("alice", LIGHT_SLOT, b'"on"')
    await stage.house.entry("light0", did="on")
    assert assistant.entities["light.light0"].state == "off"
    stage.allow(LIGHT, comment="given again")
    await assistant.sees("light.light0", available=True, state="on")


async def test_nobody_on_the_broker_acts_with_another_right(stage: Stage, assistant: Stock) -> None:
    """Whatever is written wherever: devices hear from the bridge what its grants cover, and from nobody else."""
    await standing(stage, LIGHT, DOOR)
    await stage.house.device("light", "bedroom")
    stage.allow(LIGHT, DOOR)
    bridge = await stage.bridge(LIGHT, DOOR)
    await assistant.sees("light.light0", available=True)
    layout = bridge.layout
    own, door = layout.id(LIGHT), layout.id(DOOR)
    on = b'{"state":"ON"}'
    tries = [
        (f"{layout.base}/{layout.id(Named('light', 'bedroom'))}/light/set", on),
        (f"{layout.base}/{own}/../light/set", on),
        (f"{layout.base}/{own}/package/set", b'{"package": "delivered"}'),
        (f"{layout.base}/{door}/motion/set", b"ON"),
        (f"{layout.base}/{door}/package/set", b'{"package": "delivered"}'),
        (f"{layout.base}/s.light%2Fbedroom/light/set", on),
        (f"wave/{id_text(stage.house.home)}/{own}/light/set", on),
        (f"{layout.base}/{own}/light", on),
        (layout.config(own), layout.announcement(Named("light", "bedroom")).encode()),
        (f"{id_text(stage.house.home)}/s.light/bedroom/i.boolean/slot/state", b'"on"'),
        (LIGHT_SLOT, b'"on"'),
    ]
    async with aiomqtt.Client("127.0.0.1", stage.mosquitto.port) as stranger:
        for topic, payload in tries:
            await stranger.publish(topic, payload, qos=1)
        await stranger.publish(f"{layout.base}/{own}/light/set", on, qos=1)
    await stage.house.entry("light0", did="on")
    await asyncio.sleep(0.2)
    senders = {one.who for one in stage.house.log if one.what == "publish"}
    assert senders == {id_text(stage.town.world.id("bridge"))}
    assert [(one.device, one.did) for one in stage.house.log if one.allowed] == [("light0", "on")]


async def test_a_state_that_the_device_did_not_say_is_not_shown(lied_to: Stage, assistant: Stock) -> None:
    """The router lets everything pass, and somebody borrows the light's own proof."""
    await standing(lied_to, LIGHT)
    lied_to.allow(LIGHT)
    await lied_to.bridge(LIGHT)
    town = lied_to.town
    town.give("home", "alice", f"publish@home/{LIGHT_SLOT}")
    await lied_to.house.send("alice", LIGHT_SLOT, b'"on"')
    await assistant.sees("light.light0", state="on")
    said = f"{LIGHT.path}/i.boolean/signal/state"

    async def borrowed(_: Request) -> tuple[Proof, int]:
        return await town.prove(town.world.request("light0", f"publish@home/{said}"))

    await lied_to.house.send("mallory", said, b'{"state":"off","brightness":0}', proofs=borrowed)
    await lied_to.told(code="message.wrong_sender", device="bridge")
    assert assistant.entities["light.light0"].state == "on"


# Losses and restarts ------------------------------------------------------------------------------------------------


async def test_after_the_broker_was_away_everything_is_announced_again(stage: Stage) -> None:
    """The broker forgets all; what changed meanwhile is shown as it is by then."""
    await standing(stage, LIGHT)
    stage.allow(LIGHT)
    stage.town.give("home", "alice", f"publish@home/{LIGHT_SLOT}")
    bridge = await stage.bridge(LIGHT)
    async with stock(stage.mosquitto) as before:
        await before.sees("light.light0", available=True, state="off")
    await stage.mosquitto.stop()
    await stage.told(code="broker.unavailable")
    await stage.house.send("alice", LIGHT_SLOT, b'"on"')
    await stage.house.entry("light0", did="on")
    await stage.mosquitto.start()
    async with stock(stage.mosquitto) as after:
        await after.sees("light.light0", available=True, state="on")
        await after.turn_off("light.light0")
        await after.sees("light.light0", state="off")
    assert bridge.ready.is_set()


async def test_home_assistant_that_starts_again_is_told_everything_again(stage: Stage, assistant: Stock) -> None:
    await standing(stage, LIGHT)
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state="off")
    announced = assistant.announced
    await assistant.come_up()
    await assistant.sees("light.light0", available=True, state="off")
    assert assistant.announced == announced + 2  # the light and the bridge


async def test_a_bridge_that_is_gone_leaves_nothing_that_looks_alive(stage: Stage, assistant: Stock) -> None:
    """Stopped in order it says so itself; cut off, the broker says it."""
    await standing(stage, LIGHT)
    stage.allow(LIGHT)
    async with AsyncExitStack() as stack:
        await Stage(stage.house, stage.mosquitto, stack).bridge(LIGHT)
        await assistant.sees("light.light0", available=True)
    await assistant.sees("light.light0", available=False)

    async with Cable(stage.mosquitto).laid() as cable:
        bridge = await stage.bridge(LIGHT, url=cable.url)
        light = await assistant.sees("light.light0", available=True)
        light.came.clear()
        cable.cut()
        await until(lambda: (bridge.layout.status, "offline") in light.came)
        await assistant.sees("light.light0", available=True)


async def test_a_command_that_was_left_on_the_broker_is_not_carried_out(stage: Stage) -> None:
    """A retained command would act again at every start of the bridge."""
    light = await standing(stage, LIGHT)
    stage.allow(LIGHT)
    layout = Layout(stage.town.world.id("bridge"), stage.house.home)
    async with aiomqtt.Client("127.0.0.1", stage.mosquitto.port) as careless:
        topic = f"{layout.topic(layout.id(LIGHT), 'light')}/set"
        await careless.publish(topic, '{"state":"ON"}', qos=1, retain=True)
    await stage.bridge(LIGHT)
    await stage.told(code="payload.bad", did="left on the broker")
    assert not light.state.on


async def test_a_command_that_waited_too_long_is_not_carried_out(stage: Stage, assistant: Stock) -> None:
    """Nobody wants the light on because of what was said before the connection was lost."""
    light = await standing(stage, LIGHT)
    stage.allow(LIGHT)
    bridge = await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state="off")
    publish, going = bridge.peer.publish, asyncio.Event()

    async def slow(*words: Any, **more: Any) -> int:
        await going.wait()
        return await publish(*words, **more)

    bridge.peer.publish = slow  # type: ignore[method-assign]
    await assistant.turn_on("light.light0")
    await assistant.turn_off("light.light0")
    await assistant.turn_on("light.light0", brightness=255)
    await until(lambda: sum(len(twin.orders) for twin in bridge._twins.values()) == 2)
    stage.town.world.pass_time(int(COMMAND_LASTS) + 1)
    going.set()
    await stage.told(code="message.stale", did="waited")
    await assistant.sees("light.light0", state="on")
    assert light.state.brightness == 100
    assert [did for _, did in of_bridge(stage.house, "light0")] == ["on"]


# What is there ------------------------------------------------------------------------------------------------------


async def test_a_device_that_stops_is_unavailable_until_it_comes_back(stage: Stage, assistant: Stock) -> None:
    stage.allow(LIGHT)
    async with AsyncExitStack() as stack:
        house = House(stage.town, stack)
        await house.device("light", "light0")
        await stage.bridge(LIGHT)
        await assistant.sees("light.light0", available=True)
    await assistant.sees("light.light0", available=False)
    await stage.house.device("light", "light0")
    await assistant.sees("light.light0", available=True)


async def test_a_device_whose_reports_stop_is_unavailable(stage: Stage, assistant: Stock) -> None:
    """A thermostat that was killed says no goodbye."""
    thermostat = await standing(stage, THERMOSTAT)
    stage.allow(THERMOSTAT)
    await stage.bridge(THERMOSTAT)
    await assistant.sees("climate.thermostat0", available=True)

    async def nothing(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0)

    thermostat._publish = nothing
    stage.town.world.pass_time(60)
    await assistant.sees("climate.thermostat0", available=False)
    await assistant.sees("binary_sensor.thermostat0_occupancy", available=False)
    del thermostat._publish
    await assistant.sees("climate.thermostat0", available=True)


async def test_a_command_for_a_device_that_is_not_there_is_told(stage: Stage, assistant: Stock) -> None:
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True, state=None)
    await assistant.turn_on("light.light0")
    await stage.told(code="unavailable", did="nobody listens", device="light0")
    await assistant.sees("light.light0", available=False)


async def test_a_device_that_left_the_plan_is_deleted(stage: Stage, assistant: Stock) -> None:
    """With everything that was kept of it; what others announced stays."""
    await standing(stage, LIGHT, SWITCH)
    stage.allow(LIGHT, SWITCH)
    foreign = "homeassistant/device/kettle/config"
    kettle = {"device": {"identifiers": ["kettle"]}, "origin": {"name": "kettle2mqtt"}, "components": {}}
    async with AsyncExitStack() as stack:
        bridge = await Stage(stage.house, stage.mosquitto, stack).bridge(LIGHT, SWITCH)
        await assistant.sees("switch.switch0", available=True, state="off")
        layout = bridge.layout
    async with aiomqtt.Client("127.0.0.1", stage.mosquitto.port) as other:
        kettle["components"] = json.loads(layout.announcement(LIGHT))["components"]
        await other.publish(foreign, json.dumps(kettle).replace("light0", "kettle"), qos=1, retain=True)
    await stage.bridge(LIGHT)
    await until(lambda: assistant.deleted == [layout.config(layout.id(SWITCH))])
    assert "switch.switch0" not in assistant.entities
    await assistant.sees("light.light0", available=True)
    kept = await retained(stage.mosquitto, without=layout.id(SWITCH))
    assert foreign in kept


async def test_announcements_that_a_stranger_forges_cost_little(stage: Stage) -> None:
    """As if this bridge had left them: they are deleted in the end, and no more are remembered than there can be."""
    layout = Layout(stage.town.world.id("bridge"), stage.house.home)
    forged = {"device": {"identifiers": ["x"], "via_device": layout.bridge_id}, "components": {}}
    async with aiomqtt.Client("127.0.0.1", stage.mosquitto.port) as stranger:
        for number in range(LIMITS.subscriptions_per_connection + 20):
            forged["device"]["identifiers"] = [f"x{number}"]
            await stranger.publish(layout.config(f"x{number}"), json.dumps(forged), qos=0, retain=True)
        big = {**forged, "device": {**forged["device"], "identifiers": ["big"]}, "pad": "x" * 10_000}
        await stranger.publish(layout.config("big"), json.dumps(big), qos=1, retain=True)
    stage.allow()
    bridge = await stage.bridge(look_every=0.05)
    await until(lambda: len(bridge._left) == LIMITS.subscriptions_per_connection)
    assert "big" not in bridge._left
    stage.town.world.pass_time(86_401)
    await until(lambda: not bridge._left)
    await retained(stage.mosquitto, without="/x0/")


async def test_devices_are_found_by_what_is_kept_and_forgotten_late(stage: Stage, assistant: Stock) -> None:
    """One that is not there for a moment is unavailable, not deleted: its owner has set up things for it."""
    await standing(stage, LIGHT, THERMOSTAT)
    stage.allow()
    found = ["s.kettle/k/i.boolean/signal/state"]

    bridge = await stage.bridge(look_every=0.05, forget=100.0)
    await assistant.sees("light.light0", available=True, state="off")
    await assistant.sees("climate.thermostat0", available=True)
    assert bridge.devices == (LIGHT, THERMOSTAT)
    await standing(stage, SWITCH)
    await assistant.sees("switch.switch0", available=True, state="off")
    await assistant.turn_on("switch.switch0")
    await assistant.sees("switch.switch0", state="on")

    async def listed(*_: Any) -> tuple[str, ...]:
        await asyncio.sleep(0)
        return tuple(found)

    bridge.peer.list = listed  # type: ignore[assignment, method-assign]
    await assistant.sees("light.light0", available=False)
    stage.town.world.pass_time(101)
    await until(lambda: len(assistant.deleted) == 3)
    await until(lambda: not bridge.devices)
    assert list(assistant.entities) == [REFUSAL]
    await retained(stage.mosquitto, without="light0")


async def test_without_the_right_to_list_nothing_is_deleted(stage: Stage, assistant: Stock) -> None:
    await standing(stage, LIGHT)
    stage.allow(LIGHT)
    async with AsyncExitStack() as stack:
        await Stage(stage.house, stage.mosquitto, stack).bridge(LIGHT)
        await assistant.sees("light.light0", available=True)
    bridge = await stage.bridge(wait=False, look_every=0.05, forget=0.0)
    await stage.told(code="proof.none", did="listed")
    light = assistant.entities["light.light0"]
    await until(lambda: light.values.get(bridge.layout.status) == "online")
    await assistant.sees("light.light0", available=False)
    assert not bridge.ready.is_set()
    assert assistant.deleted == []


async def test_a_presence_that_is_nonsense_is_told_and_the_device_unavailable(stage: Stage, assistant: Stock) -> None:
    stage.town.give("home", "light0", f"publish@home/{LIGHT.path}/+/signal/+")
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True)
    await stage.house.send("light0", f"{LIGHT.path}/{PRESENCE_SIGNAL}", b'"?"')
    await assistant.sees("light.light0", available=False)
    await stage.house.send("light0", f"{LIGHT.path}/i.boolean/signal/state", b'{"state":"mauve"}')
    await stage.told(code="payload.bad", did="light0 said what cannot be shown")


# Bad input ----------------------------------------------------------------------------------------------------------


async def test_nonsense_from_home_assistant_changes_nothing_and_is_told(stage: Stage, assistant: Stock) -> None:
    light = await standing(stage, LIGHT, THERMOSTAT, SWITCH)
    stage.allow(LIGHT, THERMOSTAT, SWITCH)
    await stage.bridge(LIGHT, THERMOSTAT, SWITCH)
    shown = await assistant.sees("light.light0", available=True, state="off")
    await assistant.sees("climate.thermostat0", available=True)
    await assistant.sees("switch.switch0", available=True)
    shown.came.clear()
    huge = "9" * (LIMITS.assistant_payload_bytes + 1)
    await assistant.command("light.light0", "command_topic", '{"state":"ON"')
    await stage.told(code="payload.bad", did="not JSON", device="light0")
    await assistant.command("light.light0", "command_topic", '{"state":"ON","brightness":NaN}')
    await stage.told(code="payload.bad", did="NaN is not a number", device="light0")
    await assistant.command("climate.thermostat0", "temperature_low_command_topic", "nan")
    await stage.told(code="payload.bad", did="plain number", device="thermostat0")
    await assistant.command("switch.switch0", "command_topic", huge)
    await stage.told(code="payload.bad", did="larger than", device="switch0")
    refusal = await assistant.sees(REFUSAL, available=True)
    await until(lambda: "larger than" in str(refusal.state))
    await until(lambda: ("state_topic", '{"state": "OFF"}') in shown.came)
    assert not light.state.on
    assert not [one for one in stage.house.log if one.name == "bridge"]


async def test_of_a_flood_of_nonsense_a_part_is_told(stage: Stage, assistant: Stock) -> None:
    light = await standing(stage, LIGHT)
    stage.allow(LIGHT)
    await stage.bridge(LIGHT)
    await assistant.sees("light.light0", available=True)
    for _ in range(200):
        await assistant.client.publish(assistant.entities["light.light0"].config["command_topic"], "?", qos=0)
    await assistant.turn_on("light.light0")
    await assistant.sees("light.light0", state="on")
    assert light.state.on
    assert 0 < len([one for one in stage.log if one.code == "payload.bad"]) <= 10


async def test_the_commands_that_wait_for_a_device_are_bounded(stage: Stage, assistant: Stock) -> None:
    """At the bound all wait; the one past it is told of."""
    await standing(stage, SWITCH)
    stage.allow(SWITCH)
    bridge = await stage.bridge(SWITCH)
    await assistant.sees("switch.switch0", available=True)
    publish, going = bridge.peer.publish, asyncio.Event()

    async def slow(*words: Any, **more: Any) -> int:
        await going.wait()
        return await publish(*words, **more)

    bridge.peer.publish = slow  # type: ignore[method-assign]
    (twin,) = bridge._twins.values()
    await assistant.turn_on("switch.switch0")
    await until(lambda: bool(twin.stirred.is_set() or not twin.orders))
    for _ in range(LIMITS.assistant_orders):
        await assistant.turn_off("switch.switch0")
    await until(lambda: len(twin.orders) == LIMITS.assistant_orders)
    assert not stage.log
    await assistant.turn_on("switch.switch0")
    await stage.told(code="payload.bad", did="too many", device="switch0")
    going.set()
    await until(lambda: len([one for one in stage.log if one.allowed]) == LIMITS.assistant_orders + 1)


# The broker's own doors ---------------------------------------------------------------------------------------------


async def test_a_broker_with_a_password(house: House, tmp_path: Path) -> None:
    """The right one, from a file; a wrong one is told of without being shown."""
    light = LIGHT
    secret = tmp_path / "credentials"
    secret.write_text("bridge\nright and long\n")
    secret.chmod(0o600)
    account = read_account(secret)
    assert account == Account("bridge", "right and long")
    assert "right" not in repr(account)
    async with Mosquitto(tmp_path, account=("bridge", "right and long")).running() as broker, AsyncExitStack() as stack:
        stage = Stage(house, broker, stack)
        await standing(stage, light)
        stage.allow(light)
        await stage.bridge(light, wait=False, account=Account("bridge", "wrong and long"))
        entry = await stage.told(code="broker.refused")
        assert "wrong" not in str(entry)
        await stage.bridge(light, account=account)
        async with stock(broker, account=("bridge", "right and long")) as home:
            await home.sees("light.light0", available=True, state="off")


def test_a_file_of_credentials_is_its_owners_alone_and_holds_two_lines(tmp_path: Path) -> None:
    secret = tmp_path / "credentials"
    secret.write_text("name\npassword\n")
    secret.chmod(0o644)
    with pytest.raises(SecretFileMode):
        read_account(secret)
    secret.chmod(0o600)
    for text in (b"name only", b"", b"\xff\xfe\n\xff"):
        secret.write_bytes(text)
        with pytest.raises(BadSetting) as caught:
            read_account(secret)
        assert "name only" not in caught.value.message


async def test_a_broker_that_does_not_let_the_bridge_announce_is_told_of(house: House, tmp_path: Path) -> None:
    """MQTT 5 says no with a reason code; the rest goes on."""
    rules = "topic read #\ntopic write wave/#\ntopic write $SYS/#\n"
    async with Mosquitto(tmp_path, rules=rules).running() as broker, AsyncExitStack() as stack:
        stage = Stage(house, broker, stack)
        await standing(stage, LIGHT)
        stage.allow(LIGHT)
        await stage.bridge(LIGHT)
        entry = await stage.told(code="broker.refused", did="homeassistant/device/")
        assert not entry.allowed


async def test_a_bridge_can_take_back_all_that_it_announced(stage: Stage, assistant: Stock) -> None:
    await standing(stage, LIGHT, SWITCH)
    stage.allow(LIGHT, SWITCH)
    async with AsyncExitStack() as stack:
        bridge = await Stage(stage.house, stage.mosquitto, stack).bridge(LIGHT, SWITCH)
        await assistant.sees("light.light0", available=True, state="off")
        await assistant.sees("switch.switch0", available=True, state="off")
    gone = await withdraw(Broker.parse(stage.mosquitto.url), None, bridge.layout)
    assert gone == tuple(sorted([bridge.layout.bridge_id, bridge.layout.id(LIGHT), bridge.layout.id(SWITCH)]))
    await until(lambda: not assistant.entities)
    assert await retained(stage.mosquitto) == set()


async def retained(broker: Mosquitto, *, without: str = "") -> set[str]:
    """Return the topics of which the broker keeps a payload, once none holds the text ``without``."""
    async with aiomqtt.Client("127.0.0.1", broker.port) as client, asyncio.timeout(5):
        while True:
            found: set[str] = set()
            await client.subscribe("#", qos=1)
            await client.publish("end", b"end", qos=1)
            async for message in client.messages:
                if str(message.topic) == "end":
                    break
                if message.retain:
                    found.add(str(message.topic))
            if not without or not [topic for topic in found if without in topic]:
                return found
