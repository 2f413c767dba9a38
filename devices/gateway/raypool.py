"""The pool of a model whose replicas are in a Ray cluster."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from devices.gateway.batching import Question
from devices.gateway.model import Manifest
from devices.gateway.pool import Meter, WorkerPool
from devices.gateway.replica import Bounds, Output
from wave.errors import BadModel, ModelRaised, ReplicaLost
from wave.limits import LIMITS

if TYPE_CHECKING:
    from devices.gateway.ray import RayCluster

_STARTING: Final = 60.0  # seconds that a cluster may take to start a process, beyond what a model takes to load
IN_FLIGHT: Final = 2  # batches at a replica at once: one that it answers, and one on its way
DEPLOYMENT: Final = "model"
_RAISED: Final = re.compile(r"^\S*(?:BadModel|ModelAltered)\S*: (.+)$", re.MULTILINE)


class RayPool:
    """Answers questions with a deployment of Ray Serve: batches leave here, a few at a time for each replica."""

    def __init__(
        self,
        cluster: "RayCluster",
        manifest: Manifest,
        read: Callable[[], bytes],
        *,
        objective: float,
        bounds: Bounds,
        meter: Meter,
    ) -> None:
        """Have no replica yet."""
        self.manifest = manifest
        self.digest = manifest.digest
        self.bounds = bounds
        self._cluster = cluster
        self._read = read
        self._meter = meter
        batches = _Batches(meter)
        self._lanes = WorkerPool(manifest, bytes, objective=objective, bounds=bounds, meter=batches, start=self._lane)
        self._patience = _STARTING + 2 * cluster.in_flight(manifest) * bounds.answering
        self._handle: Any = None
        self._wanted = 0
        self._running: list[int] = []
        self._fault = ""
        self._heard = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def objective(self) -> float:
        """Seconds in which an answer is wanted; batches are held to it."""
        return self._lanes.objective

    @objective.setter
    def objective(self, seconds: float) -> None:
        self._lanes.objective = seconds

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return self._lanes.waiting

    @property
    def batch_limits(self) -> list[int]:
        """How large a batch may be now, for each that is under way at once."""
        return self._lanes.batch_limits

    @property
    def processes(self) -> list[int]:
        """The processes of the replicas that are there, each by its number on its own machine."""
        return self._running

    def ask(self, row: Any, deadline: float) -> Question:
        """Return a question that waits for its ``answer`` until ``deadline``; :class:`ModelBusy`."""
        return self._lanes.ask(row, deadline)

    async def scale(self, number: int) -> None:
        """Have so many replicas, at least, where the model scales with its load; return when they can answer.

        Raises :class:`BadModel` when one does not load, with the number as it was.
        """
        if number == self._wanted:
            return
        artefact = await asyncio.to_thread(self._read)
        await self._cluster.shelve(self.manifest, lambda: artefact)
        before, self._wanted = self._wanted, number
        try:
            await self._deploy()
            await self._ready()
        except BaseException:
            self._wanted = before
            await (self._deploy() if before else self._cluster.remove(self.manifest))
            raise

    async def _deploy(self) -> None:
        self._handle = await self._cluster.deploy(self, self._wanted)
        self._fault = ""

    async def _ready(self) -> None:
        name = f"{self.manifest.model} version {self.manifest.version}"
        try:
            async with asyncio.timeout(self.bounds.loading + _STARTING):
                while len(self._running) < self._wanted and not self._fault:
                    await self._heard.wait()
        except TimeoutError:
            hint = "are there processors for so many replicas? Each takes num_cpus of them"
            raise BadModel(f"{name} did not load in the cluster in time", hint=hint) from None
        if self._fault:
            raise BadModel(f"{name} cannot be loaded in the cluster: {self._fault}")
        await self.follow()

    def hear(self, told: Mapping[str, Any]) -> None:
        """Hear what the cluster has of the model now."""
        deployment = told.get("deployments", {}).get(DEPLOYMENT, {})
        there = [one for one in deployment.get("replicas", ()) if one["state"] == "RUNNING"]
        before, self._running = self._running, [one["pid"] for one in there]
        if len(self._running) < self._wanted:
            for _ in {*before} - {*self._running}:
                self._lost()
        self._fault = _fault(deployment["message"]) if told.get("status") == "DEPLOY_FAILED" else ""
        self._heard.set()
        self._heard.clear()

    def _lost(self) -> None:
        self._meter.lost(self.manifest.model, self.manifest.version)

    async def follow(self) -> None:
        """Have as many batches under way as the replicas take, and twice as many where there may be more replicas.

        By that Serve sees a load that is too much for those there. Where one is missing, so may be the file.
        """
        if not self._wanted:
            return
        if len(self._running) < self._wanted:
            await self._cluster.shelve(self.manifest, self._read)
        there = max(self._wanted, len(self._running))
        replicas = min(2 * there, self._cluster.most(self.manifest, self._wanted))
        async with self._turn:
            if self._wanted:
                await self._lanes.scale(min(replicas * self._cluster.in_flight(self.manifest), LIMITS.model_replicas))

    async def _lane(self, *_: object) -> "_Lane":
        return _Lane(self._send)

    async def _send(self, rows: Sequence[Any]) -> tuple[list[Output], float]:
        """Return the outputs of a batch, and the model's own seconds; :class:`ModelRaised`, :class:`ReplicaLost`."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        batch = json.dumps(rows, separators=(",", ":")).encode("ascii")
        try:
            async with asyncio.timeout(self._patience):
                told = json.loads(await self._handle.answer.remote(batch, self._cluster.sealed(self.manifest, batch)))
        except TimeoutError:
            raise ReplicaLost(f"no answer within {self._patience:g} s") from None
        except (RayError, RayServeException) as error:
            raise ReplicaLost(f"{type(error).__name__}: {first_line(error)}") from None
        if "raised" in told:
            raise ModelRaised(told["raised"])
        if "lost" in told:
            self._lost()
            raise ReplicaLost(told["lost"])
        return [Output(*one) for one in told["outputs"]], told["seconds"]

    async def close(self) -> None:
        """Answer what waits with the replicas that are there, then let them go."""
        self._wanted = 0
        async with self._turn:
            await self._lanes.close()
        await self._cluster.remove(self.manifest)

    async def abort(self) -> None:
        """End everything now."""
        self._wanted = 0
        async with self._turn:
            await self._lanes.abort()


class _Batches:
    """A meter that hears of batches alone: the loss of a replica is not the loss of each batch that it had."""

    def __init__(self, meter: Meter) -> None:
        self.batch = meter.batch

    def predicted(self, application: str, seconds: float, *, default: bool) -> None:
        """Pools answer no applications."""

    def lost(self, model: str, version: str) -> None:
        """A batch was lost."""


class _Lane:
    """A batch at a time on its way to whichever replica Serve finds for it."""

    pid = 0
    swollen = False
    ended = False

    def __init__(self, send: Callable[[Sequence[Any]], Awaitable[tuple[list[Output], float]]]) -> None:
        self.answer = send

    def on_end(self, hear: Callable[[], None]) -> None:
        """Lanes have no end of their own."""

    async def stop(self) -> None:
        """Nothing is held."""

    async def kill(self) -> None:
        """Nothing is held."""


def first_line(error: Exception) -> str:
    """Return what an error of Ray says, of all that it prints."""
    return str(error).strip().partition("\n")[0][:200]


def _fault(message: str) -> str:
    """Return what a replica raised, of all that Serve says."""
    found = _RAISED.findall(message)
    return str(found[-1] if found else message.strip().rpartition("\n")[2])[:500]
