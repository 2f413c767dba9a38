"""Devices on a real router: who may, does; who may not, changes nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from devices.controller import cloudy, mirror, occupied
from devices.light import BRIGHTNESS_SLOT, LightState
from devices.log import Entry
from devices.onoff import STATE_SIGNAL, STATE_SLOT
from devices.thermostat import SETPOINT_SLOT
from devices.thermostat import STATE_SIGNAL as CLIMATE_SIGNAL
from tests.bus.liar import Liar
from tests.bus.town import until
from tests.devices.house import House
from wave.bus.peer import Peer
from wave.bus.reading import Reading, Received
from wave.codec import id_text
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.errors import ConditionFailed, NoProof, StateUnwritable
from wave.namespace.condition import rate, where

LIGHT = "s.light/light0"
SLOT = f"{LIGHT}/{STATE_SLOT}"
SET = f"s.thermostat/thermostat0/{SETPOINT_SLOT}"
ON = b'{"state":"on"}'


async def soon(reading: Reading) -> Received:
    return await asyncio.wait_for(anext(reading), 5)


def with_proof_of(house: House, question: Request) -> Callable[[Request], Awaitable[tuple[Proof, int]]]:
    """Return a source of proofs that answers another question than the one asked."""

    async def source(_: Request) -> tuple[Proof, int]:
        return await house.town.prove(question)

    return source


async def test_a_light_obeys_whom_its_home_granted_and_says_who_it_was(house: House) -> None:
    light = await house.device("light", "light0")
    dot = house.town.give("home", "alice", f"publish@home/{SLOT}")
    await house.send("alice", SLOT, ON)
    entry = await house.entry("light0")
    assert light.state == LightState(on=True)
    assert (entry.name, entry.did, entry.allowed, entry.resource) == ("alice", "on", True, SLOT)
    assert entry.decision is not None
    assert entry.path == (id_text(dot.id),)


async def test_a_light_refuses_whom_nobody_granted_though_the_router_lets_all_pass(lied_to: House) -> None:
    light = await lied_to.device("light", "light0")
    lied_to.town.give("home", "alice", f"publish@home/{SLOT}")
    borrowed = with_proof_of(lied_to, lied_to.town.world.request("alice", f"publish@home/{SLOT}"))
    with pytest.raises(NoProof):
        await lied_to.send("mallory", SLOT, ON)
    await lied_to.send("mallory", SLOT, ON, proofs=borrowed)
    entry = await lied_to.entry("light0", code="message.wrong_sender")
    assert light.state == LightState()
    assert (entry.name, entry.allowed, entry.path) == ("mallory", False, ())
    assert entry.decision is not None


async def test_the_refused_can_hear_that_they_were(lied_to: House) -> None:
    await lied_to.device("light", "light0")
    lied_to.town.give("home", "alice", f"publish@home/{SLOT}", "subscribe@home/s.light/*")
    async with lied_to.town.peer("alice") as alice:
        reading = await alice.subscribe(lied_to.home, f"{LIGHT}/i.device/signal/denied")
        await alice.publish(lied_to.home, SLOT, b'{"state":"purple"}')
        said = json.loads((await soon(reading)).message.payload)
    assert said["code"] == "payload.bad"
    assert said["decision"] == (await lied_to.entry("light0", code="payload.bad")).decision


async def test_what_cannot_be_written_down_is_not_done(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its log on a full disk a device changes nothing and says so; with room again it obeys."""
    light = await house.device("light", "light0")
    house.town.give("home", "alice", f"publish@home/{SLOT}", "subscribe@home/s.light/*")

    def full(_: Entry) -> None:
        raise StateUnwritable("no space left on the device")

    async with house.town.peer("alice") as alice:
        reading = await alice.subscribe(house.home, f"{LIGHT}/i.device/signal/denied")
        with monkeypatch.context() as disk:
            disk.setattr(light, "_tell", full)
            await alice.publish(house.home, SLOT, ON)
            said = json.loads((await soon(reading)).message.payload)
        assert said["code"] == "state.unwritable"
        assert light.state == LightState()
        await alice.publish(house.home, SLOT, ON)
        assert (await house.entry("light0")).did == "on"
        assert light.state == LightState(on=True)


async def test_another_device_of_the_same_home_stays_refused(house: House) -> None:
    """SCENARIOS B6."""
    await house.device("light", "light1")
    house.town.give("home", "alice", f"publish@home/{SLOT}")
    with pytest.raises(NoProof):
        await house.send("alice", f"s.light/light1/{STATE_SLOT}", ON)


@pytest.mark.parametrize(
    "payload",
    [b"", b"nonsense", b'"purple"', b"1", b"null", b"[]", b"{}", b'{"state":1}', b'{"state":"on","state":"off"}',
     b'{"state":"on","x":1}', b"\xff\xfe", b'{"state":["on"]}'],
)  # fmt: skip
async def test_a_bad_payload_leaves_the_state_as_it_was(house: House, payload: bytes) -> None:
    light = await house.device("light", "light0")
    house.town.give("home", "alice", f"publish@home/{LIGHT}/*")
    await house.send("alice", SLOT, ON)
    await house.entry("light0")
    await house.send("alice", SLOT, payload)
    entry = await house.entry("light0", code="payload.bad")
    assert light.state == LightState(on=True)
    assert entry.decision is not None


