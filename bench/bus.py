"""What a delivery costs through one router: 300-byte messages, checked by the router and by every subscriber.

Router and publishers share one process, subscribers stand in two more. A signature for each message, and one for all
that wait together (sheaves). Beside it, in the same run, Mosquitto, which checks nothing, with the same readers.
The best of some blocks counts: what else runs on the machine can only make a block longer.
"""

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TypeAlias

from bench.figure import Figure
from wave.bus.peer import Peer
from wave.bus.router import Router
from wave.bus.websocket import serving
from wave.codec import sha256
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.entities.entity import EntitySecret
from wave.namespace.grant import right

PAYLOAD: Final = b"x" * 300
READERS: Final = 10
PROCESSES: Final = 2
BLOCKS, MESSAGES = 6, 1_000
IN_FLIGHT: Final = 64  # publications that wait for the router's answer
SHEAVES, SINGLY = 200.0, 667.0  # microseconds for each delivery: 5,000 and 1,500 a second
PATIENCE: Final = 40.0
_FACTS_KEPT: Final = 0.05
_MOSQUITTO: Final = "/usr/sbin/mosquitto"

_Pipes: TypeAlias = "list[Connection[object, object]]"


class Cast:
    """Who takes part, the same in every process, and what an agent would answer them."""

    def __init__(self) -> None:
        self._home = _entity("home")
        self._facts = Facts(1, bytes(32), 0)

    @property
    def home(self) -> bytes:
        return self._home.id

    def peer(self, name: str, permission: str, url: str, *, sheaves: bool) -> Peer:
        """Return the peer of somebody who holds ``permission`` on everything in the home."""
        secret, now = _entity(name), int(time.time())
        dot = Dot.create(
            self._home, receiver=secret.id, namespace=self.home, grants=(right((permission,), "*"),),
            created=now - 3600, expires=now + 3600,
        )  # fmt: skip
        proof = Proof.build([(dot,)], [self._home.entity, secret.entity])

        async def prove(_: Request) -> tuple[Proof, int]:
            return proof, now + 3600

        return Peer(
            secret, url, proofs=prove, facts=self.facts, clock=time.time, draw=os.urandom, patience=PATIENCE,
            sheaves=sheaves,
        )  # fmt: skip

    async def facts(self) -> Facts:
        """Return what an agent's feed would, made anew as often."""
        now = time.time()
        if now - self._facts.time > 1 or now % 1 % _FACTS_KEPT < _FACTS_KEPT / 50:
            self._facts = Facts(1, bytes(32), int(now))
        return self._facts


def _entity(name: str) -> EntitySecret:
    draws = count()
    return EntitySecret.create(
        lambda _: sha256(f"bench {name} {next(draws)}".encode()), created=1_700_000_000, expires=4_000_000_000
    )


def figures() -> Iterator[Figure]:
    """Yield microseconds for each delivery, with the deliveries in a second."""
    for publishers in (1, 10):
        for sheaves in (True, False):
            each = asyncio.run(_through_router(publishers, sheaves=sheaves))
            how, bound = ("sheaves", SHEAVES) if sheaves else ("a signature a message", SINGLY)
            yield _figure(f"{publishers} to {READERS}, {how}", each, bound)
    for publishers in (1, 10):
        name = f"{publishers} to {READERS}, Mosquitto, nothing checked"
        if Path(_MOSQUITTO).exists():
            yield _figure(name, asyncio.run(_through_mosquitto(publishers)), None)
        else:
            yield Figure(name, None, "us", None, "there is no Mosquitto here")


def _figure(name: str, each: list[float], bound: float | None) -> Figure:
    best, mean = min(each), sum(each) / len(each)
    note = f"{1e6 / best:.0f} deliveries a second; the mean of {len(each)} blocks {mean:.0f} us"
    return Figure(name, best, "us", bound, note)


# Readers in processes of their own ----------------------------------------------------------------------------------


