"""How each kind of device looks in Home Assistant: its components, what they show, and what their commands mean. Pure.

Key names, payloads and device classes are those of the documentation of Home Assistant's MQTT integration, written out
in full. A face uses no templates: what Home Assistant shows stands on a topic of its own.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeAlias

from devices.feed import COVER_SIGNAL, Feed
from devices.light import BRIGHTNESS_SLOT, Light
from devices.machine import Machine
from devices.motion import TRIGGERED_SIGNAL, MotionSensor
from devices.notifier import BOX_SIGNAL, LONGEST_NOTE, NOTE_SLOT, Notifier
from devices.onoff import STATE_SIGNAL, STATE_SLOT
from devices.switch import Switch
from devices.thermostat import COLDEST, COOLING, HEATING, HOTTEST, OFF, SETPOINT_SLOT, Thermostat
from devices.thermostat import STATE_SIGNAL as CLIMATE_SIGNAL
from wave.bus.values import read_json
from wave.errors import BadPayload
from wave.limits import LIMITS

Component: TypeAlias = dict[str, Any]

LONGEST_STATE: Final = 255  # characters of a state, as Home Assistant keeps them
MOTION_LASTS: Final = 30.0  # seconds for which motion is shown
_BRIGHTEST: Final = 100
_DEGREES = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]{1,6})?")
_SHORTENED: Final = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True, slots=True)
class Order:
    """A command for one slot. One that ``joins`` is one half of what Home Assistant says in two messages."""

    slot: str
    value: Mapping[str, Any]
    joins: bool = False


class Face(ABC):
    """A kind of device as Home Assistant sees it: shown by one ``signal``, commanded by words such as ``light``.

    What is shown on the topic of a word is a text; a command for it comes on that topic with ``/set`` behind.
    """

    machine: ClassVar[type[Machine[Any]]]
    signal: ClassVar[str]
    slots: ClassVar[tuple[str, ...]] = ()
    """The slots that Home Assistant commands."""
    rest: ClassVar[Mapping[str, str]] = {}
    """What is shown as long as nothing was heard, and again ``lasts`` seconds after the last report."""
    lasts: ClassVar[float | None] = None

    @abstractmethod
    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        """Return the components by key; ``at`` gives the topic of a word."""

    @abstractmethod
    def shown(self, value: Any) -> Mapping[str, str]:
        """Return what each word's topic shows when the signal said ``value``; :class:`BadPayload`."""

    def order(self, word: str, payload: bytes) -> Order:  # noqa: ARG002 - most know one word, some none
        """Return the command in a payload from Home Assistant; :class:`BadPayload`."""
        raise BadPayload(f"a {self.machine.kind} takes no command {word!r}")


