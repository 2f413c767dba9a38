"""One worker process as the gateway sees it: it is given a model, asked batches, and ended."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from devices.gateway.model import Manifest
from devices.gateway.worker import HEAD
from wave.errors import BadModel, ModelFault, ModelRaised, ReplicaLost
from wave.limits import LIMITS

MIB: Final = 1024 * 1024
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ENDING: Final = 2.0  # seconds for a process to end by itself


class Output(NamedTuple):
    """A model's answer to one question, and how sure it is (0 to 1), or None where it does not say."""

    value: Any
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a replica may take: seconds to load, seconds for a batch, and bytes beyond those of the loaded model.

    A replica that holds more ``memory`` is replaced; one that asks for more than twice as much at once gets none.
    """

    loading: float = 120.0
    answering: float = 5.0
    memory: int = 512 * MIB


class _Process:
    """A child process, with a thread that starts it and waits for its end: to start one takes long, and others wait.

    The thread lives as long as the process, which the system ends when whoever started it is no more.
    """

    def __init__(self, arguments: Sequence[str], descriptor: int, directory: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[subprocess.Popen[bytes]] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._command = arguments, descriptor, directory
        threading.Thread(target=self._run, name="replica", daemon=True).start()

    def _run(self) -> None:
        arguments, descriptor, directory = self._command
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
        try:
            process = subprocess.Popen(  # noqa: S603 - this program
                arguments,
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=directory,
            )
        except OSError as error:
            self._tell(self._started, error)
            return
        self._tell(self._started, process)
        process.wait()
        self._tell(self.ended, None)

    def _tell(self, future: "asyncio.Future[Any]", what: Any) -> None:
        def tell() -> None:
            if isinstance(what, OSError):
                future.set_exception(ModelFault(f"no process can be started: {what.strerror}"))
            else:
                future.set_result(what)

        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(tell)

    async def started(self) -> "subprocess.Popen[bytes]":
        """Return the process when it is there; :class:`ModelFault`."""
        return await asyncio.shield(self._started)

    async def kill(self) -> None:
        """End it."""
        with suppress(ModelFault):
            (await asyncio.shield(self._started)).kill()
            await asyncio.shield(self.ended)


class Replica:
    """A running worker. ``swollen`` tells that it holds more memory than it may and is to be replaced."""

    def __init__(self, process: _Process, line: socket.socket, bounds: Bounds) -> None:
        """Speak to ``process`` over ``line``."""
        self._process = process
        self._line = line
        self._bounds = bounds
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._loaded = 0
        self.pid = 0
        self.swollen = False

    @classmethod
    async def start(cls, manifest: Manifest, artefact: bytes, bounds: Bounds) -> Self:
        """Start a process and load the model there; :class:`BadModel` with what the model's library said."""
        try:
            ours, theirs = socket.socketpair()
            directory = tempfile.TemporaryDirectory(prefix="wave-model-", ignore_cleanup_errors=True)
        except OSError as error:
            raise ModelFault(f"no process can be started: {error.strerror}") from None
        with theirs, directory as nowhere:
            # A graph that keeps numbers in further files, which nobody signed, finds none there.
            command = (sys.executable, "-m", "devices.gateway.worker", str(theirs.fileno()))
            replica = cls(_Process(command, theirs.fileno(), nowhere), ours, bounds)
            try:
                replica.pid = (await replica._process.started()).pid
                theirs.close()
                await replica._load(manifest, artefact)
            except BaseException:
                await replica.kill()
                raise
        return replica

    async def _load(self, manifest: Manifest, artefact: bytes) -> None:
        self._reader, self._writer = await asyncio.open_connection(sock=self._line)
        told = {
            "format": manifest.format,
            "entry": manifest.entry,
            "input_type": manifest.input_type,
            "confidence": manifest.confidence,
            "memory": self._bounds.memory,
        }
        what = f"{manifest.model} version {manifest.version}"
        try:
            async with asyncio.timeout(self._bounds.loading):
                self._send(json.dumps(told).encode("ascii"))
                self._send(artefact)
                reply = await self._receive()
        except TimeoutError:
            raise BadModel(f"{what} did not load within {self._bounds.loading:g} s") from None
        except ReplicaLost:
            raise BadModel(f"the process of {what} died while it loaded") from None
        if "error" in reply:
            raise BadModel(f"{what} cannot be loaded: {reply['error']}")
        self._loaded = int(reply["memory"])

    def on_end(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` when the process has ended."""
        self._process.ended.add_done_callback(lambda _: hear())

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.ended.done()

    async def answer(self, rows: Sequence[Any]) -> tuple[list[Output], float]:
        """Return the outputs of a batch, and how long the model took over them (s).

        :class:`ModelRaised`, or :class:`ReplicaLost` after which this is no more.
        """
        try:
            async with asyncio.timeout(self._bounds.answering):
                self._send(json.dumps(rows, separators=(",", ":")).encode("ascii"))
                reply = await self._receive()
        except TimeoutError:
            raise ReplicaLost(f"no answer within {self._bounds.answering:g} s") from None
        self.swollen = int(reply.get("memory", 0)) > self._loaded + self._bounds.memory
        if "error" in reply:
            raise ModelRaised(f"the model raised {reply['error']}")
        sure = reply["confidences"] or [None] * len(reply["outputs"])
        outputs = [Output(value, confidence) for value, confidence in zip(reply["outputs"], sure, strict=True)]
        return outputs, float(reply["seconds"])

    def _send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(HEAD.pack(len(data)) + data)  # at once: each write wakes the process

    async def _receive(self) -> dict[str, Any]:
        assert self._reader is not None
        try:
            (size,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if size > LIMITS.model_reply_bytes:
                raise ReplicaLost(f"an answer of {size} bytes")
            reply = json.loads(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            raise ReplicaLost("the process died, or answered what cannot be read") from error
        if not isinstance(reply, dict):
            raise ReplicaLost("the process answered what cannot be read")
        return reply

    async def stop(self) -> None:
        """End the process, which has nothing to do any more."""
        await self._hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDING):
                await asyncio.shield(self._process.ended)
                return
        await self.kill()

    async def kill(self) -> None:
        """End the process, whatever it does."""
        await self._process.kill()
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._writer is None:
            self._line.close()
        else:
            self._writer.close()
            with suppress(ConnectionError):
                await self._writer.wait_closed()
