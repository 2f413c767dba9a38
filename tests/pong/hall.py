"""A hall with a game of pong: an agent, a guarded gateway with real workers, the page, and browsers before it."""

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from devices.gateway.app import Engine, Terms
from devices.gateway.metrics import GatewayMetrics
from devices.gateway.model import Manifest, sign_model
from devices.gateway.service import query_app, query_rules
from devices.gateway.store import ModelStore
from devices.pong.page.server import serving
from tests.page.street import DAY, Place
from wave.agent.client import AgentClient, FactsFeed
from wave.agent.server import serving as serving_agent
from wave.agent.settings import Settings
from wave.chain.listen import address_of, listen_tcp
from wave.dots.proof import Proof
from wave.guard.guard import Guard

PLAY = ("predict", "apps/pong")
ANY = ("predict", "models/pong/*")
FOLLOW = """\
def predict(rows):
    return [0 if abs(row[3] - row[0] - 0.06) < 0.02 else 1 if row[3] > row[0] + 0.06 else 2 for row in rows]
"""
RISE = "def predict(rows):\n    return [2] * len(rows)\n"


class Hall(Place):
    """A place whose gateway serves the application ``pong``."""

    def __init__(self, settings: Settings, agent: AgentClient) -> None:
        super().__init__(settings, agent)
        self.engine = Engine(
            self.owner.id,
            ModelStore(settings.home / "gateway"),
            facts=FactsFeed(agent).facts,
            meter=GatewayMetrics(),
        )
        self.gateway = ""
        self.began = 0.0  # when the guard did
        self.now = time.time
        self.decisions: list[dict[str, Any]] = []

    async def deploy(self, version: str, source: str) -> None:
        """Let a version of the model answer, written in Python."""
        data = source.encode()
        now = int(time.time())
        signed = sign_model(
            self.owner,
            self.owner.id,
            Manifest.of(data, model="pong", version=version, format="python", input_type="floats"),
            Proof.build((), (self.owner.entity,)),
            now=now,
            lifetime=DAY,
            nonce=os.urandom(16),
        )
        await self.engine.deploy(signed, data)

    def codes(self, path: str = "/pong/predict") -> list[str]:
        """Return what the guard decided on each question at a path, in order."""
        return [one["code"] for one in self.decisions if one["path"] == path]

    def note(self, entry: Mapping[str, Any]) -> None:
        """Keep a decision of the guard."""
        self.decisions.append(dict(entry))


@asynccontextmanager
async def hall(directory: Path) -> AsyncIterator[Hall]:
    """Open a hall in which version 1 follows the ball."""
    settings = Settings(directory)
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(AgentClient(await stack.enter_async_context(serving_agent(settings))))
        here = Hall(settings, agent)
        await here.name("home", here.owner)
        await stack.enter_async_context(here.engine.running())
        await here.deploy("1", FOLLOW)
        terms = {"input_type": "floats", "default_output": 0, "objective": 0.5}
        here.engine.register("pong", Terms.parse(terms))
        here.engine.link("pong", "pong")
        listener = listen_tcp("127.0.0.1", 0)
        here.gateway = address_of(listener)
        page = serving(agent, here.gateway, app="pong", port=0, clock=here.now)
        here.url = await stack.enter_async_context(page)
        here.began = here.now()
        guard = Guard(
            here.owner.id,
            query_rules(),
            facts=FactsFeed(agent).facts,
            authorities=[here.gateway.removeprefix("http://")],
            record=here.note,
        )
        runner = web.AppRunner(query_app(here.engine, guard, origins=[here.url]), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()
        try:
            yield here
        finally:
            for context in here.contexts:
                await context.close()
