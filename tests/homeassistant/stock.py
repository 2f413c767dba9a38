"""What a stock Home Assistant does with MQTT, as its documentation says: it knows what discovery tells it, no more.

Every discovery message is held to the schema. States, availability and commands follow from the keys of the message
alone; nothing here knows of WAVE.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
from jsonschema import Draft202012Validator

from tests.bus.town import until
from tests.homeassistant.own_broker import Mosquitto

SCHEMA = json.loads((Path(__file__).parent / "schema" / "discovery.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


class Shown:
    """An entity of Home Assistant: its configuration, and what came on its topics."""

    def __init__(self, config: dict[str, Any], shared: dict[str, Any]) -> None:
        self.config = {**shared, **config}
        self.values: dict[str, str] = {}
        self.came: list[tuple[str, str]] = []

    @property
    def topics(self) -> dict[str, str]:
        """The topics that are listened to, with the key that names them."""
        found = {value: key for key, value in self.config.items() if key.endswith("_topic") and "command" not in key}
        return found | {one["topic"]: one["topic"] for one in self.config.get("availability", [])}

    def take(self, topic: str, payload: str) -> None:
        key = self.topics.get(topic)
        if key is not None and (payload or not key.endswith("_topic")):
            self.values[key] = payload
            self.came.append((key, payload))

    @property
    def available(self) -> bool:
        """`availability_mode: all`, the one that is announced."""
        assert self.config["availability_mode"] == "all"
        return all(self.values.get(one["topic"]) == "online" for one in self.config["availability"])

    @property
    def state(self) -> Any:
        """What the user sees, None for unknown."""
        said = self.values.get("state_topic")
        if self.config["platform"] == "light":
            return None if said is None else {"ON": "on", "OFF": "off"}[json.loads(said)["state"]]
        if self.config["platform"] in ("switch", "binary_sensor"):
            return {self.config["payload_on"]: "on", self.config["payload_off"]: "off"}.get(said or "")
        return None if said == "None" else said

    @property
    def brightness(self) -> int | None:
        """From 1 to 255, as the user sees it."""
        level = json.loads(self.values["state_topic"]).get("brightness")
        return None if level is None else round(level / self.config["brightness_scale"] * 255)

    @property
    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.values.get("json_attributes_topic", "{}"))
        return found


class Stock:
    """Home Assistant on a broker. `entities` has the entities by the id that each would get."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.devices: dict[str, dict[str, Any]] = {}
        self.entities: dict[str, Shown] = {}
        self.deleted: list[str] = []
        self.announced = 0
        self._kept: dict[str, str] = {}

    async def attend(self) -> None:
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            topic, payload = str(message.topic), message.payload.decode()
            if topic.startswith("homeassistant/device/") and topic.endswith("/config"):
                await self._discover(topic, payload)
            else:
                for entity in self.entities.values():
                    entity.take(topic, payload)

    async def _discover(self, topic: str, payload: str) -> None:
        if not payload:
            if self.devices.pop(topic, None) is not None:
                self.deleted.append(topic)
            self.entities = {name: one for name, one in self.entities.items() if one.config["topic"] != topic}
            return
        config = json.loads(payload)
        VALIDATOR.validate(config)
        self.announced += 1
        self.devices[topic] = config
        shared = {key: value for key, value in config.items() if key not in ("components", "origin")} | {"topic": topic}
        for component in config["components"].values():
            known = self.entities.get(component["default_entity_id"])
            if known is not None:
                assert known.config["unique_id"] == component["unique_id"]
                continue
            entity = Shown(component, shared)
            self.entities[component["default_entity_id"]] = entity
            for one in entity.topics:
                if one != topic:
                    await self.client.subscribe(one, qos=config.get("qos", 0))

    async def command(self, entity: str, key: str, payload: str) -> None:
        """Publish a command as the entity's configuration says."""
        config = self.entities[entity].config
        await self.client.publish(config[key], payload, qos=config.get("qos", 0), retain=config.get("retain", False))

    async def turn_on(self, entity: str, *, brightness: int | None = None) -> None:
        """`light.turn_on` with a brightness of 1 to 255, or `switch.turn_on`."""
        config = self.entities[entity].config
        if config["platform"] == "switch":
            await self.command(entity, "command_topic", config["payload_on"])
            return
        assert config["schema"] == "json"
        message: dict[str, Any] = {"state": "ON"}
        if brightness is not None:
            assert config["supported_color_modes"] == ["brightness"]
            message["brightness"] = max(1, round(brightness / 255 * config["brightness_scale"]))
        await self.command(entity, "command_topic", json.dumps(message))

    async def turn_off(self, entity: str) -> None:
        config = self.entities[entity].config
        payload = '{"state":"OFF"}' if config["platform"] == "light" else config["payload_off"]
        await self.command(entity, "command_topic", payload)

    async def set_temperature(self, entity: str, *, low: float, high: float) -> None:
        """`climate.set_temperature`: two messages, the low one first, within the bounds that were announced."""
        config = self.entities[entity].config
        assert config["min_temp"] <= low <= high <= config["max_temp"]
        await self.command(entity, "temperature_low_command_topic", str(low))
        await self.command(entity, "temperature_high_command_topic", str(high))

    async def send_message(self, entity: str, text: str) -> None:
        """`notify.send_message`."""
        await self.command(entity, "command_topic", text)

    async def come_up(self) -> None:
        """Say on the status topic that it has started; entities are as unknown as after a start."""
        for entity in self.entities.values():
            entity.values.clear()
        await self.client.publish("homeassistant/status", "online")

    async def sees(self, entity: str, **wanted: Any) -> Shown:
        """Wait until an entity is there and its properties are as wanted."""

        def there() -> bool:
            found = self.entities.get(entity)
            return found is not None and all(getattr(found, name) == value for name, value in wanted.items())

        try:
            await until(there)
        except TimeoutError:
            found = self.entities.get(entity)
            raise AssertionError(f"{entity} is {found and (found.available, found.values)}, not {wanted}") from None
        return self.entities[entity]


@asynccontextmanager
async def stock(broker: Mosquitto, *, account: tuple[str, str] | None = None) -> AsyncIterator[Stock]:
    """A Home Assistant that is connected while the body runs; what it cannot make sense of fails the test."""
    name, password = account or (None, None)
    async with aiomqtt.Client("127.0.0.1", broker.port, username=name, password=password) as client:
        home = Stock(client)
        await client.subscribe("homeassistant/#")
        attending = asyncio.create_task(home.attend())
        try:
            yield home
        finally:
            attending.cancel()
            done = await asyncio.gather(attending, return_exceptions=True)
        assert [one for one in done if not isinstance(one, asyncio.CancelledError)] == []
