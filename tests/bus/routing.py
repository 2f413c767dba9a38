"""A router in a process of its own, to be killed: ``python -m tests.bus.routing STORE PORT``."""

import asyncio
import os
import sys
import time
from pathlib import Path

from tests.world import World
from wave.bus.router import Router
from wave.bus.store import Store
from wave.bus.websocket import serving
from wave.dots.facts import Facts


async def route(path: Path, port: int) -> None:
    async def facts() -> Facts:
        return World(int(time.time())).facts

    store = Store(path)
    async with serving(Router(facts, clock=time.time, draw=os.urandom, store=store), port=port) as url:
        print(url, flush=True)  # noqa: T201 - for the test that started it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(route(Path(sys.argv[1]), int(sys.argv[2])))
