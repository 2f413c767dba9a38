"""Fixtures and settings for all tests."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.world import World

settings.register_profile(
    "wave", deadline=None, max_examples=100, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wave")

FIRST = (
    "cli/test_demo.py",
    "agent/test_kills.py",
    "chain/test_chain_quorum.py",
    "mqtt/test_mqtt_lock.py",
    "test_name_wave.py",
    "page/test_page.py",
    "devices/test_home_end_to_end.py",
    "homeassistant/test_assistant_command.py",
    "cli/test_readme.py",
    "devices/test_daemons_end_to_end.py",
    "cli/test_history.py",
    "bus/test_kill.py",
)
"""Files that take longest, of which no two that start many processes stand together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: several are run at a time, and none should be alone at the end."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def world() -> World:
    """A new world: nobody in it yet, nothing revoked."""
    return World()
