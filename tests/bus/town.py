"""A world with a message router on loopback and an agent's two answers (proofs, facts) from memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.world import World
from wave.bus.peer import Peer
from wave.bus.router import Router
from wave.bus.websocket import serving
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.search import find_proof
from wave.errors import ChainUnavailable


class Town:
    """Peers by name on one router, whose agent knows every DoT that was given in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.home = world.id("home")
        self.graph = Graph()
        self.url = ""
        self.chain_down = False
        self.block_time: int | None = None
        self.review_every = 0.02
        self.routers: list[Router] = []
        self.proofs_built = 0
        self.given: Dot
        self.read: Dot

    def give(self, giver: str, receiver: str, *texts: str, **fields: Any) -> Dot:
        """Grant, and let the agent know."""
        dot = self.world.grant(giver, receiver, *texts, **fields)
        self.graph.add(dot)
        return dot

    def clock(self) -> float:
        return self.world.now

    async def facts(self) -> Facts:
        """What an agent's feed gives: revocations and the newest block, no records."""
        if self.chain_down:
            raise ChainUnavailable("the chain is down")
        time = self.world.now if self.block_time is None else self.block_time
        return replace(self.world.facts, entities={}, time=time)

    async def prove(self, request: Request) -> tuple[Proof, int]:
        """What an agent answers to Prove."""
        self.proofs_built += 1
        facts = replace(self.world.facts, entities={**self.world.records, **self.world.published})
        proof = find_proof(self.graph, request, facts, now=self.world.now)
        return proof, min([dot.expires for dot in proof.dots], default=self.world.now + 3600)

    def peer(self, name: str, **more: Any) -> Peer:
        """Return the peer of that name, not connected yet."""
        options = {"proofs": self.prove, "facts": self.facts, "clock": self.clock, "draw": os.urandom, **more}
        return Peer(self.world.entity(name), options.pop("url", self.url), **options)

    def router(self, kind: type[Router] = Router, **more: Any) -> Router:
        return kind(self.facts, clock=self.clock, draw=os.urandom, review_every=self.review_every, **more)

    @asynccontextmanager
    async def open(self, kind: type[Router] = Router, *, port: int = 0, **more: Any) -> AsyncIterator[Router]:
        """Serve a router while the body runs."""
        router = self.router(kind, **more)
        self.routers.append(router)
        async with serving(router, port=port) as url:
            self.url = url
            yield router


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds, for five seconds at most."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.005)
