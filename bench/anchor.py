"""Anchored objects a second, end to end and through two whole agents; a single publication; and the gas.

Each is a process of its own, as in use: the embedded chain (``wave chain run``), two agents (``wave agent run``), and
this one, which signs objects and sends them to the first agent. That one checks every signature, keeps the objects on
the disk, anchors them in batches and hands these out. The second agent follows the chain, fetches the batches from the
first one, checks them against their roots and takes the objects in; it looks at a signature when an object is first
used, as every agent does. The clock runs from the first signature until the second agent knows the last object.
"""

import asyncio
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.figure import Figure, seconds
from bench.startup import WAVE
from wave.agent.client import AgentClient
from wave.agent.registrar import Registrar
from wave.agent.wire import Anchor, AnchorReply, FindObject, Publish, Status
from wave.chain.client import ChainClient
from wave.chain.follower import Follower
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.object import SignedObject
from wave.limits import LIMITS
from wave.namespace.grant import right

ROUNDS = 4
OBJECTS = 8 * LIMITS.batch_objects  # a round
TOGETHER = 1_024  # objects in one call
CALLS = 8  # on their way at a time
SAMPLE = 16
LOOK = 0.1  # seconds between looks at what the second agent knows
ALONE = 200
LEAST = 5_000  # objects a second
MOST = 1e6 / LEAST  # microseconds an object
LEAST_ALONE = 100
MOST_ALONE = 1e3 / LEAST_ALONE  # milliseconds a publication
ANCHOR_GAS = 30  # an object, in batches of 1,000
_PROCESSES: Final = ("the signer", "the chain", "the first agent", "the second")
_TICKS: Final = os.sysconf("SC_CLK_TCK")

Signed = Callable[[int], Dot]


class _Round(NamedTuple):
    """How long a round took, and the processor time that each process spent on it; in seconds."""

    taken: float
    spent: tuple[float, ...]


def figures() -> Iterator[Figure]:
    """Yield the time that an object takes to go all the way; that of a single publication; and the gas."""
    now = int(time.time())
    giver, receiver = (
        EntitySecret.create(secrets.token_bytes, created=now - 60, expires=now + 86_400) for _ in range(2)
    )
    light = right(("publish",), "light/*")

    def dot(serial: int) -> Dot:
        return Dot.create(
            giver,
            receiver=receiver.id,
            namespace=giver.id,
            grants=(light,),
            created=now - 60,
            expires=now + 86_400 + serial,
        )

    records = tuple(one.entity.to_bytes() for one in (giver, receiver))
    rounds = asyncio.run(_through_agents(records, dot))
    best, middle = min(rounds), median(one.taken for one in rounds)
    note = (
        f"{OBJECTS / best.taken:,.0f} objects/s in the best of {ROUNDS} rounds, {OBJECTS / middle:,.0f} in the median"
    )
    if best.spent:
        each = [1e6 * spent / OBJECTS for spent in best.spent]
        shares = ", ".join(f"{name} {one:.0f}" for name, one in zip(_PROCESSES, each, strict=True))
        note += f"; on {os.cpu_count()} processors it keeps one busy for {sum(each):.0f} us: {shares}"
    yield Figure("an anchored object, end to end through two agents", 1e6 * best.taken / OBJECTS, "us", MOST, note)
    alone, gas = _alone([one.entity.to_object() for one in (giver, receiver)], dot)
    yield Figure("a single publication", 1e3 * alone, "ms", MOST_ALONE, f"{1 / alone:,.0f}/s, through the outbox")
    yield Figure("gas of an anchored object, in batches of 1,000", gas, "gas", ANCHOR_GAS)


