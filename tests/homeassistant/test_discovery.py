"""What the bridge announces, held to the schema that Home Assistant documents; what it shows, and what it obeys."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import ValidationError

from devices.homeassistant.discovery import Layout, Named, grants, named
from devices.homeassistant.faces import FACES, LONGEST_STATE, Order, shortened
from devices.machine import Command
from devices.site import KINDS
from tests.homeassistant.stock import VALIDATOR
from tests.world import NOW, made
from wave.bus.values import read_json
from wave.codec import id_text
from wave.errors import BadPayload, BadSetting
from wave.limits import LIMITS
from wave.namespace.grant import parse_grant
from wave.namespace.pattern import covers

HOME, BRIDGE = made("home").id, made("bridge").id
LAYOUT = Layout(BRIDGE, HOME)
ALL = [Named(kind, f"{kind}0") for kind in FACES]
instances = st.text("0123456789abcXYZ_.,()$:-", min_size=1, max_size=40)
kinds = st.sampled_from(sorted(FACES))


def announced(device: Named, layout: Layout = LAYOUT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(layout.announcement(device))
    return found


def texts(value: Any) -> list[str]:
    """All texts in a JSON value, keys too."""
    if isinstance(value, dict):
        return [*value, *[text for one in value.values() for text in texts(one)]]
    return [text for one in value for text in texts(one)] if isinstance(value, list) else [str(value)]


# The messages -------------------------------------------------------------------------------------------------------


def test_every_kind_of_device_has_a_face() -> None:
    assert set(FACES) == set(KINDS)


@settings(max_examples=20)
@given(st.builds(Named, kinds, instances))
def test_an_announcement_is_as_documented_whatever_the_device_is_called(device: Named) -> None:
    VALIDATOR.validate(announced(device))
    VALIDATOR.validate(json.loads(LAYOUT.introduction(device.instance)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.pop("origin"),
        lambda m: m.pop("device"),
        lambda m: m["device"].pop("identifiers"),
        lambda m: m["components"]["light"].pop("platform"),
        lambda m: m["components"]["light"].pop("unique_id"),
        lambda m: m["components"]["light"].pop("command_topic"),
        lambda m: m["components"]["light"].update(object_id="light0"),
        lambda m: m["components"]["light"].update(stat_t="wave/x"),
        lambda m: m["components"]["light"].update(supported_color_modes=["brightness", "rgb"]),
        lambda m: m["components"]["light"].update(platform="switch"),
        lambda m: m.update(cmps=m.pop("components")),
    ],
)
def test_the_schema_tells_what_home_assistant_would_not_take(spoil: Any) -> None:
    message = announced(Named("light", "light0"))
    spoil(message)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(message)


def test_the_components_are_those_that_the_kinds_call_for() -> None:
    platforms = {
        one.kind: sorted(component["platform"] for component in announced(one)["components"].values()) for one in ALL
    }
    assert platforms == {
        "light": ["light"],
        "switch": ["switch"],
        "motion": ["binary_sensor"],
        "thermostat": ["binary_sensor", "climate"],
        "notifier": ["notify", "sensor"],
        "feed": ["sensor"],
    }


def test_nothing_is_optimistic_that_could_be() -> None:
    """A command that is refused must not look as if it had been carried out."""
    for device in ALL:
        for component in announced(device)["components"].values():
            commands = {key for key in component if key.endswith("command_topic")}
            if component["platform"] != "notify" and commands:
                assert component["optimistic"] is False
                assert {key.replace("command", "state") for key in commands} <= set(component)


@given(st.builds(Named, kinds, instances), st.builds(Named, kinds, instances))
def test_no_two_devices_share_an_id_or_a_topic(one: Named, other: Named) -> None:
    if one == other:
        return
    ids = [
        {component["unique_id"] for component in announced(device)["components"].values()} for device in (one, other)
    ]
    assert ids[0].isdisjoint(ids[1])
    assert LAYOUT.id(one) != LAYOUT.id(other)
    assert LAYOUT.config(LAYOUT.id(one)) != LAYOUT.config(LAYOUT.id(other))


def test_ids_come_from_the_namespace_and_the_path_alone() -> None:
    """So they are the same whichever bridge announces, and others in another home."""
    light = Named("light", "light0")
    other = announced(light, Layout(made("other bridge").id, HOME))
    assert other["device"]["identifiers"] == announced(light)["device"]["identifiers"]
    assert id_text(HOME) in LAYOUT.id(light)
    assert LAYOUT.id(light) != Layout(BRIDGE, made("other home").id).id(light)


@given(st.builds(Named, kinds, instances))
def test_topics_stay_below_the_bridge(device: Named) -> None:
    for text in texts(announced(device)):
        if text.startswith("wave/"):
            assert text.startswith(f"wave/{id_text(BRIDGE)}/")
            assert not set("+#") & set(text)


@pytest.mark.parametrize("prefix", ["", "#", "home+", "a//b", "/a", "a/"])
def test_a_prefix_that_no_topic_begins_with_is_refused(prefix: str) -> None:
    with pytest.raises(BadSetting):
        Layout(BRIDGE, HOME, prefix)
    assert Layout(BRIDGE, HOME, "my/home").birth == "my/home/status"


def test_a_bridge_knows_its_own_announcements_and_no_others() -> None:
    light = Named("light", "light0")
    topic, message = LAYOUT.config(LAYOUT.id(light)), LAYOUT.announcement(light).encode()
    assert LAYOUT.own(topic, message) == (
        LAYOUT.id(light),
        (topic, LAYOUT.topic(LAYOUT.id(light), "available"), LAYOUT.topic(LAYOUT.id(light), "light")),
    )
    assert Layout(made("other bridge").id, HOME).own(topic, message) is None
    assert LAYOUT.own("homeassistant/device/somebody/config", message) is None
    for other in (
        b"",
        b"{}",
        b"[]",
        b'"x"',
        b'{"device":{"identifiers":[]}}',
        b'{"device":[],"components":7}',
        b"\xff",
    ):
        assert LAYOUT.own(topic, other) is None


@pytest.mark.parametrize(
    ("resource", "device"),
    [
        ("s.light/light0/i.boolean/signal/state", Named("light", "light0")),
        ("s.switch/a.b/i.boolean/signal/state", Named("switch", "a.b")),
        ("s.thermostat/t/i.thermostat/signal/state", Named("thermostat", "t")),
        ("s.light/light0/i.device/signal/presence", None),
        ("s.light/light0/i.boolean/slot/state", None),
        ("s.kettle/k/i.boolean/signal/state", None),
        ("smarthome/light/report", None),
    ],
)
def test_a_device_is_known_by_the_signal_that_says_its_state(resource: str, device: Named | None) -> None:
    assert named(resource) == device


def test_the_grants_that_are_printed_are_what_the_bridge_needs_and_no_more() -> None:
    """For one light: to hear it, and its two slots. For a whole home: nothing that only a courier or a device does."""
    assert grants("home", [Named("light", "light0")]) == (
        "subscribe,query@home/s.light/light0/+/signal/+",
        "publish@home/s.light/light0/i.boolean/slot/state",
        "publish@home/s.light/light0/i.dimmer/slot/brightness",
    )
    whole = [parse_grant(text) for text in grants("home", None)]
    publish = [one.pattern for one in whole if one.permissions == ("publish",)]
    courier = "s.motion/door/i.motion/slot/package"
    assert not any(
        covers(pattern, courier) or covers(pattern, "s.light/a/i.boolean/signal/state") for pattern in publish
    )
    for face in FACES.values():
        for slot in face.slots:
            assert any(covers(pattern, f"{face.machine.service}/x/{slot}") for pattern in publish)


# What is shown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(FACES))
def test_what_a_machine_reports_can_be_shown(kind: str) -> None:
    """Each machine's own report, as it comes out of JSON, on topics that were announced."""
    machine: Any = KINDS[kind]()
    state = machine.initial(NOW)
    if kind == "motion":
        state, _ = machine.handle(state, Command(machine.slots[0], {"package": "delivered"}, NOW))
    shown = FACES[kind].shown(read_json(json.dumps(machine.report(state)[FACES[kind].signal]).encode()))
    known = texts(announced(Named(kind, "x")))
    assert shown
    assert all(LAYOUT.topic(LAYOUT.id(Named(kind, "x")), word) in known for word in shown)
    assert all(0 < len(payload) <= LONGEST_STATE for payload in shown.values())


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("light", {"state": "on", "brightness": 40}, {"light": '{"state": "ON", "brightness": 40}'}),
        ("light", {"state": "off", "brightness": 0}, {"light": '{"state": "OFF"}'}),
        ("light", {"state": "on"}, {"light": '{"state": "ON"}'}),
        ("switch", {"state": "off"}, {"switch": "OFF"}),
        ("motion", {"triggered": True, "count": 3, "time": 5}, {"motion": "ON"}),
        (
            "thermostat",
            {"state": "off", "hsp": 70, "csp": Decimal("73.5"), "temperature": Decimal("72.1"), "occupied": True},
            {
                "mode": "heat_cool",
                "action": "idle",
                "temperature": "72.1",
                "low": "70",
                "high": "73.5",
                "occupancy": "ON",
            },
        ),
        (
            "notifier",
            {"count": 2, "notes": [{"text": "a", "time": 1}, {"text": "two\nlines", "time": 2}]},
            {"note": "two lines", "box": '{"notes": 2, "time": 2}'},
        ),
        ("notifier", {"count": 0, "notes": []}, {"note": "None", "box": '{"notes": 0, "time": 0}'}),
        ("feed", {"cover": Decimal("71.5")}, {"sky": "71.5"}),
    ],
)
def test_a_report_in_the_words_of_home_assistant(kind: str, value: Any, shown: dict[str, str]) -> None:
    assert dict(FACES[kind].shown(value)) == shown


