"""A real Chromium, the system's own, for the tests of the page."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    path = shutil.which("chromium")
    if path is None:
        assert "WAVE_CI" not in os.environ, "the page is tested in Chromium, and there is none"
        pytest.skip("no chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: WAVE_SCREENSHOTS, or away."""
    directory = Path(os.environ.get("WAVE_SCREENSHOTS") or tmp_path / "pictures")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