def shortened(text: str) -> str:
    """Return ``text`` as a state of Home Assistant may hold it: one line, cut where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_STATE else line[: LONGEST_STATE - 1] + _SHORTENED


def checked(payload: bytes) -> str:
    """Return a payload of Home Assistant as text; :class:`BadPayload` for one that is huge or no UTF-8."""
    if len(payload) > LIMITS.assistant_payload_bytes:
        raise BadPayload(f"the payload is larger than {LIMITS.assistant_payload_bytes} bytes")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPayload("the payload is not UTF-8 text") from None


def _on_off(payload: bytes) -> str:
    word = {"ON": "on", "OFF": "off"}.get(checked(payload))
    if word is None:
        raise BadPayload("ON or OFF is wanted")
    return word


def _member(value: Any, key: str, *kinds: type) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        raise BadPayload(f"the report does not say {key}")
    return found


def _switched(value: Any) -> str:
    state = _member(value, "state", str)
    if state not in ("on", "off"):
        raise BadPayload("the report says neither on nor off")
    return str(state).upper()


class LightFace(Face):
    """A light by the JSON schema, with our brightness of 0 to 100."""

    machine = Light
    signal = STATE_SIGNAL
    slots = (STATE_SLOT, BRIGHTNESS_SLOT)

    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        return {
            "light": {
                "platform": "light",
                "name": None,
                "schema": "json",
                "command_topic": f"{at('light')}/set",
                "state_topic": at("light"),
                "brightness": True,
                "brightness_scale": _BRIGHTEST,
                "supported_color_modes": ["brightness"],
                "flash": False,
                "transition": False,
                "optimistic": False,
            }
        }

    def shown(self, value: Any) -> Mapping[str, str]:
        state: dict[str, Any] = {"state": _switched(value)}
        level = _member(value, "brightness", int) if "brightness" in value else 0
        if not 0 <= level <= _BRIGHTEST:
            raise BadPayload("the report's brightness is out of range")
        if state["state"] == "ON" and level:
            state["brightness"] = level
        return {"light": json.dumps(state)}

    def order(self, word: str, payload: bytes) -> Order:
        if word != "light":
            return super().order(word, payload)
        checked(payload)
        value = read_json(payload)
        if not isinstance(value, dict) or not {"state"} <= set(value) <= {"state", "brightness"}:
            raise BadPayload("an object with state, and perhaps brightness, is wanted")
        on = value["state"]
        if on not in ("ON", "OFF"):
            raise BadPayload("the state is ON or OFF")
        if "brightness" not in value:
            return Order(STATE_SLOT, {"state": str(on).lower()})
        level = value["brightness"]
        if on != "ON" or type(level) is not int or not 0 < level <= _BRIGHTEST:
            raise BadPayload(f"a brightness is a whole number from 1 to {_BRIGHTEST}, and goes with ON")
        return Order(BRIGHTNESS_SLOT, {"brightness": level})


class SwitchFace(Face):
    """A switch."""

    machine = Switch
    signal = STATE_SIGNAL
    slots = (STATE_SLOT,)

    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        return {
            "switch": {
                "platform": "switch",
                "name": None,
                "command_topic": f"{at('switch')}/set",
                "state_topic": at("switch"),
                "payload_on": "ON",
                "payload_off": "OFF",
                "optimistic": False,
            }
        }

    def shown(self, value: Any) -> Mapping[str, str]:
        return {"switch": _switched(value)}

    def order(self, word: str, payload: bytes) -> Order:
        if word != "switch":
            return super().order(word, payload)
        return Order(STATE_SLOT, {"state": _on_off(payload)})


class MotionFace(Face):
    """A motion sensor, which says ON alone; the bridge says OFF after a while, so that no retained ON stays behind."""

    machine = MotionSensor
    signal = TRIGGERED_SIGNAL
    rest: ClassVar[Mapping[str, str]] = {"motion": "OFF"}
    lasts = MOTION_LASTS

    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        return {
            "motion": {
                "platform": "binary_sensor",
                "name": None,
                "device_class": "motion",
                "state_topic": at("motion"),
                "payload_on": "ON",
                "payload_off": "OFF",
            }
        }

    def shown(self, value: Any) -> Mapping[str, str]:
        return {"motion": "ON" if _member(value, "triggered", bool) else "OFF"}


class ThermostatFace(Face):
    """A climate entity that heats to one set point and cools to another (°F), and whether somebody is in."""

    machine = Thermostat
    signal = CLIMATE_SIGNAL
    slots = (SETPOINT_SLOT,)
    _ACTIONS: Final = {OFF: "idle", HEATING: "heating", COOLING: "cooling"}
    _SET_POINTS: Final = {"low": "hsp", "high": "csp"}

    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        return {
            "climate": {
                "platform": "climate",
                "name": None,
                "modes": ["heat_cool"],
                "mode_state_topic": at("mode"),
                "action_topic": at("action"),
                "current_temperature_topic": at("temperature"),
                "temperature_low_command_topic": f"{at('low')}/set",
                "temperature_low_state_topic": at("low"),
                "temperature_high_command_topic": f"{at('high')}/set",
                "temperature_high_state_topic": at("high"),
                "temperature_unit": "F",
                "min_temp": COLDEST,
                "max_temp": HOTTEST,
                "temp_step": 0.5,
                "precision": 0.1,
                "optimistic": False,
            },
            "occupancy": {
                "platform": "binary_sensor",
                "name": "Occupancy",
                "device_class": "occupancy",
                "state_topic": at("occupancy"),
                "payload_on": "ON",
                "payload_off": "OFF",
            },
        }

    def shown(self, value: Any) -> Mapping[str, str]:
        action = self._ACTIONS.get(_member(value, "state", str))
        if action is None:
            raise BadPayload("the report does not say what the thermostat does")
        return {
            "mode": "heat_cool",
            "action": action,
            "temperature": str(_member(value, "temperature", int, Decimal)),
            "low": str(_member(value, "hsp", int, Decimal)),
            "high": str(_member(value, "csp", int, Decimal)),
            "occupancy": "ON" if _member(value, "occupied", bool) else "OFF",
        }

    def order(self, word: str, payload: bytes) -> Order:
        name = self._SET_POINTS.get(word)
        if name is None:
            return super().order(word, payload)
        text = checked(payload)
        if _DEGREES.fullmatch(text) is None:
            raise BadPayload("a temperature is a plain number (°F)")
        return Order(SETPOINT_SLOT, {name: float(text)}, joins=True)


class NotifierFace(Face):
    """A notify entity that leaves a note in the box, and a sensor that shows the newest."""

    machine = Notifier
    signal = BOX_SIGNAL
    slots = (NOTE_SLOT,)

    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        return {
            "notify": {"platform": "notify", "name": None, "command_topic": f"{at('note')}/set"},
            "newest": {
                "platform": "sensor",
                "name": "Newest note",
                "state_topic": at("note"),
                "json_attributes_topic": at("box"),
            },
        }

    def shown(self, value: Any) -> Mapping[str, str]:
        notes, count = _member(value, "notes", list), _member(value, "count", int)
        newest = notes[-1] if notes else {"text": "", "time": 0}
        text, time = _member(newest, "text", str), _member(newest, "time", int)
        return {"note": shortened(text) or "None", "box": json.dumps({"notes": count, "time": time})}

    def order(self, word: str, payload: bytes) -> Order:
        if word != "note":
            return super().order(word, payload)
        text = checked(payload)
        if not 0 < len(text) <= LONGEST_NOTE:
            raise BadPayload(f"a note is a text of 1 to {LONGEST_NOTE} characters")
        return Order(NOTE_SLOT, {"text": text})


class FeedFace(Face):
    """A sensor that says how much of the sky is covered."""

    machine = Feed
    signal = COVER_SIGNAL

    def components(self, at: Callable[[str], str]) -> Mapping[str, Component]:
        return {
            "sky": {
                "platform": "sensor",
                "name": "Cloud cover",
                "state_topic": at("sky"),
                "state_class": "measurement",
                "unit_of_measurement": "%",
                "icon": "mdi:weather-cloudy",
            }
        }

    def shown(self, value: Any) -> Mapping[str, str]:
        return {"sky": str(_member(value, "cover", int, Decimal))}


FACES: Final[Mapping[str, Face]] = {
    face.machine.kind: face
    for face in (LightFace(), SwitchFace(), MotionFace(), ThermostatFace(), NotifierFace(), FeedFace())
}
