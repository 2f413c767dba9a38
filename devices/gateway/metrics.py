"""The gateway's numbers for Prometheus."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from devices.gateway.app import Engine
from devices.health import Health, Part
from wave.bus.router import Clock, FactsSource

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class GatewayMetrics:
    """Counts what happens, and looks at an engine when asked for numbers."""

    def __init__(self) -> None:
        """Begin at nought."""
        registry = self._registry = CollectorRegistry()
        self._predictions = Counter(
            "wave_gateway_predictions", "Answers of applications", ["application", "default"], registry=registry
        )
        self._latency = Histogram(
            "wave_gateway_prediction_seconds",
            "Time to an application's answer",
            ["application"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._batches = Histogram(
            "wave_gateway_batch_size", "Questions at once", ["model", "version"], registry=registry, buckets=_SIZES
        )
        self._answering = Histogram(
            "wave_gateway_batch_seconds",
            "Time for a batch",
            ["model", "version"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._losses = Counter(
            "wave_gateway_replicas_lost", "Replicas that died or hung", ["model", "version"], registry=registry
        )

        self._found: dict[tuple[str, bool], tuple[Counter, Histogram]] = {}

    def predicted(self, application: str, seconds: float, *, default: bool) -> None:
        """Hear of an application's answer."""
        key = application, default
        if key not in self._found:
            counted = self._predictions.labels(application, "true" if default else "false")
            self._found[key] = counted, self._latency.labels(application)
        counted, timed = self._found[key]
        counted.inc()
        timed.observe(seconds)

    def batch(self, model: str, version: str, size: int, seconds: float) -> None:
        """Hear of a batch that was answered."""
        self._batches.labels(model, version).observe(size)
        self._answering.labels(model, version).observe(seconds)

    def lost(self, model: str, version: str) -> None:
        """Hear of a replica that was lost."""
        self._losses.labels(model, version).inc()

    def watch(self, engine: Engine) -> None:
        """Tell of an engine's queues, replicas and cache as well."""
        self._registry.register(_Engine(engine))

    def text(self) -> bytes:
        """Return the numbers in Prometheus's text form."""
        return generate_latest(self._registry)


class _Engine(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        labels = ["model", "version"]
        waiting = GaugeMetricFamily("wave_gateway_waiting", "Questions that wait", labels=labels)
        replicas = GaugeMetricFamily("wave_gateway_replicas", "Replicas that are there", labels=labels)
        limit = GaugeMetricFamily("wave_gateway_batch_limit", "Largest batch a replica takes now", labels=labels)
        for model in self._engine.models.values():
            for version, known in model.versions.items():
                if known.pool is not None:
                    waiting.add_metric([model.name, version], known.pool.waiting)
                    replicas.add_metric([model.name, version], len(known.pool.processes))
                    limit.add_metric([model.name, version], max(known.pool.batch_limits, default=0))
        cache = self._engine.cache
        asked = CounterMetricFamily("wave_gateway_cache", "Questions by what the cache had", labels=["found"])
        for found, number in (("result", cache.hits), ("in_flight", cache.joined), ("nothing", cache.misses)):
            asked.add_metric([found], number)
        yield from (waiting, replicas, limit, asked)


class GatewayHealth(Health):
    """A gateway's health: that of any daemon, and its own numbers."""

    def __init__(self, facts: FactsSource, clock: Clock, engine: Engine, metrics: GatewayMetrics) -> None:
        """Look at ``engine``, whose models are this daemon's parts."""
        super().__init__(facts, clock, lambda: _parts(engine))
        self._gateway = metrics
        metrics.watch(engine)

    async def metrics(self) -> bytes:
        """Return the numbers in Prometheus's text form."""
        return await super().metrics() + self._gateway.text()


def _parts(engine: Engine) -> dict[str, Part]:
    current = [model for model in engine.models.values() if model.current is not None]
    return {model.name: Part(bool(engine.pool_of(model.name).processes), subscribed=True) for model in current}
