"""Rollout under load, behind the guard: not one error, and every answer from a version that was current.

``WAVE_ROLLOUT_SECONDS=60`` makes it as long as that, at some 200 questions a second.
"""

import asyncio
import os
import signal
from itertools import count
from time import monotonic
from typing import Any

import pytest

from tests.gateway.booth import Booth, Front, says

SECONDS = float(os.environ.get("WAVE_ROLLOUT_SECONDS", "0"))
CLIENTS = 3
PAUSE = CLIENTS / 200  # seconds between a client's questions


class Current:
    """Which versions may answer: the one, and while it is replaced the next one as well."""

    def __init__(self, version: str) -> None:
        self.now = {version}
        self.history = [self.now]

    async def becomes(self, version: str, change: "asyncio.Future[Any]") -> None:
        self._set(self.now | {version})
        await change
        self._set({version})

    def _set(self, versions: set[str]) -> None:
        self.now = versions
        self.history.append(versions)

    def since(self, place: int) -> set[str]:
        """Return the versions that might answer a question asked when the history was so long."""
        return set().union(*self.history[place - 1 :])


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_nobody_notices_deployment_rollback_scaling_and_the_loss_of_a_replica(booth: Booth, front: Front) -> None:
    await booth.deploy(says("'v0'"), "0")
    booth.serve("add", "sum", objective=10.0)
    clients = [await front.client(name, "predict@home/apps/add") for name in ("bob", "ann", "eve")]
    current = Current("0")
    seen: list[str] = []
    numbers = count()
    over = False

    async def asking(place: int) -> None:
        while not over:
            asked = len(current.history)
            row = [float(next(numbers) // 2)]  # each question twice: the cache takes part
            async with clients[place].post(front.questions.make_url("/add/predict"), json={"input": row}) as response:
                told = await response.json()
            assert (response.status, told["default"]) == (200, False), told
            version = told["output"].removeprefix("v")
            assert response.headers["Wave-Models"] == f"sum/{version}"
            assert version in current.since(asked)
            seen.append(version)
            await asyncio.sleep(PAUSE)

    async def changing() -> None:
        new = f"{len(current.history)}"
        before = booth.engine.models["sum"].current
        assert before is not None
        deploying = asyncio.ensure_future(booth.deploy(says(f"'v{new}'"), new))
        await current.becomes(new, deploying)
        await asyncio.sleep(5 * PAUSE)
        await current.becomes(before, asyncio.ensure_future(booth.engine.use("sum")))
        await booth.engine.scale("sum", 4)
        await asyncio.sleep(5 * PAUSE)
        os.kill(booth.engine.pool_of("sum").processes[0], signal.SIGKILL)
        await asyncio.sleep(5 * PAUSE)
        await booth.engine.scale("sum", 1)
        await asyncio.sleep(5 * PAUSE)
        await current.becomes(new, asyncio.ensure_future(booth.engine.use("sum", new)))

    until = monotonic() + SECONDS
    async with asyncio.TaskGroup() as group:
        for place in range(CLIENTS):
            group.create_task(asking(place))
        await changing()
        while monotonic() < until:
            await changing()
            await asyncio.sleep(SECONDS / 60)
        over = True
    assert len({*seen}) == len(booth.engine.models["sum"].versions)
    assert len(seen) > max(30, 50 * SECONDS)
