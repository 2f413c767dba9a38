"""SIGKILL at every step of a publish: nothing acknowledged is lost, and nothing is written twice."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.agent.publisher import OWNER
from wave.agent import wire
from wave.agent.batches import Batches
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored, Claimed, Published, Revocation
from wave.chain.node import EmbeddedNode
from wave.chain.serve import serving
from wave.entities.object import decode_object

AT_A_STEP = 144  # deaths before or after a named step
AT_ANY_TIME = 60  # deaths whenever they come
STEPS = 78  # more than one round of publish, anchor, revoke and claim takes
ROOT = Path(__file__).parents[2]


@contextmanager
def chain(directory: Path) -> Iterator[str]:
    """Serve an embedded chain from a thread of this process; give its address."""
    ready: list[str] = []
    stop: list[asyncio.Event] = []
    up = threading.Event()

    async def serve() -> None:
        stop.append(asyncio.Event())
        with EmbeddedNode.open(directory / "chain") as node:
            async with serving(node, path=directory / "c.sock") as address:
                ready.append(address)
                loops.append(asyncio.get_running_loop())
                up.set()
                await stop[0].wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert up.wait(30)
        yield ready[0]
    finally:
        loops[0].call_soon_threadsafe(stop[0].set)
        thread.join()


@pytest.mark.timeout(180)  # some two hundred lives
def test_nothing_acknowledged_is_lost_and_nothing_is_written_twice_whenever_it_is_killed() -> None:
    """More than 200 deaths of a home that publishes, anchors, revokes and claims on a chain that lives on."""
    with TemporaryDirectory(prefix="wave") as folder, chain(Path(folder)) as address:
        settings = Settings(Path(folder) / "home", address)
        with Engine.open(settings) as engine:
            engine.call(wire.Publish(objects=(OWNER.entity.to_bytes(),)))
        with ChainClient.connect(address, state=settings.home) as client:
            before = client.nonce() - 1  # of which one is the owner's record
        said = kill_again_and_again(settings)
        with Engine.open(settings) as engine:
            deadline = time.monotonic() + 20
            while engine.call(wire.Status()).pending and time.monotonic() < deadline:
                engine.registrar.flush()
            assert engine.call(wire.Status()).pending == 0
        check(settings, said, before)


def kill_again_and_again(settings: Settings) -> list[tuple[str, str]]:
    """Let the home live and die; return what it acknowledged."""
    choose = random.Random(2026)
    lives = [str(7 * number % STEPS) for number in range(AT_A_STEP)] + ["-"] * AT_ANY_TIME
    choose.shuffle(lives)
    said: list[tuple[str, str]] = []
    deaths = Counter[str]()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    run = [sys.executable, "-m", "tests.agent.publisher", str(settings.home), settings.chain]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for life in lives:
            parent.stdin.write(f"{life}\n".encode())
            parent.stdin.flush()
            while True:
                what, *words = parent.stdout.readline().decode().split()
                if what == "life" and life == "-":
                    time.sleep(choose.uniform(0.0, 0.1))
                    os.kill(int(words[0]), signal.SIGKILL)
                elif what == "over":
                    deaths[words[0]] += 1
                    break
                elif what != "life":
                    said.append((what, words[0]))
        parent.stdin.close()
    assert deaths == {str(int(signal.SIGKILL)): AT_A_STEP + AT_ANY_TIME}
    return said


def check(settings: Settings, said: list[tuple[str, str]], before: int) -> None:
    """Compare what was acknowledged with what stands on the chain; ``before``: transactions of others before."""
    with ChainClient.connect(settings.chain, state=settings.home) as client:
        events = client.events(0, client.head().number)
        nonce = client.nonce()
    roots = [event.root for event in events if isinstance(event, Anchored)]
    shelf = Batches(settings.home / "batches")
    objects = Counter(decode_object(event.data).id for event in events if isinstance(event, Published))
    for root in roots:
        batch = shelf.read(root)
        assert batch is not None
        objects.update(decode_object(data).id for data in batch.objects)
    there = {
        "object": {identity.hex() for identity in objects},
        "root": {root.hex() for root in roots},
        "revoked": {event.commitment.hex() for event in events if isinstance(event, Revocation)},
        "alias": {event.label.decode() for event in events if isinstance(event, Claimed)},
    }
    assert [(what, name) for what, name in said if name not in there[what]] == []
    assert {identity.hex(): times for identity, times in objects.items() if times > 1} == {}
    assert [root for root, times in Counter(roots).items() if times > 1] == []
    assert len(said) > AT_ANY_TIME
    commitments = len(there["alias"])
    assert nonce - before == len(events) + commitments, "there is a transaction that nobody meant"
