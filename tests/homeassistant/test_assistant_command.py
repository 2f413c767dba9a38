"""`wave home assistant` as its owner runs it: a home, its grants, a Mosquitto and a Home Assistant on it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from cli.main import main
from tests.bus.town import until
from tests.cli.conftest import Shell
from tests.homeassistant.own_broker import Mosquitto
from tests.homeassistant.stock import stock
from tests.world import made
from wave.entities.keyring import write_public, write_secret
from wave.namespace.grant import parse_grant

PLAN = """
namespace = "home"
port = 0
[[device]]
kind = "light"
instance = "light0"
[[device]]
kind = "thermostat"
instance = "thermostat0"
"""


class Owner:
    """A person with a state directory and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WAVE_")}
        self.environment = {**kept, "WAVE_HOME": str(folder / "w"), "PYTHONPATH": str(Path(__file__).parents[2])}
        self.running: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []

    def wave(self, *words: str, status: int = 0) -> Any:
        """Run a command to its end and return its JSON; on a thread, as it has an event loop of its own."""
        shell = Shell(self.folder, self.folder / "w", self.environment)
        with ThreadPoolExecutor(1) as thread:
            ran = thread.submit(shell, *words, "--json").result(40)
        assert ran.status == status, (words, ran.out, ran.err)
        return ran.json

    def alone(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=40, check=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *words: str) -> dict[str, Any]:
        """Start a daemon, and return what it says once it is ready."""
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words, "--json"],
            cwd=self.folder, env=self.environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.running.append(process)
        ready: Queue[dict[str, Any]] = Queue()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith('{"ready":'):
                    ready.put(json.loads(line))

        self._readers.append(threading.Thread(target=read))
        self._readers[-1].start()
        return ready.get(timeout=30)

    def stop(self, process: subprocess.Popen[str]) -> int:
        """Ask a daemon to stop, and return its exit status."""
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)
        assert process.stdout is not None
        self._readers[self.running.index(process)].join(5)
        process.stdout.close()
        return status


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    (tmp_path / "home.toml").write_text(PLAN)
    owner = Owner(tmp_path)
    yield owner
    for process in reversed(owner.running):
        if process.poll() is None:
            owner.stop(process)


async def test_from_the_grants_to_the_light_and_back(owner: Owner, mosquitto: Mosquitto) -> None:
    """The printed grants are enough; the set points are bounded; the bridge stops in order and takes all back."""
    for name in ("home", "bridge"):
        owner.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    owner.environment["WAVE_ROUTER"] = owner.start("home", "run", "home.toml", "--from", "home.ent")["router"]
    bridge = ["home", "assistant", "--as", "bridge.ent", "--namespace", "home.ent"]
    rights = owner.wave(*bridge, "--home", "home.toml", "--grants")["grants"]
    bounded = [one for one in rights if "i.thermostat" in one]
    grant = ["grant", "--from", "home.ent", "--to", "bridge.ent"]
    owner.wave(*grant, *[one for one in rights if one not in bounded])
    owner.wave(*grant, "--where", "set_point 66..74", *bounded)

    ready = owner.start(*bridge, "--home", "home.toml", "--broker", mosquitto.url)
    assert ready["devices"] == ["s.light/light0", "s.thermostat/thermostat0"]
    async with stock(mosquitto) as home:
        await home.sees("light.light0", available=True, state="off")
        await home.turn_on("light.light0", brightness=128)
        await home.sees("light.light0", state="on", brightness=128)
        climate = await home.sees("climate.thermostat0", available=True)
        await home.set_temperature("climate.thermostat0", low=70.0, high=80.0)
        await home.sees("sensor.bridge_last_refusal", available=True)
        await until(lambda: "thermostat0" in str(home.entities["sensor.bridge_last_refusal"].state))
        assert climate.values["temperature_high_state_topic"] == "73.0"

        assert owner.stop(owner.running[-1]) == 0
        await home.sees("light.light0", available=False)
        gone = json.loads(owner.alone(*bridge, "--broker", mosquitto.url, "--remove", "--json").stdout)["removed"]
        assert len(gone) == 3
        await until(lambda: not home.entities)
    log = [json.loads(line) for line in (owner.folder / "w/logs/homeassistant.log").read_text().splitlines()]
    assert [(one["device"], one["allowed"], one["name"]) for one in log] == [
        ("light0", True, "bridge"),
        ("thermostat0", False, "bridge"),
    ]


def test_the_grants_are_printed_as_commands(owner: Owner) -> None:
    done = owner.alone(*shlex.split("home assistant --as b.ent --namespace home --grants"))
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    missing = "SECRET-FILE-OF-THE-HOME.ent"
    assert [line[:6] for line in lines] == [["wave", "grant", "--from", missing, "--to", "b.ent"]] * len(lines)
    assert "publish@home/s.light/+/i.dimmer/slot/brightness" in [line[-1] for line in lines]
    assert f"put its path where {missing} stands" in done.stderr


@pytest.mark.parametrize(
    ("namespace", "written"), [("home", "home"), ("kept/home.ent", "{}/kept/home.ent"), ("home.pub", "home.pub")]
)
def test_the_grants_name_the_owners_secret_file_where_it_is_here(
    namespace: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the home's name, whatever its file is called, or by a file, here or elsewhere; grants take them so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAVE_HOME", str(tmp_path / "w"))
    (tmp_path / "w/keys").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    write_public(tmp_path / "w/keys/home.pub", made("home").entity)
    write_public(tmp_path / "home.pub", made("home").entity)
    write_secret(tmp_path / "another.ent", made("another"), None)
    write_secret(tmp_path / ("kept/home.ent" if "/" in namespace else "mine.ent"), made("home"), None)
    assert main(["home", "assistant", "--as", "b.ent", "--namespace", namespace, "--grants"]) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[3] == ("kept/home.ent" if "/" in namespace else "mine.ent")
    assert parse_grant(words[-1]).namespace == written.format(tmp_path)


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["--broker", "mqtt://127.0.0.1:1"], 1, "file.not_found"),
        (["--broker", "mqtt://me:secret@127.0.0.1"], 3, "setting.bad"),
        (["--grants", "--home", "none.toml"], 1, "file.not_found"),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_anything_is_opened(
    owner: Owner, words: list[str], status: int, code: str
) -> None:
    """A password belongs in no address: others see it."""
    said = owner.wave("home", "assistant", "--as", "b.ent", "--namespace", "home", *words, status=status)
    assert said["code"] == code
    assert not (owner.folder / "w").exists()
