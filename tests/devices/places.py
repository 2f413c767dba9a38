"""`wave` as processes in a folder of their own, as a person would run them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from tests.cli.conftest import Shell


class Process:
    """A `wave` process whose lines of JSON a test waits for."""

    def __init__(self, folder: Path, environment: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words],
            cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: Queue[dict[str, Any]] = Queue()
        self.talk: list[str] = []
        self.rest = ""
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"'):
                self.lines.put(json.loads(line))
            else:
                self.rest += line

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.talk.extend(self.process.stderr)

    def wait(self, seconds: float = 30, **fields: Any) -> dict[str, Any]:
        """Return the next line with these fields."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except Empty:
                raise AssertionError(f"no line with {fields}; stderr: {self.talk}") from None
            if all(line.get(name) == value for name, value in fields.items()):
                return line

    def says(self, text: str, seconds: float = 30) -> None:
        """Wait until it has said so to a person."""
        end = time.monotonic() + seconds
        while not any(text in line for line in self.talk):
            assert time.monotonic() < end, self.talk
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(20)
        for thread in self._threads:
            thread.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status


class Place:
    """A state directory, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WAVE_")}
        self.environment = {**kept, "WAVE_HOME": str(folder / "w"), "PYTHONPATH": str(Path(__file__).parents[2])}
        self.running: list[Process] = []

    def wave(self, *words: str, status: int = 0) -> Any:
        """Run a command, in this process, to its end and return its JSON."""
        ran = Shell(self.folder, self.folder / "w", self.environment)(*words, "--json")
        assert ran.status == status, (words, ran.out, ran.err)
        return ran.json

    def start(self, *words: str, **environment: str) -> Process:
        process = Process(self.folder, self.environment | environment, *words, "--json")
        self.running.append(process)
        return process


@contextmanager
def place_at(folder: Path) -> Iterator[Place]:
    """A place, whose processes end with it."""
    place = Place(folder)
    yield place
    for process in reversed(place.running):
        if process.process.poll() is None:
            process.stop(signal.SIGKILL)
