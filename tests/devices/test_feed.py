"""The feed of a third party, simulated or out of a file; and the rule that watches a neighbour's door."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.controller import cloudy, thief
from devices.feed import ALL, COVER_SIGNAL, PACE, STEP, Feed, FileFeed, Sky
from devices.machine import Command
from devices.motion import PACKAGE_SLOT, TRIGGERED_SIGNAL
from devices.notifier import NOTE_SLOT
from devices.onoff import STATE_SLOT
from devices.site import machine
from devices.thermostat import STATE_SIGNAL as CLIMATE_SIGNAL
from tests.bus.liar import Liar
from tests.bus.town import until
from tests.devices.house import House
from wave.errors import BadPayload, MissingFile

T = 1_800_000_000.0


def walk(seed: int, steps: int) -> list[float]:
    feed = Feed(seed)
    sky, found = feed.initial(T), []
    for step in range(steps):
        sky = feed.pass_time(sky, T + step * PACE)
        assert sky.cover is not None
        found.append(sky.cover)
    return found


@given(st.integers())
def test_a_feed_walks_slowly_and_stays_a_share(seed: int) -> None:
    covers = walk(seed, 50)
    assert all(0 <= cover <= ALL for cover in covers)
    assert all(abs(b - a) <= STEP + 0.1 for a, b in pairwise(covers))


def test_the_same_seed_is_the_same_walk_and_goes_somewhere() -> None:
    assert walk(7, 100) == walk(7, 100) != walk(8, 100)
    assert len(set(walk(7, 100))) > 50


def test_a_feed_that_slept_for_a_year_catches_up_in_bounded_time() -> None:
    feed = Feed(1)
    sky = feed.pass_time(feed.initial(T), T + 365 * 86_400)
    assert sky.at == T + 365 * 86_400
    assert feed.report(sky) == {COVER_SIGNAL: {"cover": sky.cover}}


def test_a_feed_takes_no_commands() -> None:
    with pytest.raises(BadPayload):
        Feed().handle(Sky(1.0, T), Command("i.clouds/slot/cover", {"cover": 3}, T))


def test_a_file_is_looked_at_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "cover"
    feed = machine("feed", file=path)
    assert isinstance(feed, FileFeed)
    nothing = feed.initial(T)
    assert feed.report(nothing) == {}
    with pytest.raises(MissingFile):
        feed.pass_time(nothing, T)
    for text, cover in (("71\n", 71.0), ("0", 0.0), (" 12.34 ", 12.3), ("100", 100.0)):
        path.write_text(text)
        assert feed.report(feed.pass_time(nothing, T)) == {COVER_SIGNAL: {"cover": cover}}


@pytest.mark.parametrize("text", ["", "much", "-1", "100.1", "NaN", "true", "[1]", '{"cover":1}', "1 2"])
def test_a_file_without_a_share_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cover"
    path.write_text(text)
    with pytest.raises(BadPayload):
        FileFeed(path).pass_time(Sky(None, T), T)


async def test_a_feed_drives_a_light_and_a_broken_file_is_told(house: House, tmp_path: Path) -> None:
    """SCENARIOS B3, with a feed that is a device of its own."""
    path = tmp_path / "cover"
    path.write_text("71")
    light = await house.device("light", "light0")
    slot = f"s.light/light0/{STATE_SLOT}"
    controller = await house.controller("service", cloudy, slot, clouds=f"s.feed/sky/{COVER_SIGNAL}")
    feed = await house.device(FileFeed(path), "sky")
    await until(lambda: light.state.on)
    assert controller.subscribed
    path.write_text("garbled")
    assert feed._pass_time() is False
    assert (await house.entry("sky", code="payload.bad")).did.endswith("does not hold a number from 0 to 100")
    assert feed.state.cover == 71.0
    path.write_text("70")
    assert feed._pass_time() is True
    await feed.report()
    await until(lambda: not light.state.on)


# The package thief --------------------------------------------------------------------------------------------------


MOTION = {"triggered": True, "count": 1, "time": 5}


def test_motion_while_nobody_is_in_is_worth_a_note() -> None:
    assert "text" in thief({"home": {"occupied": False}, "motion": MOTION})


@pytest.mark.parametrize(
    "heard",
    [
        {"motion": MOTION},
        {"home": {"occupied": True}, "motion": MOTION},
        {"home": {}, "motion": MOTION},
        {"home": "away", "motion": MOTION},
        {"motion": MOTION, "home": {"occupied": False}},
    ],
)
def test_anything_less_than_motion_at_an_empty_home_is_worth_none(heard: dict[str, Any]) -> None:
    assert thief(heard) is None


@pytest.mark.parametrize("motion", [None, "x", {}, {"triggered": False}, {"triggered": "yes"}])
def test_a_report_of_no_motion_makes_no_sense(motion: Any) -> None:
    with pytest.raises(BadPayload):
        thief({"home": {"occupied": False}, "motion": motion})


async def at_the_door(house: House) -> tuple[Any, Any]:
    """Return the neighbour's thermostat and one's own box, with a controller between door and box."""
    box = await house.device("notifier", "box0")
    thermostat = await house.device("thermostat", "thermostat0")
    await house.device("motion", "door0")
    await house.controller(
        "watcher",
        thief,
        f"s.notifier/box0/{NOTE_SLOT}",
        home=f"s.thermostat/thermostat0/{CLIMATE_SIGNAL}",
        motion=f"s.motion/door0/{TRIGGERED_SIGNAL}",
    )
    house.town.give("home", "courier", f"publish@home/s.motion/door0/{PACKAGE_SLOT}")
    return thermostat, box


async def someone_in(house: House, thermostat: Any, *, there: bool) -> None:
    """Have the thermostat say whether somebody is in, and the watcher hear of it."""
    house.town.world.now += 20 - house.town.world.now % 20 + (0 if there else 10)
    thermostat.state = thermostat.machine.pass_time(thermostat.state, house.town.clock())
    assert thermostat.state.occupied is there
    await thermostat.report(everything=True)


async def test_a_thief_at_an_empty_home_leaves_one_note(house: House) -> None:
    """SCENARIOS B4."""
    thermostat, box = await at_the_door(house)
    slot = f"s.motion/door0/{PACKAGE_SLOT}"
    delivered = json.dumps({"package": "delivered"}).encode()
    await someone_in(house, thermostat, there=True)
    await house.send("courier", slot, delivered)
    await house.entry("door0")
    await someone_in(house, thermostat, there=False)
    await someone_in(house, thermostat, there=False)
    assert box.state == ()
    await house.send("courier", slot, delivered)
    await until(lambda: len(box.state) == 1)
    await someone_in(house, thermostat, there=False)
    await someone_in(house, thermostat, there=True)
    await house.send("courier", slot, delivered)
    await until(lambda: sum(one.device == "door0" for one in house.log) == 3)
    assert len(box.state) == 1


async def test_a_forged_report_of_motion_leaves_none(lied_to: House) -> None:
    """SCENARIOS B4: the router lets it pass, and the watcher does not believe it."""
    thermostat, box = await at_the_door(lied_to)
    assert isinstance(lied_to.town.routers[-1], Liar)
    await someone_in(lied_to, thermostat, there=False)
    signal = f"s.motion/door0/{TRIGGERED_SIGNAL}"
    borrowed = lied_to.town.world.request("door0", f"publish@home/{signal}")

    async def another(_: object) -> Any:
        return await lied_to.town.prove(borrowed)

    await lied_to.send("mallory", signal, json.dumps(MOTION).encode(), proofs=another)
    await lied_to.entry("watcher", code="message.wrong_sender")
    assert box.state == ()
