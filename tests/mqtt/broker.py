"""Mosquitto for tests: real, on a free port of loopback, in a directory of its own, restarted at will."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from wave.bus.mosquitto import prepare

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def need_mosquitto() -> str:
    """Return the broker's path; without one a test is skipped here, and fails where everything has to run."""
    if MOSQUITTO is None:
        message = "mosquitto is not installed: apt install mosquitto"
        if os.environ.get("WAVE_CI"):
            pytest.fail(message)
        pytest.skip(message)
    return MOSQUITTO


class Mosquitto:
    """One broker's process; ``command`` begins it, and it answers at ``url``."""

    def __init__(self, directory: Path, port: int, command: list[str]) -> None:
        self.directory = directory
        self.port = port
        self.url = f"mqtt://127.0.0.1:{port}"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.directory / "mosquitto.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, cwd=self.directory)
        for _ in range(500):
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            self._process.poll()
            _pause()
        raise AssertionError(log.read_text())

    def kill(self) -> None:
        """End it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text("utf-8", "replace")


def _pause() -> None:
    import time

    time.sleep(0.01)


@contextmanager
def plain(directory: Path, *more: str) -> Iterator[Mosquitto]:
    """Run a broker with no rules at all while the body runs; ``more`` are lines of its listener's configuration."""
    port = free_port()
    found = Mosquitto(directory, port, [need_mosquitto(), "-c", "plain.conf"])
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", *more, "persistence false", f"user {_user()}"]
    (directory / "plain.conf").write_text("\n".join([*lines, ""]))
    found.start()
    try:
        yield found
    finally:
        found.kill()


@contextmanager
def locked(directory: Path) -> Iterator[Mosquitto]:
    """Run a broker that begins locked at every start while the body runs, as with `wave mqtt broker`."""
    port = free_port()
    found = Locked(directory, port, [need_mosquitto(), "-c", "mosquitto.conf"])
    found.start()
    try:
        yield found
    finally:
        found.kill()


class Locked(Mosquitto):
    """A broker whose files are written before every start."""

    def start(self) -> None:
        prepare(self.directory, self.port, draw=os.urandom, user=_user())
        super().start()


def _user() -> str:
    """Return whom Mosquitto should be: as root it would become somebody who cannot read a test's directory."""
    import getpass

    return getpass.getuser()


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.01)