NONSENSE: list[Any] = [None, 7, "on", [], {}, {"state": 1}, {"state": "purple"}, {"state": "on", "brightness": "x"}]


@pytest.mark.parametrize("kind", sorted(FACES))
@pytest.mark.parametrize("value", [*NONSENSE, {"state": "on", "brightness": 101}, {"cover": True}, {"notes": [4]}])
def test_a_report_that_makes_no_sense_is_not_shown(kind: str, value: Any) -> None:
    if kind == "switch" and isinstance(value, dict) and value.get("state") == "on":
        value = {"state": True}
    with pytest.raises(BadPayload):
        FACES[kind].shown(value)


@settings(max_examples=25)
@given(st.integers(0, 300).flatmap(lambda size: st.text("ab \n\t\N{EM SPACE}", min_size=size, max_size=size)))
def test_a_state_is_one_line_and_never_too_long(text: str) -> None:
    short = shortened(text)
    assert len(short) <= LONGEST_STATE
    assert "\n" not in short
    assert shortened(short) == short


# Commands -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "word", "payload", "order"),
    [
        ("light", "light", b'{"state":"ON"}', Order("i.boolean/slot/state", {"state": "on"})),
        ("light", "light", b'{"state":"OFF"}', Order("i.boolean/slot/state", {"state": "off"})),
        ("light", "light", b'{"state":"ON","brightness":1}', Order("i.dimmer/slot/brightness", {"brightness": 1})),
        ("light", "light", b'{"state":"ON","brightness":100}', Order("i.dimmer/slot/brightness", {"brightness": 100})),
        ("switch", "switch", b"ON", Order("i.boolean/slot/state", {"state": "on"})),
        ("thermostat", "low", b"68.5", Order("i.thermostat/slot/state", {"hsp": 68.5}, joins=True)),
        ("thermostat", "high", b"74", Order("i.thermostat/slot/state", {"csp": 74.0}, joins=True)),
        ("notifier", "note", "grüß Gott".encode(), Order("i.notifier/slot/note", {"text": "grüß Gott"})),
    ],
)
def test_a_command_is_one_for_a_slot(kind: str, word: str, payload: bytes, order: Order) -> None:
    assert FACES[kind].order(word, payload) == order


