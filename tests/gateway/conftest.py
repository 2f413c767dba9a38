"""Fixtures for the gateway."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.booth import Booth, Front, fronted


@pytest.fixture
async def booth(tmp_path: Path) -> AsyncIterator[Booth]:
    """A gateway that runs, with no model yet."""
    found = Booth(tmp_path)
    async with found.engine.running():
        yield found


@pytest.fixture
async def front(booth: Booth) -> AsyncIterator[Front]:
    """The same, served over HTTP behind its guards."""
    async with fronted(booth) as served:
        yield served