@asynccontextmanager
async def _readers(target: Callable[..., None], *arguments: object) -> AsyncIterator[_Pipes]:
    context = get_context("spawn")
    pipes, processes = [], []
    for part in range(PROCESSES):
        here, there = context.Pipe()
        names = [f"reader {number}" for number in range(part, READERS, PROCESSES)]
        process = context.Process(target=target, args=(there, names, *arguments), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        await _said(pipes)
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


async def _said(pipes: _Pipes) -> list[object]:
    """Wait for a word from every process."""
    async with asyncio.timeout(PATIENCE):
        return [await asyncio.to_thread(pipe.recv) for pipe in pipes]


async def _blocks(pipes: _Pipes, publish: list[Callable[[], Awaitable[object]]]) -> list[float]:
    """Return microseconds for each delivery in each block: from the first publication to the last delivery."""
    each = []
    for _ in range(BLOCKS + 1):
        for pipe in pipes:
            pipe.send(MESSAGES)
        start = time.perf_counter()
        said = asyncio.create_task(_said(pipes))
        await asyncio.gather(*[_publish_all(one, MESSAGES // len(publish)) for one in publish])
        await said
        each.append((time.perf_counter() - start) / (MESSAGES * READERS) * 1e6)
    return each[1:]


async def _publish_all(publish: Callable[[], Awaitable[object]], messages: int) -> None:
    left = count(messages, -1)

    async def some() -> None:
        while next(left) > 0:
            await publish()

    await asyncio.gather(*[some() for _ in range(min(IN_FLIGHT, messages))])


# WAVE ---------------------------------------------------------------------------------------------------------------


async def _through_router(publishers: int, *, sheaves: bool) -> list[float]:
    cast = Cast()
    router = Router(cast.facts, clock=time.time, draw=os.urandom)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(router, port=0))
        pipes = await stack.enter_async_context(_readers(_read, url))
        peers = [
            await stack.enter_async_context(cast.peer(f"writer {number}", "publish", url, sheaves=sheaves))
            for number in range(publishers)
        ]
        return await _blocks(
            pipes, [partial(peer.publish, cast.home, "a/b", PAYLOAD, content_type="") for peer in peers]
        )


def _read(pipe: "Connection[object, object]", names: list[str], url: str) -> None:
    asyncio.run(_read_all(pipe, names, url))


async def _read_all(pipe: "Connection[object, object]", names: list[str], url: str) -> None:
    cast = Cast()
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(cast.peer(name, "subscribe", url, sheaves=True)) for name in names]
        readings = [await peer.subscribe(cast.home, "a/*", refused=_complain) for peer in peers]
        pipe.send("ready")
        while True:
            messages = await asyncio.to_thread(pipe.recv)
            await asyncio.gather(*[_read_some(reading, int(str(messages))) for reading in readings])
            pipe.send([peer.dropped for peer in peers])


async def _read_some(reading: AsyncIterator[object], messages: int) -> None:
    for _ in range(messages):
        await anext(reading)


def _complain(_: object, error: Exception) -> None:
    raise error


# Mosquitto ----------------------------------------------------------------------------------------------------------


async def _through_mosquitto(publishers: int) -> list[float]:
    import aiomqtt

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp()
    settings = Path(folder) / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", "utf-8")
    logging.getLogger("mqtt").setLevel(logging.ERROR)  # it tells of every publication that waits
    broker = subprocess.Popen([_MOSQUITTO, "-c", settings], stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - at once
    try:
        async with AsyncExitStack() as stack:
            await _listens(port)
            pipes = await stack.enter_async_context(_readers(_read_mqtt, port))
            clients = [
                await stack.enter_async_context(
                    aiomqtt.Client("127.0.0.1", port, max_concurrent_outgoing_calls=IN_FLIGHT)
                )
                for _ in range(publishers)
            ]
            return await _blocks(pipes, [partial(client.publish, "a/b", PAYLOAD) for client in clients])
    finally:
        broker.terminate()
        broker.wait()
        shutil.rmtree(folder)


async def _listens(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def _read_mqtt(pipe: "Connection[object, object]", names: list[str], port: int) -> None:
    asyncio.run(_read_all_mqtt(pipe, names, port))


async def _read_all_mqtt(pipe: "Connection[object, object]", names: list[str], port: int) -> None:
    import aiomqtt

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(aiomqtt.Client("127.0.0.1", port)) for _ in names]
        for client in clients:
            await client.subscribe("a/#")
        readings = [aiter(client.messages) for client in clients]
        pipe.send("ready")
        while True:
            messages = await asyncio.to_thread(pipe.recv)
            await asyncio.gather(*[_read_some(reading, int(str(messages))) for reading in readings])
            pipe.send([0])
