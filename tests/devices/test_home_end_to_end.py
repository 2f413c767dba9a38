"""The real thing: `wave home run` with its own agent and chain, commanded and revoked from the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

LIGHT = "home/s.light/light0/i.boolean/slot/state"
SWITCH = "home/s.switch/switch0/i.boolean/slot/state"
SET = "home/s.thermostat/thermostat0/i.thermostat/slot/state"
PLAN = """
namespace = "home"
port = 0
[[device]]
kind = "light"
instance = "light0"
[[device]]
kind = "switch"
instance = "switch0"
[[device]]
kind = "thermostat"
instance = "thermostat0"
[[controller]]
name = "controller0"
rule = "mirror"
from = { switch = "home/s.switch/switch0/i.boolean/signal/state" }
to = "home/s.light/light0/i.boolean/slot/state"
"""


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
        """Run a command to its end and return its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words, "--json"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=40, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def start(self, *words: str) -> Process:
        process = Process(self.folder, self.environment, *words, "--json")
        self.running.append(process)
        return process


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    (tmp_path / "home.toml").write_text(PLAN)
    yield place
    for process in reversed(place.running):
        if process.process.poll() is None:
            process.stop(signal.SIGKILL)


def test_a_home_from_the_first_grant_to_the_last_revocation(place: Place) -> None:
    """SCENARIOS A2 to A6 and B5, in one process with an agent and an embedded chain of its own."""
    for name in ("home", "alice", "bob"):
        place.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    home = place.start("home", "run", "home.toml", "--from", "home.ent")
    ready = home.wait(ready="home")
    place.environment["WAVE_ROUTER"] = ready["router"]
    assert ready["actors"] == ["light0", "switch0", "thermostat0", "controller0"]

    refused = place.wave("publish", "--from", "alice.ent", LIGHT, '"on"', status=1)
    assert refused["code"] == "proof.none"

    dot = place.wave("grant", "--from", "home.ent", "--to", "alice", f"publish@{LIGHT}")["id"]
    assert place.wave("publish", "--from", "alice.ent", LIGHT, '"on"') == {"delivered": 1}
    line = home.wait(device="light0", allowed=True)
    assert (line["name"], line["did"], line["path"]) == ("alice", "on", [dot])

    place.wave("publish", "--from", "alice.ent", LIGHT, '"purple"')
    assert home.wait(device="light0", allowed=False)["code"] == "payload.bad"

    place.wave("grant", "--from", "home.ent", "--to", "bob", f"publish@{SWITCH}")
    place.wave("publish", "--from", "bob.ent", SWITCH, '"on"')
    assert home.wait(device="light0", allowed=True)["name"] == "controller0"

    place.wave("grant", "--from", "home.ent", "--to", "bob", "--where", "set_point 66..74", f"publish@{SET}")
    place.wave("publish", "--from", "bob.ent", SET, '{"hsp":68,"csp":80}', status=1)
    place.wave("publish", "--from", "bob.ent", SET, '{"hsp":68,"csp":72}')
    home.wait(device="thermostat0", allowed=True, did="csp 72, hsp 68")

    reader = place.wave("grant", "--from", "home.ent", "--to", "bob", "subscribe@home/s.thermostat/*")["id"]
    listening = place.start("subscribe", "--from", "bob.ent", "home/s.thermostat/*")
    heard = listening.wait(name="thermostat0")
    assert json.loads(heard["payload"])["csp"] == 72.0

    place.wave("revoke", "--from", "home.ent", "--dot", dot)
    place.wave("publish", "--from", "alice.ent", LIGHT, '"off"', status=1)
    place.wave("revoke", "--from", "home.ent", "--dot", reader)
    assert listening.process.wait(20) == 1
    listening.stop()
    assert json.loads(listening.rest)["code"] == "dot.revoked"

    assert home.stop() == 0
    (log,) = (place.folder / "w").glob("homes/*/light0.log")
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["name"], one["code"]) for one in logged] == [
        ("alice", "ok"),
        ("alice", "payload.bad"),
        ("controller0", "ok"),
    ]


def test_each_device_can_be_a_process_of_its_own(place: Place) -> None:
    for name in ("home", "bob"):
        place.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    home = place.start("home", "run", "home.toml", "--from", "home.ent", "--processes")
    ready = home.wait(ready="home")
    place.environment["WAVE_ROUTER"] = ready["router"]
    place.wave("grant", "--from", "home.ent", "--to", "bob", f"publish@{SWITCH}")
    place.wave("publish", "--from", "bob.ent", SWITCH, '"on"')
    assert home.wait(device="light0", allowed=True)["name"] == "controller0"
    assert home.stop(signal.SIGINT) == 0
