"""Models on a Ray cluster: each version that is loaded is a deployment of Ray Serve, which scales it with its load.

The gateway's HTTP, its guard, its cache and its batches stay where they are; only a batch travels. No deployment has a
route, so Serve's own HTTP reaches none of them, and a replica answers what its gateway sealed and nothing else.
"""

import asyncio
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from devices.gateway.model import Manifest
from devices.gateway.pool import Meter
from devices.gateway.raypool import DEPLOYMENT, IN_FLIGHT, RayPool, first_line
from devices.gateway.rayreplica import HERE_ALONE, SEAL_BYTES, ModelReplica, Shelf, seal
from devices.gateway.replica import MIB, Bounds
from wave.codec import sha256
from wave.errors import BadSetting, ClusterUnavailable, WaveError
from wave.limits import LIMITS

T = TypeVar("T")

LOCAL: Final = "local"
AUTO: Final = "auto"

_CONNECTING: Final = 5.0  # seconds for a first look at whether anything listens at an address
_LOOKING: Final = 0.5  # seconds between two looks at what the cluster has
_ENDING: Final = 10.0  # seconds for the processes of a cluster of one's own to end
_STORE_BYTES: Final = 1024 * MIB  # of a local cluster's object store: a few models on their way at once
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else a call that comes after the end starts a whole new cluster
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Between which numbers of replicas Ray Serve moves, by how many batches are under way at each on average."""

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = float(IN_FLIGHT)
    upscale_delay_s: float = 10.0
    downscale_delay_s: float = 120.0

    def __post_init__(self) -> None:
        """Check every field; :class:`BadSetting`."""
        if any(type(one) is not int for one in (self.min_replicas, self.max_replicas)) or not (
            1 <= self.min_replicas <= self.max_replicas <= LIMITS.model_replicas
        ):
            raise BadSetting(f"autoscaling: 1 <= min_replicas <= max_replicas <= {LIMITS.model_replicas}")
        delays = self.upscale_delay_s, self.downscale_delay_s
        numbers = (*delays, self.target_ongoing_requests)
        if any(type(one) not in (int, float) or not math.isfinite(one) for one in numbers) or not (
            self.target_ongoing_requests > 0 and min(delays) >= 0
        ):
            raise BadSetting("autoscaling: the target is a number above 0, and delays are not below 0")

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Self:
        """Return what a table says, in Ray's own words; :class:`BadSetting`."""
        if not set(table) <= set(cls.__slots__) or "max_replicas" not in table:
            known = ", ".join(sorted(cls.__slots__))
            raise BadSetting("autoscaling has max_replicas, and may have others", hint=f"there are {known}")
        return cls(**table)

    def options(self, fewest: int) -> dict[str, Any]:
        """Return Serve's ``autoscaling_config``, with at least ``fewest`` replicas."""
        numbers = {name: getattr(self, name) for name in self.__slots__}
        return numbers | {"min_replicas": fewest, "max_replicas": max(fewest, self.max_replicas)}


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Which cluster: ``local`` starts one of the gateway's own, ``auto`` finds the one here, or HOST:PORT of another.

    Each replica takes ``num_cpus`` of it. Models scale by ``autoscaling``, each by its own where it has one.
    """

    address: str = LOCAL
    num_cpus: float = 1.0
    autoscaling: Autoscaling | None = None
    by_model: Mapping[str, Autoscaling] = field(default_factory=dict)

    @property
    def scales(self) -> bool:
        """Whether any model is to scale with its load."""
        return self.autoscaling is not None or bool(self.by_model)

    def of(self, model: str) -> Autoscaling | None:
        """Return how a model scales; None: as many replicas as it is told."""
        return self.by_model.get(model, self.autoscaling)


def keep_to_oneself(environment: MutableMapping[str, str]) -> None:
    """Have a cluster that is started from here listen at the loopback address, and to those who know a token, alone.

    To be called before Ray is imported, which reads some of it then and once.
    """
    environment.update(_QUIET)
    environment[HERE_ALONE] = "0"
    environment["RAY_AUTH_MODE"] = "token"
    environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def clear(directory: Path) -> None:
    """Remove the directory that Ray used; its processes may write there to the last."""
    until = time.monotonic() + _ENDING
    while directory.exists() and time.monotonic() < until:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.05)


class RayCluster:
    """A gateway's part of a Ray cluster. Open it with ``async with cluster.running():``, then it makes pools."""

    def __init__(self, settings: RaySettings, name: str) -> None:
        """Be the gateway ``name``: what an earlier one of that name left behind in the cluster is removed.

        Its applications there begin with ``prefix``.
        """
        self._settings = settings
        self.prefix = f"wave-{sha256(name.encode()).hex()[:12]}."
        self._thread = ThreadPoolExecutor(1, "ray")  # Ray's processes end with the thread that started them
        self._key = secrets.token_bytes(SEAL_BYTES)
        self._pools: dict[str, RayPool] = {}
        self._shelf: Any = None
        self._joined = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Be connected while the body runs, and leave nothing behind. :class:`ClusterUnavailable`."""
        directory = Path(tempfile.mkdtemp(prefix="wave-ray-"))
        try:
            await self.do(lambda: self._connect(directory))
            _hear_signals_again()
            watch = asyncio.create_task(self._watch())
            try:
                yield self
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
        finally:
            await self.do(lambda: self._leave(directory))
            self._thread.shutdown()

    def pool(
        self, manifest: Manifest, read: Callable[[], bytes], *, objective: float, bounds: Bounds, meter: Meter
    ) -> RayPool:
        """Return a pool of which the replicas are in the cluster."""
        return RayPool(self, manifest, read, objective=objective, bounds=bounds, meter=meter)

    async def do(self, what: Callable[[], T]) -> T:
        """Return what a call of Ray returns, which waits, and is made in Ray's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    # Connection -----------------------------------------------------------------------------------------------------

    def _connect(self, directory: Path) -> None:
        address = self._settings.address
        os.environ.update(_QUIET)
        if address == LOCAL:
            keep_to_oneself(os.environ)
            os.environ.setdefault("RAY_worker_niceness", "0")  # 15 else: who asks a model waits for its answer
        elif address != AUTO:
            _look(address)
        try:
            import ray
        except ImportError:
            raise ClusterUnavailable("Ray is not installed here", hint="pip install 'wave-auth[ray]'") from None
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": self.prefix}
        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        own["_temp_dir"] = str(directory / "r")  # which Ray opens to everybody, behind a door that it leaves closed
        try:
            context = ray.init(address=address, **quiet, **(own if address == LOCAL else {}))
            self._joined = True
            self._settle(context.address_info["node_ip_address"])
        except WaveError:
            raise
        except Exception as error:  # noqa: BLE001 - Ray raises of all kinds
            raise ClusterUnavailable(f"there is no Ray cluster at {address!r}: {first_line(error)}") from None

    def _settle(self, place: str) -> None:
        """Have Serve, without what an earlier gateway of this name left, and a shelf."""
        import ray
        from ray import serve

        if self._settings.address == LOCAL and not place.startswith("127."):
            raise ClusterUnavailable("Ray was loaded before, and would listen to the whole network", hint="")
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(proxy_location="Disabled")
        self._remove([name for name in serve.status().applications if name.startswith(self.prefix)])
        self._shelf = ray.remote(Shelf).options(num_cpus=0, max_restarts=-1).remote(self._key)

    def _leave(self, directory: Path) -> None:
        if self._joined:
            import ray

            if self._settings.address != LOCAL:
                self._remove(list(self._pools))
            with suppress(Exception):  # of all kinds; where the cluster is no more, there is nothing to end
                _serve().shutdown_cached_handles()  # else their threads ask the cluster on
            ray.shutdown()
            self._joined = False
        clear(directory)

    def _remove(self, names: Sequence[str]) -> None:
        from ray import serve

        try:
            for name in names:
                serve.delete(name, _blocking=False)
            for name in names:
                serve.delete(name)
        except Exception as error:  # noqa: BLE001 - Ray raises of all kinds; whoever starts here next removes it
            _log.warning("the Ray cluster still has something of this gateway: %s", first_line(error))

    async def _watch(self) -> None:
        """Keep an eye on what the cluster has of each pool."""
        while True:
            await asyncio.sleep(_LOOKING)
            pools = list(self._pools.items())
            try:
                found = await self.do(_applications) if pools else {}
            except Exception as error:  # noqa: BLE001 - Ray raises of all kinds; the next look may tell more
                _log.warning("the Ray cluster does not say what it runs: %s", first_line(error))
                continue
            for name, pool in pools:
                pool.hear(found.get(name, {}))
            for outcome in await asyncio.gather(*[pool.follow() for _, pool in pools], return_exceptions=True):
                if isinstance(outcome, Exception):
                    _log.warning("a model is not looked after in the Ray cluster: %s", first_line(outcome))

    # Deployments ----------------------------------------------------------------------------------------------------

    async def shelve(self, manifest: Manifest, read: Callable[[], bytes]) -> None:
        """Have the cluster hold a model's file, for its replicas to fetch; :class:`ClusterUnavailable`."""
        from ray.exceptions import RayError

        try:
            if not await self._shelf.holds.remote(manifest.digest):
                await self._shelf.keep.remote(manifest.digest, await asyncio.to_thread(read))
        except RayError as error:
            raise ClusterUnavailable(f"the Ray cluster did not take the model: {first_line(error)}") from error

    async def deploy(self, pool: RayPool, number: int) -> Any:
        """Ask for so many replicas of a pool's model, without waiting for them; return the handle to them."""
        self._pools[self._name(pool.manifest)] = pool
        try:
            return await self.do(lambda: self._deploy(pool.manifest, pool.bounds, number))
        except Exception as error:
            raise ClusterUnavailable(f"the Ray cluster did not take the model: {first_line(error)}") from error

    def _deploy(self, manifest: Manifest, bounds: Bounds, number: int) -> Any:
        from ray import serve

        scaling = self._settings.of(manifest.model)
        size = {"num_replicas": number} if scaling is None else {"autoscaling_config": scaling.options(number)}
        deployment = serve.deployment(ModelReplica).options(
            name=DEPLOYMENT,
            max_ongoing_requests=LIMITS.model_replicas,
            ray_actor_options={"num_cpus": self._settings.num_cpus},
            health_check_period_s=2.0,
            graceful_shutdown_wait_loop_s=0.1,
            graceful_shutdown_timeout_s=IN_FLIGHT * bounds.answering,
            max_constructor_retry_count=1,
            **size,
        )
        deployment._version = manifest.digest.hex()  # noqa: SLF001 - else Serve replaces the replicas that are there, too
        application = deployment.bind(self._shelf, dict(manifest.to_json()), bounds)
        target = serve.RunTarget(target=application, name=self._name(manifest), route_prefix=None)
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        return handle

    def most(self, manifest: Manifest, number: int) -> int:
        """Return how many replicas there can be when at least ``number`` are wanted."""
        scaling = self._settings.of(manifest.model)
        return number if scaling is None else max(number, scaling.max_replicas)

    def in_flight(self, manifest: Manifest) -> int:
        """Return how many batches a replica is to have at once."""
        scaling = self._settings.of(manifest.model)
        return IN_FLIGHT if scaling is None else math.ceil(scaling.target_ongoing_requests)

    def sealed(self, manifest: Manifest, batch: bytes) -> bytes:
        """Return what shows that a batch comes from here, and is for that model."""
        return seal(self._key, manifest.digest, batch)

    def _name(self, manifest: Manifest) -> str:
        """Return the application that a version of a model is in the cluster."""
        return f"{self.prefix}{manifest.model}.{manifest.version}"

    async def remove(self, manifest: Manifest) -> None:
        """Run a version no more."""
        name = self._name(manifest)
        if self._pools.pop(name, None) is not None:
            await self.do(lambda: self._remove([name]))
            self._shelf.drop.remote(manifest.digest)


def _look(address: str) -> None:
    """Raise :class:`ClusterUnavailable` where nothing listens: Ray itself would try for long."""
    if address.startswith("ray://"):
        hint = "run it on a machine of the cluster, with auto or HOST:PORT"
        raise BadSetting("the gateway is a member of its cluster, and no Ray Client", hint=hint)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()):
        raise BadSetting(f"{address[:80]!r} is no address of a Ray cluster", hint="write local, auto or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECTING).close()
    except (
        OSError,
        OverflowError,
        ValueError,
    ) as error:  # a name may be none for other reasons than that nobody has it
        raise ClusterUnavailable(f"there is no Ray cluster at {address!r}: {error}") from None


def _hear_signals_again() -> None:
    """Take back the signal that ends a daemon: Ray, once connected, would crash the process at it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.siginterrupt(signal.SIGTERM, False)


def _applications() -> dict[str, Any]:
    """Return what the cluster's Serve runs, by application."""
    found: dict[str, Any] = _serve().get_serve_details()["applications"]
    return found


def _serve() -> Any:
    from ray.serve.context import _get_global_client

    return _get_global_client()
