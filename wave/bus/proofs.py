"""Where a peer's proofs come from: built through the agent, kept until their end or a refusal."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from wave.agent.client import AgentClient
from wave.agent.wire import Ask, Prove
from wave.bus.message import bounds_values
from wave.dots.cache import LeastRecent
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.entities.entity import Entity
from wave.errors import WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

ProofSource: TypeAlias = Callable[[Request], Awaitable[tuple[Proof, int]]]
"""Gives a proof for a request, and until when (UTC seconds) it is good; raises :class:`NoProof` and its like."""


def agent_proofs(agent: AgentClient) -> ProofSource:
    """Return the source that asks an agent."""

    async def prove(request: Request) -> tuple[Proof, int]:
        reply = await agent.call(Prove(ask=Ask.of(request)))
        return Proof.from_bytes(reply.proof), reply.until

    return prove


class Proofs:
    """Proofs for what one subject does, each asked for once while it is good, with the subject's record in them.

    (A path to everybody would not bring it along, and without it nobody could check the subject's signature.)
    """

    def __init__(self, subject: Entity, source: ProofSource) -> None:
        """Ask ``source``."""
        self._subject = subject
        self._source = source
        self._known: LeastRecent[object, tuple[Proof, int]] = LeastRecent(LIMITS.proofs_kept)
        self._asking = asyncio.Lock()

    def standing(self, namespace: bytes, permission: str, where: Pattern, now: int) -> Proof | None:
        """Return the proof that is known to be good for this whatever the payload says, if there is one."""
        known = self._known.get((namespace, permission, where))
        return known[0] if known is not None and now < known[1] else None

    async def get(self, asked: tuple[Request, ...], now: int) -> Proof:
        """Return a proof of all of ``asked``, which differ in their values alone."""
        async with self._asking:  # of many that want the same at once, one asks
            for key in (_key(asked), _key(asked, values=False)):
                known = self._known.get(key)
                if known is not None and now < known[1]:
                    return known[0]
            found = [await self._source(request) for request in asked]
            proof = Proof.build(
                [path for one, _ in found for path in one.paths],
                [self._subject, *[entity for one, _ in found for entity in one.entities.values()]],
            )
            self._known[_key(asked, values=bounds_values(proof))] = proof, min(until for _, until in found)
            return proof

    async def renew(self, asked: tuple[Request, ...], now: int, refused: Proof) -> Proof | None:
        """Forget the proof that was refused and return what can be had in its place now, if anything."""
        for key in (_key(asked), _key(asked, values=False)):
            known = self._known.get(key)
            if known is not None and known[0] is refused:
                del self._known[key]
        try:
            return await self.get(asked, now)
        except WaveError:
            return None


def _key(asked: tuple[Request, ...], *, values: bool = True) -> object:
    first = asked[0]
    statement = first.statements[0]
    named = (tuple(tuple(sorted(request.context.items())) for request in asked),) if values else ()
    return first.namespace, statement.permission, statement.pattern, *named
