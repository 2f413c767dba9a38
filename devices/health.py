"""How a daemon fares, over HTTP: ``/health`` for whoever restarts it, ``/metrics`` for Prometheus. No secret is in it.

The one importer of prometheus-client. Served on loopback or a private Unix socket, unless a host is named.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from wave.agent.metrics import ALLOWED, counted_by
from wave.bus.router import Clock, FactsSource
from wave.chain.listen import address_of, host_name, is_local_name, is_loopback, listen_tcp, listen_unix, remove_socket
from wave.dots.facts import Facts
from wave.errors import BadSetting, WaveError
from wave.limits import LIMITS

_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
_BYTES: Final = (512, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144)
_LAGS: Final = (0.5, 1, 2, 5, 15, 30, 60, 120, 600)
_PATIENCE: Final = 5.0  # seconds for the agent to say what the registry's newest block is
_LOOK_EVERY: Final = 1.0  # seconds between looks for revocations, of a daemon that makes no decisions itself


@dataclass(frozen=True, slots=True)
class Part:
    """One actor of a daemon: whether it reaches its carrier, hears all that it needs, and how much it listens to."""

    connected: bool
    subscribed: bool
    subscriptions: int = 0


Parts = Callable[[], Mapping[str, Part]]
"""Says how each part of the daemon fares now, by its name."""


class Health:
    """What a daemon knows of itself: its parts, its decisions and the age of its facts."""

    def __init__(self, facts: FactsSource, clock: Clock, parts: Parts) -> None:
        """Look at ``parts``, and at the registry through ``facts``."""
        self._facts = facts
        self._clock = clock
        self._parts = parts
        self._seen: Facts | None = None
        self._revoked: set[bytes] = set()
        registry = self._registry = CollectorRegistry()
        self._decisions = Counter(
            "wave_decisions", "Decisions, by what they were and why", ["result", "code"], registry=registry
        )
        self._duration = Histogram(
            "wave_decision_duration_seconds", "Time to decide", registry=registry, buckets=_SECONDS
        )
        self._proofs = Histogram("wave_proof_bytes", "Size of the proofs checked", registry=registry, buckets=_BYTES)
        self._age = Gauge("wave_registry_age_seconds", "Age of the newest block known", registry=registry)
        self._lag = Histogram(
            "wave_revocation_lag_seconds",
            "From a revocation's block to its being known",
            registry=registry,
            buckets=_LAGS,
        )
        self._subscriptions = Gauge("wave_active_subscriptions", "Subscriptions open now", registry=registry)
        ProcessCollector(registry=registry)

    def decided(self, code: str, seconds: float, proof_bytes: int) -> None:
        """Count a decision."""
        self._decisions.labels("allowed" if code == ALLOWED else "refused", code).inc()
        self._duration.observe(seconds)
        self._proofs.observe(proof_bytes)

    async def look(self) -> float:
        """Look at the registry and return the age of its newest block (s); raises :class:`Unavailable`."""
        async with asyncio.timeout(_PATIENCE):
            facts = await self._facts()
        age = self._clock() - facts.time
        if self._seen is None:
            self._revoked.update(facts.revocations)
        elif facts is not self._seen and len(facts.revocations) != len(self._revoked):
            new = facts.revocations.keys() - self._revoked
            self._revoked.update(new)
            for _ in new:
                self._lag.observe(max(0.0, age))
        self._seen = facts
        return age

    async def state(self) -> tuple[bool, dict[str, Any]]:
        """Return whether all is well, and the particulars."""
        parts = self._parts()
        connected = all(part.connected for part in parts.values())
        subscribed = all(part.subscribed for part in parts.values())
        unwell = sorted(name for name, part in parts.items() if not (part.connected and part.subscribed))
        age: float | None = None
        trouble = ""
        try:
            age = await self.look()
        except TimeoutError:
            trouble = "the agent does not answer"
        except WaveError as error:
            trouble = error.message
        if age is not None and age > LIMITS.max_staleness:
            trouble = "the newest block is too old to decide anything by"
        told = {
            "healthy": connected and subscribed and not trouble,
            "connected": connected,
            "subscribed": subscribed,
            "registry_age": None if age is None else round(age, 1),
            "unwell": unwell[:100],
        }
        return bool(told["healthy"]), told | ({"trouble": trouble} if trouble else {})

    async def metrics(self) -> bytes:
        """Return the numbers in Prometheus's text form; without a registry to look at, its age is not a number."""
        try:
            self._age.set(await self.look())
        except (TimeoutError, WaveError):
            self._age.set(float("nan"))
        self._subscriptions.set(sum(part.subscriptions for part in self._parts().values()))
        return generate_latest(self._registry)

    async def look_always(self) -> None:
        """Look at the registry each second, so that a revocation's lag is measured though nobody asks."""
        while True:
            with suppress(TimeoutError, WaveError):
                await self.look()
            await asyncio.sleep(_LOOK_EVERY)


@asynccontextmanager
async def serving(where: str, health: Health) -> AsyncIterator[str]:
    """Serve ``/health`` and ``/metrics`` at ``where`` while the body runs, and count meanwhile; give the address.

    ``where`` is a port of this machine alone, ``HOST:PORT``, or a path or ``unix:PATH`` of a socket that its owner
    alone can use. :class:`BadSetting`, :class:`PortInUse`.
    """
    listener, path, local = _listen(where)

    async def tell_health(request: web.Request) -> web.Response:
        _check_host(request, local=local)
        healthy, told = await health.state()
        return web.Response(
            text=json.dumps(told) + "\n", status=200 if healthy else 503, content_type="application/json"
        )

    async def tell_metrics(request: web.Request) -> web.Response:
        _check_host(request, local=local)
        return web.Response(body=await health.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/health", tell_health)
    application.router.add_get("/metrics", tell_metrics)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    looking = asyncio.create_task(health.look_always())
    try:
        await web.SockSite(runner, listener).start()
        with counted_by(health):
            yield f"unix:{path}" if path is not None else address_of(listener)
    finally:
        looking.cancel()
        await runner.cleanup()
        if path is not None:
            remove_socket(path)


def _listen(where: str) -> tuple[socket.socket, Path | None, bool]:
    """Return the listening socket, its path if it has one, and whether it is this machine's alone."""
    if where.startswith(("unix:", "/", "./")):
        path = Path(where.removeprefix("unix:")).absolute()
        return listen_unix(path), path, False
    host, _, port = where.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not (port.isascii() and port.isdecimal()):
        hint = "write PORT, HOST:PORT or a socket's path"
        raise BadSetting(f"{where[:80]!r} is no place to listen at", hint=hint)
    return listen_tcp(host, int(port), anywhere=True), None, is_loopback(host)


def _check_host(request: web.Request, *, local: bool) -> None:
    """Refuse a page in a browser here that reaches a local port under a name of its own."""
    if local and not is_local_name(host_name(request.headers.get("Host", ""))):
        raise web.HTTPMisdirectedRequest
