"""Devices as pure state machines, and the thermostat's physics with time as an argument."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.controller import RULES, cloudy, mirror, occupied
from devices.light import BRIGHTNESS_SLOT, Light, LightState
from devices.machine import Command, Machine, write_json
from devices.motion import PACKAGE_SLOT, TRIGGERED_SIGNAL, MotionSensor, MotionState
from devices.notifier import BOX_SIGNAL, LONGEST_NOTE, MOST_NOTES, NOTE_SLOT, Notifier
from devices.onoff import STATE_SIGNAL, STATE_SLOT
from devices.site import KINDS
from devices.switch import Switch
from devices.thermostat import (
    COLDEST,
    COOLING,
    HEATING,
    HOTTEST,
    HYSTERESIS,
    OFF,
    SETPOINT_SLOT,
    Climate,
    Thermostat,
    advance,
    decide,
    outside,
)
from devices.thermostat import STATE_SIGNAL as CLIMATE_SIGNAL
from wave.bus.values import read_json
from wave.errors import BadPayload

T = 1_800_000_000.0


def do(machine: Machine[Any], state: Any, slot: str, value: Any) -> Any:
    return machine.handle(state, Command(slot, value, T))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_names_its_slots_and_signals_by_the_convention(kind: str) -> None:
    machine = KINDS[kind]()
    assert machine.kind == kind
    assert machine.service == f"s.{kind}"
    assert all(slot.split("/")[1] == "slot" and len(slot.split("/")) == 3 for slot in machine.slots)
    assert all(signal.split("/")[1] == "signal" for signal in machine.signals)
    assert set(machine.report(machine.initial(T))) <= set(machine.signals)


@pytest.mark.parametrize(
    ("before", "word", "after"),
    [(False, "on", True), (True, "on", True), (True, "off", False), (False, "off", False), (False, "toggle", True),
     (True, "toggle", False), (False, True, True), (True, False, False)],
)  # fmt: skip
def test_light_and_switch_go_on_off_and_over(before: bool, word: object, after: bool) -> None:  # noqa: FBT001
    for value in (word, {"state": word}):
        assert do(Light(), LightState(on=before), STATE_SLOT, value) == LightState(on=after)
        assert do(Switch(), before, STATE_SLOT, value) is after


@pytest.mark.parametrize(
    ("level", "state"), [(0, LightState(False, 80)), (1, LightState(True, 1)), (100, LightState(True, 100))]
)
def test_a_brightness_of_nothing_is_off_and_the_last_one_is_kept(level: int, state: LightState) -> None:
    assert do(Light(), LightState(True, 80), BRIGHTNESS_SLOT, {"brightness": level}) == state


@pytest.mark.parametrize("level", [-1, 101, 1.5, Decimal("1.5"), "50", True, None, [50]])
def test_a_brightness_out_of_range_is_bad(level: object) -> None:
    with pytest.raises(BadPayload):
        do(Light(), LightState(), BRIGHTNESS_SLOT, {"brightness": level})


def test_a_light_that_is_off_reports_no_brightness() -> None:
    assert Light().report(LightState(False, 80)) == {STATE_SIGNAL: {"state": "off", "brightness": 0}}
    assert Light().report(LightState(True, 80)) == {STATE_SIGNAL: {"state": "on", "brightness": 80}}


def test_a_package_triggers_the_motion_sensor() -> None:
    machine = MotionSensor()
    assert machine.report(machine.initial(T)) == {}
    state = do(machine, machine.initial(T), PACKAGE_SLOT, {"package": "delivered"})
    assert state == MotionState(1, int(T))
    assert machine.report(state)[TRIGGERED_SIGNAL]["triggered"] is True
    for value in ({"package": "stolen"}, "delivered", {}):
        with pytest.raises(BadPayload):
            do(machine, state, PACKAGE_SLOT, value)


def test_the_box_keeps_the_newest_notes_with_their_times() -> None:
    machine, state = Notifier(), Notifier().initial(T)
    for number in range(MOST_NOTES + 3):
        state = do(machine, state, NOTE_SLOT, {"text": f"note {number}"})
    assert len(state) == MOST_NOTES
    report = machine.report(state)[BOX_SIGNAL]
    assert report["notes"][-1] == {"text": f"note {MOST_NOTES + 2}", "time": int(T)}


def test_a_note_has_a_largest_length() -> None:
    do(Notifier(), (), NOTE_SLOT, {"text": "x" * LONGEST_NOTE})
    for text in ("", "x" * (LONGEST_NOTE + 1), 7, None):
        with pytest.raises(BadPayload):
            do(Notifier(), (), NOTE_SLOT, {"text": text})


# The thermostat -----------------------------------------------------------------------------------------------------

ROOM = Climate(OFF, 70.0, 73.0, 72.0, T)


@pytest.mark.parametrize(
    ("state", "temperature", "then"),
    [
        (OFF, 69.0, OFF),
        (OFF, 68.9, HEATING),
        (HEATING, 69.9, HEATING),
        (HEATING, 70.0, OFF),
        (OFF, 74.0, OFF),
        (OFF, 74.1, COOLING),
        (COOLING, 73.1, COOLING),
        (COOLING, 73.0, OFF),
        (HEATING, 74.1, COOLING),
        (COOLING, 68.9, HEATING),
    ],
)
def test_one_degree_of_hysteresis(state: str, temperature: float, then: str) -> None:
    assert HYSTERESIS == 1.0
    assert decide(replace(ROOM, state=state, temperature=temperature)) == then


@given(st.floats(40, 95), st.floats(0, 1200))
def test_the_room_reaches_its_set_points_and_stays(temperature: float, phase: float) -> None:
    climate = advance(replace(ROOM, temperature=temperature, at=T + phase), T + phase + 400)
    for second in range(401, 460):
        climate = advance(climate, T + phase + second)
        assert 68.5 <= climate.temperature <= 74.5


def test_time_in_one_step_or_in_many_is_the_same() -> None:
    once, often = advance(ROOM, T + 90), ROOM
    for second in range(1, 91):
        often = advance(often, T + second)
    assert often.temperature == pytest.approx(once.temperature)
    assert often.state == once.state


def test_time_that_does_not_pass_changes_nothing() -> None:
    assert advance(ROOM, T) == ROOM
    assert advance(ROOM, T - 100).temperature == ROOM.temperature


def test_a_long_sleep_costs_no_long_time() -> None:
    assert advance(ROOM, T + 10**9).at == pytest.approx(T + 10**9)


def test_outside_is_a_slow_sine() -> None:
    temperatures = [outside(T + second) for second in range(1201)]
    assert min(temperatures) == pytest.approx(40, abs=0.1)
    assert max(temperatures) == pytest.approx(90, abs=0.1)
    assert max(abs(a - b) for a, b in pairwise(temperatures)) < 0.2
    assert temperatures[0] == pytest.approx(temperatures[-1])


def test_occupancy_is_a_square_wave_of_20_seconds() -> None:
    start = T - T % 20
    wave = [replace(ROOM, at=start + second).occupied for second in range(40)]
    assert wave == ([True] * 10 + [False] * 10) * 2


def test_the_report_has_the_agreed_form() -> None:
    assert Thermostat().report(replace(ROOM, temperature=71.96, at=T - T % 20)) == {
        CLIMATE_SIGNAL: {"state": "off", "hsp": 70.0, "csp": 73.0, "temperature": 72.0, "occupied": True}
    }


@pytest.mark.parametrize("value", [{"hsp": COLDEST}, {"csp": HOTTEST}, {"hsp": Decimal("66.5"), "csp": 80}])
def test_set_points_in_range_are_taken(value: dict[str, Any]) -> None:
    state = do(Thermostat(), ROOM, SETPOINT_SLOT, value)
    assert {name: getattr(state, name) for name in value} == {name: float(one) for name, one in value.items()}


@pytest.mark.parametrize(
    "value",
    [{"hsp": COLDEST - 1}, {"csp": HOTTEST + 1}, {"hsp": 74}, {"csp": 69}, {"hsp": "70"}, {"hsp": True}, {"hsp": None},
     {"set_point": 70}, {"hsp": 70, "x": 1}, {}, 70, None],
)  # fmt: skip
def test_other_set_points_are_bad(value: object) -> None:
    with pytest.raises(BadPayload):
        do(Thermostat(), ROOM, SETPOINT_SLOT, value)


# Rules of controllers -----------------------------------------------------------------------------------------------


def test_the_rules() -> None:
    assert set(RULES) == {"mirror", "occupied", "cloudy", "thief"}
    assert mirror({"switch": {"state": "on"}}) == {"state": "on"}
    assert occupied({"climate": {"occupied": False}}) == {"state": "off"}
    assert cloudy({"clouds": {"cover": 70}}) == {"state": "off"}
    assert cloudy({"clouds": {"cover": Decimal("70.1")}}) == {"state": "on"}
    assert cloudy({"clouds": 99, "switch": {"state": "off"}}) == {"state": "on"}
    assert cloudy({"switch": {"state": "on"}}) == {"state": "on"}


@pytest.mark.parametrize("value", [None, "purple", {"state": "toggle"}, {"cover": "x"}, {"cover": True}, [1]])
def test_what_makes_no_sense_commands_nothing(value: Any) -> None:
    for rule in (mirror, occupied):
        with pytest.raises(BadPayload):
            rule({"switch": value})
    with pytest.raises(BadPayload):
        cloudy({"clouds": value if value is not None else "none"})


def test_what_a_machine_says_of_half_a_surrogate_pair_can_be_sent() -> None:
    """JSON can name one by an escape, UTF-8 cannot hold it: a note with it must not stop the box."""
    box = Notifier()
    text = read_json(b'{"text":"\\ud800 \xc3\xa4"}')
    payload = write_json(box.report(do(box, box.initial(T), NOTE_SLOT, text)))
    assert read_json(payload)[BOX_SIGNAL]["notes"][0]["text"] == "\ud800 \xe4"
