"""MQTT discovery: the ids, topics and retained messages by which Home Assistant learns of a home's devices. Pure.

One message per device at ``PREFIX/device/ID/config``. Ids are made of the namespace's id, the kind and the instance, so
that they stay the same however often the bridge is set up again.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from devices.homeassistant.faces import FACES, Component, Face
from wave import __version__
from wave.codec import id_text
from wave.errors import BadPayload, BadSetting
from wave.limits import LIMITS

ORIGIN: Final = "WAVE"
ONLINE: Final = "online"
OFFLINE: Final = "offline"
PREFIX: Final = "homeassistant"
SIGNALS: Final = "+/+/+/signal/+"

_PREFIX = re.compile(r"[0-9A-Za-z_-]+(?:/[0-9A-Za-z_-]+)*")
_NOT_IN_AN_ID = re.compile(r"[^0-9A-Za-z-]")
_NOT_IN_AN_ENTITY = re.compile(r"[^0-9a-z]+")
_SIGNALS_OF = {(face.machine.service, face.signal): kind for kind, face in FACES.items()}


@dataclass(frozen=True, slots=True, order=True)
class Named:
    """A device of a home: its kind and its instance there."""

    kind: str
    instance: str

    @property
    def face(self) -> Face:
        """How it looks."""
        return FACES[self.kind]

    @property
    def path(self) -> str:
        """Where it stands in its namespace."""
        return f"{self.face.machine.service}/{self.instance}"


def named(resource: str) -> Named | None:
    """Return the device whose state is said at ``resource``, or None when it is no such signal."""
    service, _, rest = resource.partition("/")
    instance, _, signal = rest.partition("/")
    kind = _SIGNALS_OF.get((service, signal))
    return None if kind is None else Named(kind, instance)


@dataclass(frozen=True, slots=True)
class Layout:
    """Ids and topics of what one bridge shows of one namespace. ``prefix`` is Home Assistant's discovery prefix."""

    bridge: bytes
    namespace: bytes
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        """Raise :class:`BadSetting` for a prefix that no topic begins with."""
        if _PREFIX.fullmatch(self.prefix) is None:
            raise BadSetting(f"{self.prefix[:40]!r} is no discovery prefix", hint=f"as a rule it is {PREFIX!r}")

    @property
    def base(self) -> str:
        """The topic below which the bridge speaks and listens."""
        return f"wave/{id_text(self.bridge)}"

    @property
    def status(self) -> str:
        """The topic that says whether the bridge is there."""
        return f"{self.base}/status"

    @property
    def commands(self) -> str:
        """The topics of all commands."""
        return f"{self.base}/+/+/set"

    @property
    def configs(self) -> str:
        """The topics of all devices' discovery messages, of others too."""
        return self.config("+")

    @property
    def birth(self) -> str:
        """The topic on which Home Assistant says that it has started."""
        return f"{self.prefix}/status"

    @property
    def bridge_id(self) -> str:
        """The id of the bridge as a device of Home Assistant; it differs for each namespace that it shows."""
        return f"wave_bridge_{id_text(self.bridge)}_{id_text(self.namespace)}"

    def id(self, device: Named) -> str:
        """Return a device's id: no two devices share one, whatever their instances are called."""
        instance = _NOT_IN_AN_ID.sub(lambda found: f"_{ord(found[0]):02x}", device.instance)
        return f"wave_{id_text(self.namespace)}_{device.kind}_{instance}"

    def config(self, device_id: str) -> str:
        """Return the topic of a device's discovery message."""
        return f"{self.prefix}/device/{device_id}/config"

    def topic(self, device_id: str, word: str) -> str:
        """Return the topic on which a device's word is shown."""
        return f"{self.base}/{device_id}/{word}"

    def announcement(self, device: Named) -> str:
        """Return a device's discovery message."""
        key = self.id(device)
        components = device.face.components(lambda word: self.topic(key, word))
        return self._message(key, device.instance, device.kind, components, via=self.bridge_id)

    def introduction(self, name: str) -> str:
        """Return the bridge's own discovery message: a device with a sensor that shows the last refusal."""
        key = self.bridge_id
        refusal = {
            "platform": "sensor",
            "name": "Last refusal",
            "state_topic": self.topic(key, "refusal"),
            "json_attributes_topic": self.topic(key, "refused"),
            "entity_category": "diagnostic",
        }
        return self._message(key, name, "bridge", {"refusal": refusal}, via=None)

    def _message(self, key: str, name: str, model: str, components: Any, *, via: str | None) -> str:
        availability = [{"topic": self.status}]
        if via is not None:
            availability.append({"topic": self.topic(key, "available")})
        device = {"identifiers": [key], "name": name, "manufacturer": ORIGIN, "model": model, "sw_version": __version__}
        if via is not None:
            device["via_device"] = via
        message = {
            "device": device,
            "origin": {"name": ORIGIN, "sw_version": __version__},
            "availability": availability,
            "availability_mode": "all",
            "components": {one: self._whole(key, name, one, found) for one, found in components.items()},
        }
        return json.dumps(message)

    @staticmethod
    def _whole(key: str, name: str, component: str, found: Component) -> Component:
        words = name if found["name"] is None else f"{name} {found['name']}"
        entity = _NOT_IN_AN_ENTITY.sub("_", words.lower()).strip("_") or "wave"
        return {
            **found,
            "qos": 1,
            "unique_id": f"{key}_{component}",
            "default_entity_id": f"{found['platform']}.{entity}",
        }

    def own(self, topic: str, payload: bytes) -> tuple[str, tuple[str, ...]] | None:
        """Return the id in a discovery message that this bridge wrote for this namespace, and all topics it fills.

        None for any other message: what somebody else announced is not touched.
        """
        if len(payload) > LIMITS.assistant_payload_bytes:
            return None
        try:
            message = json.loads(payload)
            [device_id] = message["device"]["identifiers"]
            ours = self.bridge_id in (device_id, message["device"].get("via_device"))
            components = [*message["components"].values()]
            filled = [text for one in components for text in one.values() if isinstance(text, str)]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        if not ours or topic != self.config(device_id):
            return None
        start = self.topic(device_id, "")
        shown = sorted({text for text in filled if text.startswith(start) and not text.endswith("/set")})
        return device_id, (topic, self.topic(device_id, "available"), *shown)

    def command(self, topic: str) -> tuple[str, str]:
        """Return the device's id and the word in a command's topic; :class:`BadPayload`."""
        base, device_id, word, _ = topic.rsplit("/", 3)
        if base != self.base:
            raise BadPayload(f"{topic[:200]!r} is no command's topic")
        return device_id, word


def grants(namespace: str, devices: Iterable[Named] | None) -> tuple[str, ...]:
    """Return the rights that the bridge needs, as ``grant`` takes them: for these devices, or for the whole home."""
    if devices is None:
        reading = [f"subscribe,query,list@{namespace}/{SIGNALS}"]
        places = [(f"{face.machine.service}/+", face) for face in FACES.values()]
    else:
        shown = sorted(set(devices))
        reading = [f"subscribe,query@{namespace}/{one.path}/+/signal/+" for one in shown]
        places = [(one.path, one.face) for one in shown]
    return (*reading, *(f"publish@{namespace}/{place}/{slot}" for place, face in places for slot in face.slots))
