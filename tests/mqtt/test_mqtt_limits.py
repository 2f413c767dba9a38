"""Bounds of the MQTT carrier: at the bound, and one past it."""

import os

import pytest

from tests.mqtt.broker import until
from tests.mqtt.village import SLOT, Village
from tests.world import made
from wave.bus import dynsec
from wave.bus.dynsec import rules_of
from wave.bus.message import PUBLISH, Message
from wave.bus.mqtt_form import carried
from wave.bus.mqtt_line import Broker, connected
from wave.bus.standing import Held
from wave.errors import TooLarge
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
