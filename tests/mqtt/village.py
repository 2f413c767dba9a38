"""A world whose agent answers from memory and whose messages go over a broker."""

import os
from dataclasses import replace
from typing import Any

from tests.world import World
from wave.bus.mqtt import MqttBus
from wave.bus.mqtt_line import Broker, Carried, connected
from wave.bus.standing import Held, topical
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.dots.holdings import holdings
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.search import find_proof
from wave.entities.entity import Entity
from wave.errors import ChainUnavailable, UnknownEntity

LIGHT = "s.light/light0/i.boolean"
SLOT = f"{LIGHT}/slot/state"


class Village:
    """Entities by name on one broker, and what an agent would say of who may what."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.home = world.id("home")
        self.graph = Graph()
        self.url = ""
        self.chain_down = False
        self.block_time: int | None = None
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
        self._check()
        time = self.world.now if self.block_time is None else self.block_time
        return replace(self.world.facts, entities={}, time=time)

    async def prove(self, request: Request) -> tuple[Proof, int]:
        """What an agent answers to Prove."""
        facts = replace(self.world.facts, entities={**self.world.records, **self.world.published})
        proof = find_proof(self.graph, request, facts, now=self.world.now)
        return proof, min([dot.expires for dot in proof.dots], default=self.world.now + 3600)

    def bus(self, name: str, **more: Any) -> MqttBus:
        """Return the bus of that name, not connected yet."""
        options = {"proofs": self.prove, "facts": self.facts, "clock": self.clock, "draw": os.urandom, **more}
        return MqttBus(self.world.entity(name), options.pop("url", self.url), **options)

    async def whole_facts(self) -> Facts:
        facts = await self.facts()
        return replace(facts, entities=self.world.records)

    # What a lock asks ----------------------------------------------------------------------------------------------

    async def members(self, namespace: bytes) -> tuple[bytes, ...]:
        self._check()
        dots = list(self.graph.dots(namespace))
        return tuple(dict.fromkeys([namespace, *(end for dot in dots for end in (dot.giver, dot.receiver))]))

    async def held(self, subject: bytes, namespace: bytes) -> tuple[Held, ...]:
        self._check()
        found = holdings(self.graph, subject, await self.whole_facts(), self.world.now)
        return tuple(
            Held(one.permission, one.pattern, one.until)
            for one in found.rights
            if one.namespace == namespace and topical(one.permission, tuple(map(str, one.conditions)))
        )

    async def record(self, identity: bytes) -> Entity:
        found = self.world.records.get(identity)
        if found is None:
            raise UnknownEntity("nobody of that id")
        return found

    def _check(self) -> None:
        if self.chain_down:
            raise ChainUnavailable("the chain is down")


def granted(world: World) -> Village:
    """Alice may publish to the light's slots, and the light may subscribe to them."""
    village = Village(world)
    village.given = village.give("home", "alice", f"publish@home/{LIGHT}/slot/*")
    village.read = village.give("home", "light", f"subscribe,query,list@home/{LIGHT}/slot/*")
    return village


async def overheard(url: str, count: int, act: Any, *topics: str) -> list[Carried]:
    """Return the first publications that anybody who asks a plain broker sees while ``act`` is done."""
    found: list[Carried] = []
    async with connected(Broker.parse(url), None) as line:
        await line.hear(topics or ("wave/#",), kept=False)
        await act()
        while len(found) < count:
            found.append(await line.receive())
    return found
