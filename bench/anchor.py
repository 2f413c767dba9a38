"""Anchored objects a second, end to end: signed, queued on the disk, anchored, and followed by a second agent.

Both agents run on the embedded node of this machine. The second one fetches the batches from the first one's directory.
"""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from bench.figure import Figure, seconds
from wave.agent.registrar import Registrar
from wave.chain.client import ChainClient
from wave.chain.follower import Follower
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.namespace.grant import right

ROUNDS = 16
OBJECTS = 4_096  # a round
ALONE = 200
LEAST = 5_000  # objects a second
MOST = 1e6 / LEAST  # microseconds an object
LEAST_ALONE = 100
MOST_ALONE = 1e3 / LEAST_ALONE  # milliseconds a publication
ANCHOR_GAS = 30  # an object, in batches of 1,000


def figures() -> Iterator[Figure]:
    """Yield the time an object takes, in all and by stage; of a single publication; and the gas."""
    now = int(time.time())
    giver, receiver = (
        EntitySecret.create(secrets.token_bytes, created=now - 60, expires=now + 86_400) for _ in range(2)
    )
    light = right(("publish",), "light/*")

    def dot(first: int, serial: int) -> Dot:
        return Dot.create(
            giver,
            receiver=receiver.id,
            namespace=giver.id,
            grants=(light,),
            created=now - 60,
            expires=now + 86_400 + first + serial,
        )

    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        first.mkdir()
        second.mkdir()
        with (
            ChainClient.connect("embedded", state=first) as client,
            Follower(client, first / "replica.sqlite") as own,
            Follower(client, second / "replica.sqlite") as other,
        ):
            writer, reader = _registrar(first, own, client), _registrar(second, other, client, str(first / "batches"))
            try:
                writer.publish([giver.entity.to_object(), receiver.entity.to_object()])
                other.sync()
                made = [dot(0, serial).to_object() for serial in range(-ALONE, 0)]
                alone = seconds(lambda: writer.publish(made)) / ALONE
                other.sync()
                before = len(list(other.objects()))
                rounds = [_round(writer, reader, other, partial(dot, number * OBJECTS)) for number in range(ROUNDS)]
                assert len(list(other.objects())) - before == ROUNDS * OBJECTS
                gas = client.anchor(secrets.token_bytes(32), 1_000).gas / 1_000
            finally:
                writer.close()
                reader.close()
    best = min(rounds, key=lambda stages: sum(stages.values()))
    whole, middle = sum(best.values()), median(sum(stages.values()) for stages in rounds)
    note = f"{OBJECTS / whole:,.0f} objects/s in the best of {ROUNDS} rounds, {OBJECTS / middle:,.0f} in the median; "
    note += ", ".join(f"{name} {1e6 * taken / OBJECTS:.0f}" for name, taken in best.items())
    yield Figure("an anchored object, end to end", 1e6 * whole / OBJECTS, "us", MOST, note)
    yield Figure("a single publication", 1e3 * alone, "ms", MOST_ALONE, f"{1 / alone:,.0f}/s, through the outbox")
    yield Figure("gas of an anchored object, in batches of 1,000", gas, "gas", ANCHOR_GAS)


def _round(writer: Registrar, reader: Registrar, other: Follower, dot: Callable[[int], Dot]) -> dict[str, float]:
    """Bring a batch of objects all the way; return the seconds that each stage took."""
    dots: list[Dot] = []
    return {
        "signed": seconds(lambda: dots.extend(map(dot, range(OBJECTS)))),
        "queued": seconds(lambda: _queue(writer, dots)),
        "anchored": seconds(writer.flush),
        "followed": seconds(lambda: _follow(reader, other)),
    }


def _registrar(home: Path, follower: Follower, client: ChainClient, *sources: str) -> Registrar:
    def height_of(identity: bytes) -> int | None:
        entry = follower.object(identity)
        return None if entry is None else entry.height

    return Registrar(home, follower, client=lambda: client, sync=follower.sync, height_of=height_of, sources=sources)


def _queue(writer: Registrar, dots: list[Dot]) -> None:
    for start in range(0, len(dots), 500):
        writer.queue([dot.to_object() for dot in dots[start : start + 500]])


def _follow(reader: Registrar, follower: Follower) -> None:
    follower.sync()
    while follower.missing_batches():
        reader.take_in()
