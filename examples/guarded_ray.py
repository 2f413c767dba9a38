"""A Ray task and a Ray actor that check the right of whoever calls them, in the worker process, before they act.

Run it with: python examples/guarded_ray.py   (a Ray cluster of its own; wants `pip install 'ray[default]'`)
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from devices.gateway.ray import keep_to_oneself
from wave import Dot, EntitySecret, Proof
from wave.agent.settings import Settings
from wave.bus.marks import Marks
from wave.chain.client import ChainClient
from wave.chain.node import EmbeddedNode
from wave.chain.serve import serving
from wave.guard import Guard
from wave.guard.decorator import guarded, sign_call
from wave.guard.facts import ChainFacts
from wave.namespace.grant import right

keep_to_oneself(os.environ)
import ray  # noqa: E402 - it reads some settings when it is imported
from ray.exceptions import RayTaskError  # noqa: E402

NOW = int(time.time())
owner, alice, bob = (EntitySecret.create(os.urandom, created=NOW, expires=NOW + 86_400) for _ in range(3))
NAMESPACE = owner.id  # what workers need of the owner: its id, and no key


def guard() -> Guard:
    """Return a worker's guard, which follows the chain by itself."""
    home = Path(tempfile.mkdtemp(dir=os.environ["EXAMPLE_HOME"]))
    source = ChainFacts(Settings(home, os.environ["EXAMPLE_CHAIN"]))
    source.catch_up()
    return Guard(NAMESPACE, [], facts=source.facts, authorities=["workers"], marks=Marks(home / "marks"))


@guarded(guard, namespace=NAMESPACE, permission="predict", resource="models/{model}")
def infer(model: str, row: list[float]) -> float:
    """Answer for whoever may ask this model: nobody else gets as far as this."""
    return sum(row) if model == "sums" else max(row)


class Counter:
    """Counts for a model. Whoever holds the actor's handle may call it, so each method checks."""

    def __init__(self) -> None:
        self.total = 0.0

    @guarded(guard, namespace=NAMESPACE, permission="predict", resource="models/{model}")
    def add(self, model: str, number: float) -> float:
        """Count, for whoever may ask this model."""
        self.total += number
        return self.total


def told(what: str, reference: Any) -> None:
    """Say what a call came to."""
    try:
        print(f"{what}: {ray.get(reference)}")
    except RayTaskError as error:
        print(f"{what}: refused [{getattr(error.cause, 'code', '?')}] {error.cause}")


def story(chain: str, folder: Path) -> None:
    """Call as alice, who may ask one model, and as others; then take her right back."""
    dot = Dot.create(
        owner,
        receiver=alice.id,
        namespace=NAMESPACE,
        grants=(right(("predict",), "models/sums"),),
        created=NOW,
        expires=NOW + 3600,
    )
    proof = Proof.build([(dot,)], [owner.entity, alice.entity, bob.entity])

    def ticket(sender: EntitySecret, function: Any, *args: Any) -> Any:
        return sign_call(sender, proof, function, *args, created=int(time.time()), nonce=os.urandom(16))

    task = ray.remote(infer)
    counter = ray.remote(Counter).remote()
    told("alice's task", task.remote(ticket(alice, infer, "sums", [1.0, 2.0]), "sums", [1.0, 2.0]))
    told("the same, altered", task.remote(ticket(alice, infer, "sums", [1.0, 2.0]), "sums", [99.0]))
    told("another model", task.remote(ticket(alice, infer, "secret", [1.0]), "secret", [1.0]))
    told("bob, with her proof", task.remote(ticket(bob, infer, "sums", [1.0]), "sums", [1.0]))
    once = ticket(alice, Counter.add, "sums", 1.0)
    told("alice's actor", counter.add.remote(once, "sums", 1.0))
    told("the same ticket", counter.add.remote(once, "sums", 1.0))
    told("without a ticket", counter.add.remote(None, "sums", 1.0))
    with ChainClient.connect(chain, state=folder) as client:
        client.revoke([dot.preimage(owner)])
    told("alice, revoked", counter.add.remote(ticket(alice, Counter.add, "sums", 1.0), "sums", 1.0))


async def main() -> None:
    """Run a chain and a cluster beside the story."""
    with tempfile.TemporaryDirectory() as name, EmbeddedNode.open(Path(name) / "chain") as node:
        async with serving(node, port=0) as chain:
            os.environ.update(EXAMPLE_HOME=name, EXAMPLE_CHAIN=chain)
            ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
            await asyncio.to_thread(story, chain, Path(name))
            ray.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
