"""Brokers for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mqtt.broker import Mosquitto, plain
from tests.mqtt.village import Village, granted
from tests.world import World


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A plain broker."""
    with plain(tmp_path) as found:
        yield found


@pytest.fixture
def village(world: World, mosquitto: Mosquitto) -> Village:
    """Alice may publish to the light's slots, over a plain broker."""
    found = granted(world)
    found.url = mosquitto.url
    return found
