"""Fixtures and settings for all tests."""

import pytest
from hypothesis import HealthCheck, settings

from tests.world import World

settings.register_profile(
    "wave", deadline=None, max_examples=100, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wave")


@pytest.fixture
def world() -> World:
    """A new world: nobody in it yet, nothing revoked."""
    return World()
