"""A map over serverless functions: each checks the right of whoever calls it before it computes anything.

Run it with: python examples/guarded_lithops.py     (Lithops on this machine; wants `pip install lithops`)
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lithops

from wave import Dot, EntitySecret, Proof, WaveError
from wave.agent.settings import Settings
from wave.bus.marks import Marks
from wave.chain.client import ChainClient
from wave.chain.node import EmbeddedNode
from wave.chain.serve import serving
from wave.guard import Guard
from wave.guard.decorator import Ticket, guarded, sign_call
from wave.guard.facts import ChainFacts
from wave.namespace.grant import right

NOW = int(time.time())
owner, alice, bob = (EntitySecret.create(os.urandom, created=NOW, expires=NOW + 86_400) for _ in range(3))
NAMESPACE = owner.id  # what workers need of the owner: its id, and no key


def guard() -> Guard:
    """Return a worker's guard, which follows the chain by itself."""
    home = Path(tempfile.mkdtemp(dir=os.environ["WAVE_HOME"]))
    source = ChainFacts(Settings(home, os.environ["WAVE_CHAIN"]))
    source.catch_up()
    marks = Marks(home / "marks")  # none: what was signed before this worker began is new to it all the same
    return Guard(NAMESPACE, [], facts=source.facts, authorities=["functions"], marks=marks)


@guarded(guard, namespace=NAMESPACE, permission="predict", resource="models/{model}")
def infer(model: str, row: list[float]) -> float:
    """Answer for whoever may ask this model: nobody else gets as far as this."""
    return sum(row) if model == "sums" else max(row)


def work(ticket: Ticket, model: str, row: list[float]) -> str:
    """Return what one function of the map has to say."""
    try:
        return f"{model}{row} = {infer(ticket, model, row)}"
    except WaveError as error:
        return f"{model}{row}: refused [{error.code}] {error.message}"


def story(chain: str, folder: Path) -> None:
    """Map over calls of alice's, one of bob's with her proof, and one after her right was taken back."""
    dot = Dot.create(
        owner,
        receiver=alice.id,
        namespace=NAMESPACE,
        grants=(right(("predict",), "models/sums"),),
        created=NOW,
        expires=NOW + 3600,
    )
    proof = Proof.build([(dot,)], [owner.entity, alice.entity, bob.entity])

    def call(sender: EntitySecret, model: str, row: list[float]) -> dict[str, Any]:
        """Return a call that carries what its sender signed for it, and the proof."""
        ticket = sign_call(sender, proof, infer, model, row, created=int(time.time()), nonce=os.urandom(16))
        return {"ticket": ticket, "model": model, "row": row}

    here = {"backend": "localhost", "storage": "localhost"}
    local = {"runtime": sys.executable, "worker_processes": 2}
    with lithops.FunctionExecutor(config={"lithops": here, "localhost": local}, log_level=None) as cloud:

        def show(calls: list[dict[str, Any]]) -> None:
            cloud.map(work, calls, extra_env={"WAVE_CHAIN": chain, "WAVE_HOME": str(folder)})
            print(*cloud.get_result(show_progressbar=False), sep="\n")

        altered = call(alice, "sums", [1.0, 2.0]) | {"row": [1.0, 2.0, 99.0]}
        show([call(alice, "sums", [1.0, 2.0]), altered, call(alice, "secret", [1.0]), call(bob, "sums", [1.0])])
        with ChainClient.connect(chain, state=folder) as client:
            client.revoke([dot.preimage(owner)])
        show([call(alice, "sums", [3.0])])


async def main() -> None:
    """Run a chain beside the story."""
    with tempfile.TemporaryDirectory() as name, EmbeddedNode.open(Path(name) / "chain") as node:
        async with serving(node, port=0) as chain:
            await asyncio.to_thread(story, chain, Path(name))


if __name__ == "__main__":
    asyncio.run(main())