async def _through_agents(records: tuple[bytes, ...], dot: Signed) -> list[_Round]:
    """Start a chain and two agents, and bring objects from one to the other."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        chain = _started(stack, home / "chain", "chain", "run", "--socket", str(home / "node.sock"))
        use = ("chain", "use", f"unix:{home / 'node.sock'}")
        _run(home / "first", *use)
        _run(home / "second", *use, "--source", str(home / "first" / "agent.sock"))
        agents = [_started(stack, home / name, "agent", "run") for name in ("first", "second")]
        pids = [os.getpid(), chain.pid, *(agent.pid for agent in agents)]
        async with (
            AgentClient(str(home / "first" / "agent.sock")) as first,
            AgentClient(str(home / "second" / "agent.sock")) as second,
        ):
            await first.call(Publish(objects=records))
            await second.call(Status())
            return [await _round(first, second, partial(_later, dot, one * OBJECTS), pids) for one in range(ROUNDS)]


def _later(dot: Signed, first: int, serial: int) -> Dot:
    return dot(first + serial)


async def _round(first: AgentClient, second: AgentClient, dot: Signed, pids: list[int]) -> _Round:
    known = (await second.call(Status())).counts.dots
    spent, start = _spent(pids), time.perf_counter()
    following = asyncio.create_task(_followed(second, known + OBJECTS))
    calls: set[asyncio.Task[AnchorReply]] = set()
    for at in range(0, OBJECTS, TOGETHER):
        objects = tuple(dot(serial).to_bytes() for serial in range(at, at + TOGETHER))
        calls.add(asyncio.create_task(first.call(Anchor(objects=objects))))
        await asyncio.sleep(0)
        while len(calls) >= CALLS:
            done, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in done:
                call.result()
    await asyncio.gather(*calls)
    await following
    taken = time.perf_counter() - start
    after = _spent(pids)
    for serial in range(0, OBJECTS, OBJECTS // SAMPLE):  # an object that is found by its id has its signature looked at
        assert (await second.call(FindObject(id=id_text(dot(serial).id)))).height is not None
    return _Round(taken, tuple(end - begin for begin, end in zip(spent, after, strict=True)))


async def _followed(agent: AgentClient, dots: int) -> None:
    """Wait until the agent knows so many DoTs."""
    while (await agent.call(Status())).counts.dots < dots:  # noqa: ASYNC110 - it is another process that changes it
        await asyncio.sleep(LOOK)


def _spent(pids: list[int]) -> list[float]:
    """Return the processor time that processes have spent, in seconds; nothing where /proc does not say it."""
    if not Path("/proc/self/stat").exists():
        return []
    found = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return [(int(words[11]) + int(words[12])) / _TICKS for words in found]


def _environment(home: Path) -> dict[str, str]:
    return {**{name: one for name, one in os.environ.items() if not name.startswith("WAVE_")}, "WAVE_HOME": str(home)}


def _run(home: Path, *arguments: str) -> None:
    subprocess.run([WAVE, *arguments], env=_environment(home), check=True, capture_output=True, timeout=60)


def _started(stack: ExitStack, home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run a daemon for as long as ``stack`` is open; return it once it answers."""
    process = subprocess.Popen(
        [WAVE, *arguments], env=_environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def stop() -> None:
        process.terminate()
        process.communicate(timeout=30)

    stack.callback(stop)
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError(f"'wave {' '.join(arguments)}' did not start")
    return process


def _alone(records: list[SignedObject], dot: Signed) -> tuple[float, float]:
    """Return the seconds that a single publication takes, and the gas of an anchored object."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with ChainClient.connect("embedded", state=home) as client, Follower(client, home / "replica.sqlite") as own:

            def height_of(identity: bytes) -> int | None:
                entry = own.object(identity)
                return None if entry is None else entry.height

            writer = Registrar(home, own, client=lambda: client, sync=own.sync, height_of=height_of)
            try:
                writer.publish(records)
                made = [dot(serial).to_object() for serial in range(-ALONE, 0)]
                return (
                    seconds(lambda: writer.publish(made)) / ALONE,
                    client.anchor(secrets.token_bytes(32), 1_000).gas / 1_000,
                )
            finally:
                writer.close()
