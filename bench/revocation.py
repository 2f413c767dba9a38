"""How long a revocation takes on a chain with a block each second: from sending the transaction to the first refusal.

The agent that refuses follows the chain as the daemon does: it asks for the newest block before a check, when what it
heard last is older than ``REFRESH_AFTER``.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figure import Figure
from tests.chain.nodes import MODULES, anvil
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.server import REFRESH_AFTER
from wave.agent.settings import Settings
from wave.chain.client import ChainClient
from wave.chain.sender import revoke_call
from wave.codec import id_text, sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.errors import Revoked
from wave.namespace.grant import right
from wave.namespace.pattern import Pattern

RUNS = 16
BLOCK = 1.0  # seconds
BOUND = BLOCK + 0.2  # one block, and 200 ms
GIVE_UP = 10.0  # seconds
DAY = 86_400


def _person(name: str, now: int) -> EntitySecret:
    return EntitySecret.create(lambda size: sha256(name.encode())[:size], created=now - DAY, expires=now + DAY)


def _given(owner: EntitySecret, guest: EntitySecret, now: int) -> list[Dot]:
    return [
        Dot.create(
            owner,
            receiver=guest.id,
            namespace=owner.id,
            grants=(right(("publish",), f"light/{run}"),),
            created=now - 5,
            expires=now + DAY,
        )
        for run in range(RUNS)
    ]


def seconds_to_refusal(node: str, scratch: Path) -> list[float]:
    """Return, for each of the runs, the seconds from sending a revocation to the first refusal by another agent."""
    now = int(time.time())
    owner, guest = _person("owner", now), _person("guest", now)
    dots = _given(owner, guest, now)
    found = []
    with (
        ChainClient.connect(node, state=scratch) as sender,
        Engine.open(Settings(scratch / "follower", node), refresh_after=REFRESH_AFTER) as follower,
    ):
        sender.publish_many([thing.to_bytes() for thing in (owner.entity, guest.entity, *dots)])
        for run, dot in enumerate(dots):
            ask = wire.Ask(
                subject=id_text(guest.id),
                namespace=id_text(owner.id),
                statements=(wire.Wanted(permission="publish", pattern=Pattern(f"light/{run}")),),
            )
            question = wire.Verify(proof=follower.call(wire.Prove(ask=ask)).proof, ask=ask)
            follower.call(question)
            prepared = sender.prepare([revoke_call([dot.preimage(owner)])])
            time.sleep(BLOCK * run / RUNS)  # so that the runs begin at all parts of a block's second
            start = time.perf_counter()
            sender.broadcast(prepared)
            found.append(_refused(follower, question, start))
    return found


def _refused(follower: Engine, question: wire.Verify, start: float) -> float:
    while (seconds := time.perf_counter() - start) < GIVE_UP:
        try:
            follower.call(question)
        except Revoked:
            return time.perf_counter() - start
        time.sleep(0.005)
    return seconds


def figures() -> Iterator[Figure]:
    """Yield the median and the longest of the runs, on anvil."""
    name = "from sending a revocation to the first refusal, blocks of 1 s"
    if not list(MODULES.glob("@foundry-rs/anvil-*/bin/anvil")):
        yield Figure(name, None, "s", BOUND, "anvil is not installed: make nodes")
        return
    with tempfile.TemporaryDirectory() as scratch, anvil(Path(scratch), "--block-time", f"{BLOCK:g}") as node:
        found = seconds_to_refusal(node.url, Path(scratch))
    yield Figure(f"{name}, median", median(found), "s", note=f"{len(found)} runs, anvil")
    yield Figure(f"{name}, longest", max(found), "s", BOUND)
