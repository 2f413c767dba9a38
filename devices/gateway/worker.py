"""A replica's process: loads one model and answers batches until its gateway goes away. ``python -m`` starts it.

Gateway and worker speak JSON over a socket, each frame with its length before it: nothing that a model says can run in
the gateway.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

HEAD: Final = struct.Struct("!Q")
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(descriptor: int) -> None:
    """Serve the socket ``descriptor``."""
    _die_with_parent()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a model prints is for the log
    with socket.socket(fileno=descriptor) as line, line.makefile("rb") as reader:
        model = None
        try:
            given = json.loads(_read(reader))
            data = _read(reader)
            from devices.gateway.containers import load

            memory = given.pop("memory")
            model = load(given.pop("format"), data, **given)
            del data
            _bound_memory(2 * memory)
            _write(line, {"ready": True, "memory": _memory()})
        except EOFError:
            return
        except BaseException as error:  # noqa: BLE001 - a model may raise anything
            _write(line, {"error": _told(error)})
            return
        with suppress(EOFError, ConnectionError):
            while True:
                rows = json.loads(_read(reader))
                _write(line, _answer(model, rows))


def _answer(model: Any, rows: list[Any]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        outputs, confidences = model.predict(rows)
        json.dumps(outputs, allow_nan=False)
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        return {"error": _told(error), "memory": _memory()}
    if len(outputs) != len(rows) or (confidences is not None and len(confidences) != len(rows)):
        return {"error": f"nothing, and gave {len(outputs)} answers to {len(rows)} questions", "memory": _memory()}
    seconds = time.perf_counter() - began
    return {"outputs": outputs, "confidences": confidences, "memory": _memory(), "seconds": seconds}


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _read(reader: Any) -> bytes:
    head = reader.read(HEAD.size)
    if len(head) < HEAD.size:
        raise EOFError
    (size,) = HEAD.unpack(head)
    data: bytes = reader.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _write(line: socket.socket, value: dict[str, Any]) -> None:
    data = json.dumps(value, separators=(",", ":")).encode("ascii")
    line.sendall(HEAD.pack(len(data)) + data)


def _memory() -> int:
    """Return the bytes that this process holds in memory now (on Linux), or the most it ever did."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bound_memory(more: int) -> None:
    """Let the model take ``more`` bytes over what it has once loaded; beyond, it gets a MemoryError."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + more, used + more))


def _die_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's business, which stops its workers
    main(int(sys.argv[1]))
