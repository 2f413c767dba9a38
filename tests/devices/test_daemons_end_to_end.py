"""Daemons as the command line starts them: told to systemd, asked for their health, stopped in order."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devices.places import Place, place_at

EXAMPLES = Path(__file__).parents[2] / "examples"
LAMP = "home/s.lamp/lamp0"
SLOT = f"{LAMP}/i.boolean/slot/state"
PRESENCE = f"{LAMP}/i.device/signal/presence"
PLAN = """
namespace = "home"
port = 0
[[device]]
kind = "feed"
instance = "sky"
file = "cover"
[[device]]
kind = "light"
instance = "light0"
[[controller]]
name = "service"
rule = "cloudy"
from = { clouds = "home/s.feed/sky/i.clouds/signal/cover" }
to = "home/s.light/light0/i.boolean/slot/state"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as place:
        (tmp_path / "home.toml").write_text(PLAN)
        (tmp_path / "cover").write_text("71")
        yield place


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def get(path: Path, page: str) -> tuple[int, str]:
    connection = Unix(path)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def well(path: Path) -> None:
    """Wait until a daemon says that it is well, which takes as long as its agent does to look at the chain."""
    end = time.monotonic() + 20
    while (answer := get(path, "/health"))[0] != 200:
        assert time.monotonic() < end, answer
        time.sleep(0.1)
    assert json.loads(answer[1])["healthy"] is True


@pytest.mark.timeout(120)  # a dozen commands, each a process
def test_a_device_of_ones_own_runs_beside_a_home_and_stops_in_order(place: Place) -> None:
    """SCENARIOS B3 out of a file; examples/own_device.py on a simulated pin, as a daemon under a supervisor."""
    folder = place.folder
    for name in ("home", "lamp", "alice"):
        place.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    home = place.start("home", "run", "home.toml", "--from", "home.ent", "--metrics", "socket")
    place.environment["WAVE_ROUTER"] = home.wait(ready="home")["router"]
    well(folder / "w/run/home.sock")
    home.wait(device="light0", name="service", did="on")
    (folder / "cover").write_text("70")
    home.wait(device="light0", name="service", did="off")

    rights = [f"subscribe@{LAMP}/+/slot/+", f"subscribe@{PRESENCE}", f"publish@{LAMP}/+/signal/+"]
    place.wave("grant", "--from", "home.ent", "--to", "lamp", *rights)
    place.wave("grant", "--from", "home.ent", "--to", "alice", f"publish@{SLOT}", f"subscribe@{LAMP}/*")
    listening = place.start("subscribe", "--from", "alice.ent", f"{LAMP}/*")
    listening.says("listening to")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(folder / "notify"))
        supervisor.settimeout(20)
        words = ["device", "run", f"{EXAMPLES / 'own_device.py'}:Lamp", "lamp0", "--from", "lamp.ent"]
        words += ["--namespace", "home", "--metrics", str(folder / "lamp.sock")]
        told = {"NOTIFY_SOCKET": str(folder / "notify"), "LAMP_FILE": str(folder / "pin"), "WATCHDOG_USEC": "9000000"}
        lamp = place.start(*words, **told)
        assert supervisor.recv(1000) == b"READY=1\nSTATUS=lamp0 is up"
        lamp.wait(ready="lamp", name="lamp0")
        assert supervisor.recv(1000) == b"WATCHDOG=1"
        assert (folder / "pin").read_text() == "0"
        assert json.loads(listening.wait(resource=PRESENCE.removeprefix("home/"))["payload"])["state"] == "online"

        place.wave("publish", "--from", "alice.ent", SLOT, '"on"')
        assert lamp.wait(device="lamp0", allowed=True)["name"] == "alice"
        listening.wait(name="lamp", payload='{"state":"on"}')
        assert (folder / "pin").read_text() == "1"
        well(folder / "lamp.sock")
        assert 'wave_decisions_total{code="ok",result="allowed"}' in get(folder / "lamp.sock", "/metrics")[1]

        second = place.start(*words)
        assert second.process.wait(20) == 4
        second.stop()
        assert json.loads(second.rest)["code"] == "entity.in_use"

        assert lamp.stop() == 0
        while (word := supervisor.recv(1000)) == b"WATCHDOG=1":
            pass
        assert word == b"STOPPING=1"
    assert json.loads(listening.wait(resource=PRESENCE.removeprefix("home/"))["payload"])["state"] == "offline"
    assert listening.stop() == 0
    assert home.stop() == 0


@pytest.mark.parametrize("daemon", ["agent", "router"])
def test_agent_and_router_tell_their_supervisor_and_their_health(place: Place, daemon: str) -> None:
    folder = place.folder
    port = ["--port", "0"] if daemon == "router" else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(folder / "notify"))
        supervisor.settimeout(20)
        told = {"NOTIFY_SOCKET": str(folder / "notify")}
        process = place.start(daemon, "run", "--metrics", "socket", *port, **told)
        assert supervisor.recv(1000).startswith(b"READY=1")
        process.wait(ready=daemon)
        well(folder / f"w/run/{daemon}.sock")
        assert process.stop() == 0
        assert supervisor.recv(1000) == b"STOPPING=1"


def test_where_things_are_kept_follows_xdg_unless_one_place_is_named(tmp_path: Path) -> None:
    """What stood in the data directory before stays there."""
    program = (
        "import os, json; from pathlib import Path; from devices.places import Places\n"
        "from wave.agent.settings import Settings\n"
        "home = Settings.from_environment(os.environ).home; p = Places.of(os.environ, home)\n"
        "print(json.dumps([str(x) for x in (home, p.state, p.logs, p.runtime, p.settings)]))"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("WAVE_", "XDG_"))}
    plain |= {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "r"), "PYTHONPATH": str(EXAMPLES.parent)}

    def places(**more: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", program], env=plain | more, capture_output=True, text=True, timeout=30, check=True
        )
        return [one.replace(str(tmp_path), "~") for one in json.loads(done.stdout)]

    usual = ["~/.local/share/wave", "~/.local/state/wave/devices", "~/.local/state/wave/log", "~/r/wave"]
    assert places() == [*usual, "~/.config/wave"]
    assert places(XDG_STATE_HOME=str(tmp_path / "s"), XDG_CONFIG_HOME=str(tmp_path / "c"))[1:] == [
        "~/s/wave/devices", "~/s/wave/log", "~/r/wave", "~/c/wave",
    ]  # fmt: skip
    assert places(XDG_RUNTIME_DIR="")[3] == "~/.local/share/wave/run"
    (tmp_path / ".local/share/wave/logs").mkdir(parents=True)
    assert places()[2] == "~/.local/share/wave/logs"
    assert places(WAVE_HOME=str(tmp_path / "w")) == ["~/w", "~/w/devices", "~/w/logs", "~/w/run", "~/w"]
