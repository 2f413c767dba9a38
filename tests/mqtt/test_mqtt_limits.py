"""Bounds of the MQTT carrier: at the bound, and one past it."""

import os

import pytest
from paho.mqtt.client import MQTTMessage

from tests.mqtt.broker import until
from tests.mqtt.village import SLOT, Village
from tests.world import made
from wave.bus import dynsec
from wave.bus.dynsec import rules_of
from wave.bus.emqx import Hook
from wave.bus.message import PUBLISH, Message
from wave.bus.mqtt_form import carried
from wave.bus.mqtt_line import Broker, Carried, connected
from wave.bus.standing import Held
from wave.bus.values import contexts, read_json
from wave.errors import BadPayload, TooLarge
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern


def test_mqtt_rules() -> None:
    home, alice = made("home").id, made("alice").id
    held = [(home, Held(PUBLISH, Pattern(f"a/{number}"), 1)) for number in range(LIMITS.mqtt_rules)]
    common = len(dynsec._common(alice))
    assert len(rules_of(alice, held)) == LIMITS.mqtt_rules + common
    with pytest.raises(TooLarge):
        rules_of(alice, [*held, (home, Held(PUBLISH, Pattern("b"), 1))])


async def test_mqtt_waiting(village: Village) -> None:
    """Messages whose proof does not come take a bounded room, and what finds none is counted."""
    now = village.world.now
    sent = [
        Message.create(
            village.world.entity("alice"),
            permission=PUBLISH,
            namespace=village.home,
            resource=SLOT,
            created=now,
            expires=now + 30,
            nonce=os.urandom(16),
            proof=os.urandom(32),
        )
        for _ in range(LIMITS.mqtt_waiting + 1)
    ]
    async with village.bus("light") as light, connected(Broker.parse(village.url), None) as line:
        await light.subscribe(village.home, SLOT)
        for one in sent[:-1]:
            await line.send(carried(one))
        await until(lambda: len(light._arrivals) == LIMITS.mqtt_waiting)
        assert light.dropped == 0
        await line.send(carried(sent[-1]))
        await until(lambda: light.dropped == 1)
        assert len(light._arrivals) == LIMITS.mqtt_waiting


async def test_properties_count_in_what_waits(village: Village) -> None:
    """Not only payloads take room."""
    long = tuple((f"p{number}", "x" * 60_000) for number in range(8))
    async with connected(Broker.parse(village.url), None) as line, connected(Broker.parse(village.url), None) as other:
        await line.hear(["t"], kept=False)
        for _ in range(2 * LIMITS.queue_bytes // 480_000):
            await other.send(Carried("t", b"", user=long))
        await until(lambda: line.dropped > 0)
        assert LIMITS.queue_bytes - 500_000 < line._waiting <= LIMITS.queue_bytes
        while not line.idle:
            await line.receive()
        assert line._waiting == 0


async def test_a_topic_with_wildcards_takes_no_room(village: Village) -> None:
    async with connected(Broker.parse(village.url), None) as line:
        message = MQTTMessage(topic=b"a/+/#")
        message.payload = bytes(1000)
        line._on_message(None, None, message)
        assert (line._waiting, line.idle) == (0, True)
        message.topic = b"a/b"
        line._on_message(None, None, message)
        assert line._waiting > 1000
        await line.receive()
        assert (line._waiting, line.idle) == (0, True)


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_of_what_a_payload_says(begin: str, end: str) -> None:
    """What is nested deeper is not JSON to anybody, whatever else it says."""
    times = LIMITS.nesting // len(end)
    deep = begin * times + "1" + end * times
    assert read_json(deep.encode()) is not None
    wide = "[" + ",".join(["[]"] * 1000) + "]"
    assert len(read_json(wide.encode())) == 1000
    for more in (f"[{deep}]", f'{{"set_point": 70, "x": {deep}}}', begin * 600 + "1" + end * 600):
        with pytest.raises(BadPayload):
            read_json(more.encode())
        assert contexts("application/json", more.encode()) == ({},)


async def test_mqtt_sessions(village: Village) -> None:
    hook = Hook(
        "town", (village.home,), standing=village, facts=village.facts, clock=village.clock, tell=lambda _: None
    )
    alice = village.world.id("alice")
    for number in range(LIMITS.mqtt_sessions):
        await hook._admit(alice, str(number), guest=False)
    assert len(hook._known[alice].sessions) == LIMITS.mqtt_sessions
    await hook._admit(alice, "one more", guest=False)
    assert len(hook._known[alice].sessions) == LIMITS.mqtt_sessions
    assert "0" not in hook._known[alice].sessions
