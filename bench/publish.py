"""How long it takes to publish on the embedded node: one object after another, and many in one go, on a disk.

The best of some blocks counts: what else runs on the machine can only make a block longer. The note has the mean.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.figure import Figure, seconds
from wave.chain.client import ChainClient

OBJECT_BYTES: Final = 300
SINGLE_BLOCKS, SINGLES = 12, 25
TOGETHER_BLOCKS, TOGETHER = 4, 250
BOUND: Final = 10.0  # milliseconds: 100 a second


def figures() -> Iterator[Figure]:
    """Yield milliseconds for each object, mined and on the disk."""
    numbers = iter(range(10**9))

    def made() -> bytes:
        return next(numbers).to_bytes(8, "big") + b"\xff" * (OBJECT_BYTES - 8)

    with tempfile.TemporaryDirectory() as folder, ChainClient.connect("embedded", state=Path(folder)) as client:
        client.publish(made())
        yield _figure("publish one object and wait", lambda: client.publish(made()), SINGLE_BLOCKS, SINGLES, 1)
        name = f"publish {TOGETHER} objects together, each"
        yield _figure(
            name, lambda: client.publish_many([made() for _ in range(TOGETHER)]), TOGETHER_BLOCKS, 1, TOGETHER
        )


def _figure(name: str, action: Callable[[], object], blocks: int, times: int, objects: int) -> Figure:
    each = [seconds(action, times) / times / objects * 1_000 for _ in range(blocks)]
    best, mean = min(each), sum(each) / blocks
    return Figure(name, best, "ms", BOUND, f"{1_000 / best:.0f} a second; the mean of {blocks} blocks {mean:.2f} ms")
