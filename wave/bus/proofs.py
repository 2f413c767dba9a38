"""Where a peer's proofs come from: built through the agent, kept until their end or a refusal."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from wave.agent.client import AgentClient
from wave.agent.wire import Ask, Prove
from wave.dots.cache import LeastRecent
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.entities.entity import Entity
from wave.errors import WaveError
from wave.limits import LIMITS
from wave.namespace.condition import VALUE

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

    async def get(self, asked: tuple[Request, ...], now: int) -> Proof:
        """Return a proof of all of ``asked``, which differ in their values alone."""
        for key in (_key(asked), _key(asked, values=False)):
            known = self._known.get(key)
            if known is not None and now < known[1]:
                return known[0]
        found = [await self._source(request) for request in asked]
        proof = Proof.build(
            [path for one, _ in found for path in one.paths],
            [self._subject, *[entity for one, _ in found for entity in one.entities.values()]],
        )
        self._known[_key(asked, values=_bounds_values(proof))] = proof, min(until for _, until in found)
        return proof

    async def renew(self, asked: tuple[Request, ...], now: int) -> Proof | None:
        """Forget the proof that was refused and return what can be had in its place now, if anything."""
        for key in (_key(asked), _key(asked, values=False)):
            self._known.pop(key, None)
        try:
            return await self.get(asked, now)
        except WaveError:
            return None


def _key(asked: tuple[Request, ...], *, values: bool = True) -> object:
    first = asked[0]
    named = tuple(tuple(sorted(request.context.items())) for request in asked) if values else None
    return first.namespace, first.statements, named


def _bounds_values(proof: Proof) -> bool:
    """Tell whether another value could need another proof: a condition somewhere in this one is about values."""
    grants = [right for dot in proof.dots for right in dot.grants]
    return any(condition.kind == VALUE for right in grants for condition in right.conditions)
