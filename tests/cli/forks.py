"""The command `wave`, each time in a process of its own that is forked off one in which everything is loaded.

Run with a socket's path, this serves; the script that :func:`command` writes asks it, with its own standard streams,
directory and environment, and ends with the status. To load the chain takes longer than most commands.
"""

import gc
import importlib
import io
import json
import os
import random
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).parents[2]
_ENDING: Final = 10.0  # seconds for what was started to stop in order
_LOADED: Final = ("cli.main", "cli.gateway", "devices.gateway.service", "wave.agent.server", "wave.chain.client")
_LOADED_TOO: Final = ("wave.chain.node", "wave.chain.rpc", "wave.bus.router", "wave.guard.client", "cli.html")
_LOADED_LATE: Final = ("eth_account", "wave.chain.functions")
_CLIENT: Final = """#!{python} -IS
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({path!r})
said = {{"argv": sys.argv[1:], "directory": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(asked, [json.dumps(said).encode() + b"\\0"], [0, 1, 2])
sys.exit(int(asked.recv(16) or 1))
"""


@contextmanager
def command(file: Path, path: Path) -> Iterator[None]:
    """Write ``file``, which is the command while the body runs; what it started is ended then. ``path``: a socket's."""
    file.write_text(_CLIENT.format(python=shlex.quote(sys.executable), path=str(path)))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.forks", str(path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("WAVE_", "PYTHON"))},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == b"ready\n"
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        ended = time.monotonic() + _ENDING
        with suppress(ProcessLookupError):  # there is none any more: nobody writes into the directory now
            while time.monotonic() < ended:
                os.killpg(server.pid, 0)
                time.sleep(0.02)
            os.killpg(server.pid, signal.SIGKILL)
        server.stdout.close()


def _serve(path: str) -> None:
    for name in (*_LOADED, *_LOADED_TOO, *_LOADED_LATE):
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            asker, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                _answer(asker)
            asker.close()


def _answer(asker: socket.socket) -> None:
    """Be the command that ``asker`` wants, and end."""
    status = 70
    try:
        data, streams, _, _ = socket.recv_fds(asker, 65_536, 3)
        while not data.endswith(b"\0"):
            data += asker.recv(65_536)
        said: dict[str, Any] = json.loads(data[:-1])
        threading.Thread(target=_end_with, args=[asker], daemon=True).start()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(said["directory"])
        os.environ.clear()
        os.environ.update(said["environment"], PYTHONPATH=str(ROOT))
        random.seed()
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", write_through=True)
        from cli.main import main

        status = main(said["argv"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - it is told as an interpreter would, and this process ends
        traceback.print_exc()
    finally:
        with suppress(OSError):
            asker.sendall(str(status).encode())
        os._exit(status)


def _end_with(asker: socket.socket) -> None:
    """End this process when the one that asked for it is gone."""
    if not asker.recv(1):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(sys.argv[1])
