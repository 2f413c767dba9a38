"""Where a client's proofs come from: whoever gives one for what a service wants."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from wave.agent.client import AgentClient, BlockingClient
from wave.agent.wire import Ask, Prove
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import WaveError
from wave.guard.signer import Challenge

Prover: TypeAlias = Callable[[Challenge], Proof | None]
AsyncProver: TypeAlias = Callable[[Challenge], Awaitable[Proof | None]]


def agent_prover(agent: AgentClient, secret: EntitySecret) -> AsyncProver:
    """Return what asks an agent for a proof of what ``secret`` may do; None when it has none."""

    async def prove(challenge: Challenge) -> Proof | None:
        try:
            reply = await agent.call(Prove(ask=Ask.of(challenge.asked_by(secret.id))))
        except WaveError:
            return None
        return with_own_record(reply.proof, secret)

    return prove


def blocking_prover(agent: BlockingClient, secret: EntitySecret) -> Prover:
    """Return the same for code that is not asynchronous."""

    def prove(challenge: Challenge) -> Proof | None:
        try:
            reply = agent.call(Prove(ask=Ask.of(challenge.asked_by(secret.id))))
        except WaveError:
            return None
        return with_own_record(reply.proof, secret)

    return prove


def with_own_record(data: bytes, secret: EntitySecret) -> Proof:
    """Return a proof with the sender's own record in it, which a path to everybody does not bring along."""
    proof = Proof.from_bytes(data)
    return Proof.build(proof.paths, [secret.entity, *proof.entities.values()])