async def test_a_payload_of_another_type_or_for_no_slot_is_bad(house: House) -> None:
    light = await house.device("light", "light0")
    house.town.give("home", "alice", f"publish@home/{LIGHT}/*")
    async with house.town.peer("alice") as alice:
        await alice.publish(house.home, SLOT, ON, content_type="text/plain")
        await house.entry("light0", code="payload.bad", did="text/plain")
        await alice.publish(house.home, f"{LIGHT}/i.boolean/slot/colour", ON)
        await house.entry("light0", code="payload.bad", did="i.boolean/slot/colour")
    assert light.state == LightState()


async def test_who_may_switch_need_not_be_allowed_to_dim(house: House) -> None:
    light = await house.device("light", "light0")
    house.town.give("home", "alice", f"publish@home/{SLOT}")
    with pytest.raises(NoProof):
        await house.send("alice", f"{LIGHT}/{BRIGHTNESS_SLOT}", b'{"brightness":10}')
    await house.send("alice", SLOT, b'{"state":"on","brightness":10}')
    await house.entry("light0", code="payload.bad")
    assert light.state == LightState()


# Bounds on values: a guest's set point ------------------------------------------------------------------------------


async def guest(house: House) -> Any:
    house.town.give("home", "guest", f"publish@home/{SET}", conditions=(where("set_point 66..74"),))
    return await house.device("thermostat", "thermostat0")


async def test_a_guest_sets_what_the_grant_allows(house: House) -> None:
    thermostat = await guest(house)
    await house.send("guest", SET, b'{"hsp":66,"csp":74}')
    await house.entry("thermostat0", did="hsp 66")
    assert (thermostat.state.hsp, thermostat.state.csp) == (66.0, 74.0)


@pytest.mark.parametrize("payload", [b'{"csp":80}', b'{"hsp":70,"csp":80}', b'{"hsp":60}', b'{"hsp":66,"csp":74.1}'])
async def test_a_guest_cannot_set_80(house: House, payload: bytes) -> None:
    """The sender's own agent finds no proof; the router refuses a proof of the right without the value."""
    thermostat = await guest(house)
    allowed = house.town.world.request("guest", f"publish@home/{SET}", context={"set_point": 70})
    with pytest.raises(NoProof):
        await house.send("guest", SET, payload)
    with pytest.raises(ConditionFailed):
        await house.send("guest", SET, payload, proofs=with_proof_of(house, allowed))
    assert (thermostat.state.hsp, thermostat.state.csp) == (70.0, 73.0)


async def test_a_thermostat_refuses_80_itself(lied_to: House) -> None:
    thermostat = await guest(lied_to)
    allowed = lied_to.town.world.request("guest", f"publish@home/{SET}", context={"set_point": 70})
    await lied_to.send("guest", SET, b'{"hsp":70,"csp":80}', proofs=with_proof_of(lied_to, allowed))
    entry = await lied_to.entry("thermostat0", code="condition.failed")
    assert "80" in entry.did
    assert (thermostat.state.hsp, thermostat.state.csp) == (70.0, 73.0)


async def test_a_device_counts_rates_itself(lied_to: House) -> None:
    light = await lied_to.device("light", "light0")
    lied_to.town.give("home", "alice", f"publish@home/{SLOT}", conditions=(rate("2/60s"),))
    for _ in range(3):
        await lied_to.send("alice", SLOT, b'"toggle"')
    await lied_to.entry("light0", code="condition.rate")
    assert light.state.on is False


async def test_a_replayed_toggle_toggles_once(lied_to: House) -> None:
    router = lied_to.town.routers[-1]
    assert isinstance(router, Liar)
    light = await lied_to.device("light", "light0")
    lied_to.town.give("home", "alice", f"publish@home/{SLOT}")
    await lied_to.send("alice", SLOT, b'"toggle"')
    await lied_to.entry("light0")
    commands = [frame for frame in router.seen if b"toggle" in frame.message]
    router.seen.append(commands[0])
    router.replay()
    await lied_to.entry("light0", code="message.replayed")
    assert light.state.on is True


# Reports and controllers --------------------------------------------------------------------------------------------


async def test_a_device_tells_of_commands_that_it_lost(house: House) -> None:
    light = await house.device("light", "light0")
    house.town.give("home", "alice", f"publish@home/{SLOT}")
    assert isinstance(light.peer, Peer)
    light.peer.dropped = 3
    await house.send("alice", SLOT, ON)
    await house.entry("light0", code="router.unavailable", did="3 messages")