HUGE = b"9" * (LIMITS.assistant_payload_bytes + 1)
BAD = [b"", b"\xff\xfe", b"NaN", b"on", b"{", b"[]", b"null", b"1e9999", b"Infinity", HUGE]
BAD_LIGHTS = [
    b'"ON"',
    b'{"state":"on"}',
    b'{"state":true}',
    b'{"brightness":50}',
    b'{"state":"ON","brightness":NaN}',
    b'{"state":"ON","brightness":1e400}',
    b'{"state":"ON","brightness":50.5}',
    b'{"state":"ON","brightness":true}',
    b'{"state":"ON","brightness":0}',
    b'{"state":"ON","brightness":101}',
    b'{"state":"OFF","brightness":5}',
    b'{"state":"OFF","state":"ON"}',
    b'{"state":"ON","color":{"r":1}}',
    b'{"state":' * 5000,
]
BAD_DEGREES = [
    b"70 ",
    b"+70",
    b"7e1",
    b"70,5",
    b"0x46",
    "\N{ARABIC-INDIC DIGIT SEVEN}0".encode(),
    b"70.1234567",
    b"1234",
]


@pytest.mark.parametrize(
    ("kind", "word", "payload"),
    [
        *[("light", "light", one) for one in (*BAD, *BAD_LIGHTS)],
        *[("switch", "switch", one) for one in (*BAD, b"TOGGLE", b"ON\n")],
        *[("thermostat", word, one) for word in ("low", "high") for one in (*BAD, *BAD_DEGREES)],
        *[("notifier", "note", one) for one in (b"", b"\xff", b"x" * 1001, HUGE)],
        *[(kind, "available", b"online") for kind in FACES],
        ("motion", "motion", b"ON"),
        ("thermostat", "occupancy", b"ON"),
        ("thermostat", "mode", b"heat_cool"),
        ("feed", "sky", b"5"),
    ],
)
def test_a_command_that_makes_no_sense_is_none(kind: str, word: str, payload: bytes) -> None:
    with pytest.raises(BadPayload):
        FACES[kind].order(word, payload)


def test_the_bound_on_a_payload() -> None:
    """At the bound a payload is read, and found to be no note; one byte past it, it is not read."""
    face = FACES["notifier"]
    with pytest.raises(BadPayload, match="1 to 1000"):
        face.order("note", b"x" * LIMITS.assistant_payload_bytes)
    with pytest.raises(BadPayload, match="larger"):
        face.order("note", b"x" * (LIMITS.assistant_payload_bytes + 1))


@given(kinds, st.sampled_from(["light", "switch", "low", "high", "note", "x"]), st.binary(max_size=200))
def test_whatever_comes_is_a_command_for_a_slot_of_that_device_or_refused(kind: str, word: str, payload: bytes) -> None:
    try:
        order = FACES[kind].order(word, payload)
    except BadPayload:
        return
    assert order.slot in FACES[kind].slots
