"""What the gateway gains by batches and by its cache, and what its guard costs, on a scikit-learn model.

The model is a random forest under an objective of 20 ms. Every question is a new one, the cache's own figure aside.
"""

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.figure import Figure
from bench.guard import Town, _ask, _bytes, _listening
from devices.gateway.app import Engine, Terms
from devices.gateway.batching import BatchSize
from devices.gateway.metrics import GatewayMetrics
from devices.gateway.model import Manifest, sign_model
from devices.gateway.pool import WorkerPool
from devices.gateway.service import query_app, query_rules
from devices.gateway.store import ModelStore
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.guard.guard import Guard
from wave.guard.signature import HttpRequest
from wave.guard.signer import Heard, Signer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

OBJECTIVE = 0.02
THROUGHPUT_BOUND = 1 / 5
LATE_BOUND = 0.01
HIT_BOUND = 1.0  # ms
GUARD_BOUND = 1 / 0.9
CLIENTS = 16  # that ask at once, each the next question when it has its answer
ATTEMPTS = 8
SECONDS = 1.0
TURNS = 30
REQUESTS = 240  # in a turn
PATH = "/v2/models/forest/infer"
_numbers = count()


def figures() -> Iterator[Figure]:
    """Yield what batches and the cache gain, and the throughput behind the guard."""
    yield from asyncio.run(_engine_figures())
    plain, guarded, ratio = _throughput()
    note = f"{guarded:,.0f} of {plain:,.0f} requests/s"
    yield Figure("gateway, unguarded / guarded with a session", ratio, "x", GUARD_BOUND, note)


async def _engine_figures() -> list[Figure]:
    async with _forest(Town(int(time.time()))) as engine:
        pool = engine.pool_of("forest")
        assert isinstance(pool, WorkerPool)
        batches, alone, late = [], [], []
        for _ in range(ATTEMPTS):
            await _load(engine, 1, SECONDS / 3)
            answers, defaults = await _load(engine, CLIENTS, SECONDS)
            batches.append(answers)
            late.append(defaults)
            size, pool._places[0].size = pool._places[0].size, _One(OBJECTIVE)  # noqa: SLF001
            answers, _ = await _load(engine, 1, SECONDS / 3)
            alone.append(answers)
            pool._places[0].size = size  # noqa: SLF001
        hits = await _hits(engine)
    best = max(range(ATTEMPTS), key=lambda place: (late[place] <= LATE_BOUND, batches[place]))
    note = f"{batches[best]:,.0f} against {max(alone):,.0f} answers/s"
    return [
        Figure("one by one / batches, random forest, 20 ms", max(alone) / batches[best], "x", THROUGHPUT_BOUND, note),
        Figure("share of answers that are late or default", late[best], "", LATE_BOUND, f"best of {ATTEMPTS} runs"),
        Figure("cache hit, p50", hits * 1000, "ms", HIT_BOUND),
    ]


class _One(BatchSize):
    """Batches of one."""

    def note(self, size: int, seconds: float) -> None:
        """Learn nothing."""


async def _load(engine: Engine, clients: int, seconds: float) -> tuple[float, float]:
    """Return answers a second by the model, and the share that was late or default."""
    over = time.perf_counter() + seconds
    good = bad = 0

    async def one() -> None:
        nonlocal good, bad
        while (began := time.perf_counter()) < over:
            found = await engine.predict("app", _row())
            in_time = not found.default and time.perf_counter() - began <= OBJECTIVE * 1.1
            good, bad = good + in_time, bad + (not in_time)

    began = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(clients)])
    return good / (time.perf_counter() - began), bad / (good + bad)


async def _hits(engine: Engine) -> float:
    row = _row()
    await engine.infer(engine.pool_of("forest"), [row])
    times = []
    for _ in range(1000):
        began = time.perf_counter()
        await engine.predict("app", row)
        times.append(time.perf_counter() - began)
    return median(times)


def _row() -> list[float]:
    """Return a question that was not asked before."""
    number = next(_numbers)
    return [number * 1e-9, *[(number * step % 1009) / 1009 for step in (7, 31, 127, 5, 3, 2, 17)]]


def _trained() -> bytes:
    import joblib
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    draw = np.random.default_rng(7)
    points = draw.random((500, 8))
    model = RandomForestClassifier(12, max_depth=8, random_state=7).fit(points, points[:, 0] > points[:, 1])
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