async def test_a_device_reports_what_changed(house: House) -> None:
    await house.device("light", "light0")
    house.town.give("home", "alice", "publish,subscribe@home/s.light/*")
    async with house.town.peer("alice") as alice:
        reading = await alice.subscribe(house.home, f"{LIGHT}/+/signal/+")
        await alice.publish(house.home, f"{LIGHT}/{BRIGHTNESS_SLOT}", b'{"brightness":40}')
        received = await soon(reading)
    assert json.loads(received.message.payload) == {"state": "on", "brightness": 40}
    assert received.message.sender == house.town.world.id("light0")


async def test_a_device_answers_to_its_second_spelling(house: House) -> None:
    """SCENARIOS, resource convention: the 2018 spelling."""
    light = await house.device("light", "light0", also="smarthome/light")
    house.town.give("home", "alice", "publish,subscribe@home/smarthome/*")
    async with house.town.peer("alice") as alice:
        reading = await alice.subscribe(house.home, "smarthome/light/report")
        await alice.publish(house.home, "smarthome/light/control", ON)
        assert json.loads((await soon(reading)).message.payload)["state"] == "on"
    assert light.state.on


async def test_a_controller_mirrors_a_switch_to_a_light(house: House) -> None:
    """SCENARIOS A5: neither knows of the other."""
    light = await house.device("light", "light0")
    await house.device("switch", "switch0")
    switch = "s.switch/switch0"
    await house.controller("controller0", mirror, SLOT, switch=f"{switch}/{STATE_SIGNAL}")
    house.town.give("home", "finger", f"publish@home/{switch}/{STATE_SLOT}")
    async with house.town.peer("finger") as finger:
        for word, state in (("on", True), ("toggle", False), ("toggle", True)):
            await finger.publish(house.home, f"{switch}/{STATE_SLOT}", json.dumps(word).encode())
            await until(lambda state=state: light.state.on is state)  # type: ignore[misc]
    assert (await house.entry("light0")).name == "controller0"


async def test_a_revoked_controllers_next_message_is_refused(house: House) -> None:
    """SCENARIOS B5."""
    light = await house.device("light", "light0")
    await house.device("switch", "switch0")
    given = house.town.give("home", "controller0", f"publish@home/{SLOT}")
    switch = "s.switch/switch0"
    house.town.give("home", "controller0", f"subscribe@home/{switch}/{STATE_SIGNAL}")
    controller = await house.controller("watcher", mirror, SLOT, switch=f"{switch}/{STATE_SIGNAL}")
    dots = [dot for dot in house.town.graph.dots(house.home) if dot.receiver == controller.peer.secret.id]
    house.town.give("home", "finger", f"publish@home/{switch}/{STATE_SLOT}")
    await house.send("finger", f"{switch}/{STATE_SLOT}", b'"on"')
    await until(lambda: light.state.on)
    for dot in [*dots, given]:
        house.town.world.revoke(dot)
    await house.send("finger", f"{switch}/{STATE_SLOT}", b'"off"')
    await house.entry("watcher", code="dot.revoked")
    assert light.state.on


async def test_the_light_is_on_exactly_while_somebody_is_in(house: House) -> None:
    """SCENARIOS A7."""
    house.town.world.now -= house.town.world.now % 20
    light = await house.device("light", "light0")
    thermostat = await house.device("thermostat", "thermostat0")
    await house.controller("watcher", occupied, SLOT, climate=f"s.thermostat/thermostat0/{CLIMATE_SIGNAL}")
    for second in (0, 5, 12, 19, 20, 31):
        house.town.world.now += second - house.town.world.now % 40
        thermostat.state = thermostat.machine.pass_time(thermostat.state, house.town.clock())
        await thermostat.report(everything=True)
        await until(lambda second=second: light.state.on is (second % 20 < 10))  # type: ignore[misc]


async def test_the_light_is_on_if_and_only_if_it_is_cloudy_or_the_switch_is_on(house: House) -> None:
    """SCENARIOS B3: decided again on every message from either."""
    light = await house.device("light", "light0")
    await house.controller("service", cloudy, SLOT, clouds="feed/clouds", switch="feed/switch")
    house.town.give("home", "feed", "publish@home/feed/*")
    said = 0
    async with house.town.peer("feed") as feed:
        for name, payload, state in (
            ("clouds", b'{"cover":71}', True),
            ("switch", b'{"state":"off"}', True),
            ("clouds", b'{"cover":70}', False),
            ("switch", b'{"state":"on"}', True),
            ("clouds", b'{"cover":12.5}', True),
            ("switch", b'{"state":"off"}', False),
        ):
            await feed.publish(house.home, f"feed/{name}", payload)
            said += 1
            await until(lambda: sum(one.device == "light0" and one.allowed for one in house.log) == said)  # noqa: B023
            assert light.state.on is state
        await feed.publish(house.home, "feed/clouds", b'{"cover":"all"}')
        await house.entry("service", code="payload.bad")
        assert light.state.on is False
