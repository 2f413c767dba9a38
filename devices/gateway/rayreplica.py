"""What runs in a Ray cluster for a gateway: a replica of a model for each place, and a shelf that their models lie on.

A replica is an actor of Ray Serve around a worker process of the usual kind, so what a model says is JSON here too, and
a model has neither Ray's environment nor its credentials.
"""

import asyncio
import hmac
import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from devices.gateway.model import Manifest
from devices.gateway.replica import Bounds, Replica
from wave.errors import ModelAltered, ModelFault, ModelRaised, NotSigned, ReplicaLost, WaveError

SEAL_BYTES: Final = 32
HERE_ALONE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray listens at the loopback address; no other does that

_log = logging.getLogger(__name__)


def seal(key: bytes, digest: bytes, batch: bytes) -> bytes:
    """Return what shows that a batch comes from the gateway that drew ``key``, and is for the model with that hash."""
    return hmac.digest(key, b"wave/batch/v1\0" + digest + batch, "sha256")


def _listen_here_alone() -> None:
    """Have Serve's own server in this process, which comes up next, listen where Ray does, not at every address."""
    if os.environ.get(HERE_ALONE) != "0":
        return
    from ray.serve._private import replica

    add = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: add(server, address.replace("[::]", "127.0.0.1"))


class Shelf:
    """The files of a gateway's loaded models, for replicas to fetch, and the key under which it seals batches."""

    def __init__(self, key: bytes) -> None:
        """Hold nothing yet."""
        self._key = key
        self._files: dict[bytes, bytes] = {}

    def keep(self, digest: bytes, artefact: bytes) -> None:
        """Hold a file."""
        self._files[digest] = artefact

    def drop(self, digest: bytes) -> None:
        """Hold it no more."""
        self._files.pop(digest, None)

    def holds(self, digest: bytes) -> bool:
        """Tell whether a file is here."""
        return digest in self._files

    def fetch(self, digest: bytes) -> tuple[bytes, bytes | None]:
        """Return the key, and the file if it is here."""
        return self._key, self._files.get(digest)


class ModelReplica:
    """One replica. Nothing is loaded but the file of the manifest, and no batch answered but the gateway's own."""

    async def __init__(self, shelf: Any, manifest: Mapping[str, Any], bounds: Bounds) -> None:  # type: ignore[misc]  # Serve awaits it
        """Load the model; :class:`BadModel`, :class:`ModelAltered`."""
        _listen_here_alone()
        self._shelf = shelf
        self._manifest = Manifest(**manifest)
        self._bounds = bounds
        self._turn = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None
        self._broken = ""
        self._key, self._worker = await self._started()

    async def _started(self) -> tuple[bytes, Replica]:
        key, artefact = await self._shelf.fetch.remote(self._manifest.digest)
        if artefact is None:
            raise ModelAltered("the gateway has the model's file no more")
        self._manifest.check(artefact)
        return key, await Replica.start(self._manifest, artefact, self._bounds)

    async def answer(self, batch: bytes, sealed: bytes) -> bytes:
        """Return the outputs of a batch, or what went wrong, as JSON; :class:`NotSigned`."""
        if not hmac.compare_digest(seal(self._key, self._manifest.digest, batch), sealed):
            raise NotSigned("a model's replica answers its gateway alone", hint="ask the gateway, with your proof")
        told = await asyncio.shield(self._answered(json.loads(batch)))  # read to its end, whoever still waits for it
        return json.dumps(told, separators=(",", ":")).encode("ascii")

    async def _answered(self, rows: list[Any]) -> dict[str, Any]:
        async with self._turn:
            if self._renewal is not None:
                await asyncio.wait([self._renewal])
            try:
                outputs, seconds = await self._worker.answer(rows)
            except ModelRaised as error:
                return {"raised": error.message}
            except ReplicaLost as error:
                await self._worker.kill()
                self._renewal = asyncio.create_task(self._renew())
                return {"lost": error.message}
            if self._worker.swollen:
                self._renewal = asyncio.create_task(self._renew())
            return {"outputs": outputs, "seconds": seconds}

    async def _renew(self) -> None:
        """Have another process for one lost or swollen; where none comes up, Serve replaces this replica."""
        old = self._worker
        try:
            _, self._worker = await self._started()
            self._broken = ""
        except (WaveError, OSError) as error:
            self._broken = str(error)
            _log.warning("a replica of %s did not come back: %s", self._manifest.model, error)
        finally:
            self._renewal = None
        await old.stop()

    async def check_health(self) -> None:
        """Tell Serve whether this replica is to be replaced; :class:`ModelFault`."""
        if self._worker.ended and self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())
        if self._broken:
            raise ModelFault(self._broken)