@asynccontextmanager
async def _forest(town: Town) -> AsyncIterator[Engine]:
    """Run an engine with the forest as the application ``app``."""
    artefact = _trained()
    home = town.people[0]

    async def facts() -> Facts:
        return replace(town.facts, time=int(time.time()))

    manifest = Manifest.of(artefact, model="forest", version="1", format="sklearn")
    proof = Proof.build((), [home.entity])
    signed = sign_model(home, home.id, manifest, proof, now=town.now, lifetime=3600, nonce=bytes(16))
    with TemporaryDirectory() as directory:
        engine = Engine(home.id, ModelStore(Path(directory)), facts=facts, meter=GatewayMetrics())
        async with engine.running():
            await engine.deploy(signed, artefact)
            engine.register("app", Terms("doubles", 0, OBJECTIVE))
            engine.link("app", "forest")
            yield engine


# Behind the guard --------------------------------------------------------------------------------------------------


def _throughput() -> tuple[float, float, float]:
    """Return how many requests a second the gateway answers without its guard and with it, and the ratio of both."""
    context = get_context("spawn")
    here, there = context.Pipe()
    now = int(time.time())
    server = context.Process(target=_serve, args=(now, there))
    server.start()
    try:
        return asyncio.run(_drive(Town(now), *here.recv()))
    finally:
        here.send(None)
        server.join()


def _serve(now: int, pipe: "Connection[Any, Any]") -> None:
    logging.disable()
    asyncio.run(_serving(Town(now), pipe))


async def _serving(town: Town, pipe: "Connection[Any, Any]") -> None:
    from aiohttp import web

    async def facts() -> Facts:
        if int(time.time()) != town.facts.time:
            town.facts = replace(town.facts, time=int(time.time()))
        return town.facts

    async with _forest(town) as engine:
        listeners = [_listening() for _ in range(2)]
        ports = [one.getsockname()[1] for one in listeners]
        guard = Guard(town.people[0].id, query_rules(), facts=facts, authorities=[f"127.0.0.1:{ports[1]}"])
        for listener, given in zip(listeners, (None, guard), strict=True):
            runner = web.AppRunner(query_app(engine, given), access_log=None)
            await runner.setup()
            await web.SockSite(runner, listener).start()
        pipe.send(ports)
        await asyncio.to_thread(pipe.recv)


async def _drive(town: Town, plain_port: int, guarded_port: int) -> tuple[float, float, float]:
    """Take turns, first the one and then the other; return the requests a second of each, and the ratio."""
    signer = Signer(town.sender, town.proof(0))
    await _begin(signer, _request(guarded_port), guarded_port)
    plain, guarded = [], []
    for number in range(TURNS):
        asked = [_bytes(_request(plain_port)) for _ in range(REQUESTS)]
        signed = [_signed(signer, _request(guarded_port)) for _ in range(REQUESTS)]
        if number % 2:
            plain.append(await _turn(plain_port, asked))
            guarded.append(await _turn(guarded_port, signed))
        else:
            guarded.append(await _turn(guarded_port, signed))
            plain.append(await _turn(plain_port, asked))
    return median(plain), median(guarded), median([one / other for one, other in zip(plain, guarded, strict=True)])


def _request(port: int) -> HttpRequest:
    tensor = {"name": "input", "shape": [1, 8], "datatype": "FP64", "data": _row()}
    body = json.dumps({"inputs": [tensor]}).encode()
    return HttpRequest("POST", "http", f"127.0.0.1:{port}", PATH, "", {"content-type": "application/json"}, body)


async def _begin(signer: Signer, request: HttpRequest, port: int) -> None:
    """Shake hands."""
    conversation = signer.converse(request)
    handshake = next(conversation)
    assert isinstance(handshake, HttpRequest)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = await _ask(reader, writer, _bytes(handshake))
    writer.close()
    conversation.send(Heard(200, {}, body))
    conversation.close()


def _signed(signer: Signer, request: HttpRequest) -> bytes:
    ready = next(signer.converse(request))
    assert isinstance(ready, HttpRequest)
    assert ready.path == PATH
    return _bytes(ready)


async def _turn(port: int, requests: list[bytes]) -> float:
    """Return the requests a second over connections each of which asks one at a time."""

    async def one(mine: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in mine:
            await _ask(reader, writer, request)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*[one(requests[place::CLIENTS]) for place in range(CLIENTS)])
    return len(requests) / (time.perf_counter() - begun)
