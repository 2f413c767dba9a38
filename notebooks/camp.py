"""The camp: a chain, a router and an agent of your own in a fresh directory; and a neighbour, who is somebody else."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cli.stage import NotStarted, Outcome, Person, Process, Stage, log_entries, wait_until
from wave.codec import id_text, parse_id
from wave.entities.keyring import read_entity
from wave.errors import WaveError

LIGHT = "s.light/light0/i.boolean/slot/state"
SWITCH = "s.switch/wall/i.boolean/slot/state"
PRESSED = "s.switch/wall/i.boolean/signal/state"
MOVED = "s.motion/door/i.motion/signal/triggered"
PACKAGE = "s.motion/door/i.motion/slot/package"
CLIMATE = "s.thermostat/hall/i.thermostat/signal/state"
NOTE = "s.notifier/box/i.notifier/slot/note"
COVER = "s.feed/cover/i.clouds/signal/cover"
PATIENCE = 10.0  # seconds


REMOVER = """\
import os, shutil, sys, time
sys.stdin.read()
for _ in range(100):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if not os.path.exists(sys.argv[1]):
        break
    time.sleep(0.1)
"""


def own_directory() -> Path:
    """Return a fresh directory that is removed with this process, also when Jupyter kills it in a hurry."""
    found = tempfile.mkdtemp(prefix="wave-camp-")
    ours, _open_until_we_end = os.pipe()
    subprocess.Popen([sys.executable, "-c", REMOVER, found], stdin=ours, start_new_session=True)
    os.close(ours)
    return Path(found)


class Camp:
    """Your machine at the camp. Commands in the notebook run as you; everything ends with the notebook."""

    def __init__(self) -> None:
        """Start a chain, a router and an agent, and go to your directory."""
        self.stage = Stage(own_directory())
        atexit.register(os.chdir, Path.cwd())
        atexit.register(self.stage.__exit__)
        self.at = self.stage.meeting()
        (self.you,) = self.stage.residents(self.at, "you")
        os.environ.update(self.you.environment)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        os.chdir(self.you.directory)
        self.home: Process | None = None
        print("A chain, a router and your agent are running. You stand in a directory of your own.")

    def start_home(self) -> None:
        """Run the home in HOME.toml, anew if it runs already; say which devices it has, or what is wrong."""
        if self.home is not None:
            self.home.stop()
            self.home = None
        process = self.stage.start(self.you, "home", "home", "run", "--from", "home.ent", "HOME.toml", "--json")
        try:
            actors = process.ready()["actors"]
        except (NotStarted, KeyError) as error:
            print(f"The home does not run: {error}")
            return
        self.home = process
        print(f"The home runs: {', '.join(actors)}")

    def listen(self, who: Person, where: str, secret: str) -> Process:
        """Subscribe as somebody, and wait until the subscription is open."""
        process = self.stage.start(who, f"listener {len(where)}", "subscribe", where, "--from", secret, "--json")
        wait_until(lambda: process.has_said("listening"), PATIENCE)
        return process


def act(who: Person, *words: str) -> Outcome:
    """Run a command as somebody, in a process of its own: a notebook has an event loop already."""
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", *words, "--json"],
        cwd=who.directory,
        env=who.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return Outcome(ran.returncode, json.loads(ran.stdout))
    except ValueError:
        return Outcome(ran.returncode, ran.stdout + ran.stderr)


def device_log(who: Person, secret: str, name: str) -> list[dict[str, Any]]:
    """Return the decisions of a device in somebody's home."""
    try:
        namespace = read_entity(who.directory / secret).id
    except WaveError:
        return []
    return log_entries(who.home / "homes" / id_text(namespace)[:8] / f"{name}.log")


BEN_HOME = """\
namespace = "benhome"
[[device]]
kind = "switch"
instance = "wall"
[[device]]
kind = "notifier"
instance = "box"
"""


class Ben:
    """The neighbour: keys, an agent and a home of his own. What he does, he does by commands like yours."""

    def __init__(self, camp: Camp) -> None:
        """Start his agent and his home."""
        self._camp = camp
        (self.person,) = camp.stage.residents(camp.at, "ben")
        for name in ("ben", "benhome", "service", "guard", "hop"):
            self.does("mkentity", "-o", f"{name}.ent", "--no-passphrase")
        self.does("grant", "--from", "benhome.ent", "--to", "ben", "publish,subscribe@benhome/*")
        self.does("grant", "--from", "benhome.ent", "--to", "service", f"subscribe@benhome/{PRESSED}")
        self.does("grant", "--from", "benhome.ent", "--to", "guard", f"publish@benhome/{NOTE}")
        (self.person.directory / "HOME.toml").write_text(BEN_HOME)
        camp.stage.start(self.person, "home", "home", "run", "--from", "benhome.ent", "HOME.toml", "--json").ready()
        self.id = self._id("ben")
        self.place = ""
        self.service: Process | None = None
        self.listening: Process | None = None
        self.sky = ""
        print(f"Ben says: I am {self.id}")

    def does(self, *words: str) -> Outcome:
        """Run a command as Ben."""
        return act(self.person, *words) if words[0] == "publish" else self.person.run(*words)

    def hears(self, place: object) -> None:
        """Be told the id of your home, and remember it."""
        if not isinstance(place, str) or parse_id(place) is None:
            print("Ben says: pardon? That is no id.")
            return
        self.place = place
        print(f"Ben says: thank you. Your home is {place[:8]}… for me.")

    def presses(self, word: str) -> None:
        """Press his switch."""
        self.does("publish", f"benhome/{SWITCH}", f'"{word}"', "--from", "ben.ent")

    def serves(self, rule: str, **sources: str) -> None:
        """Hand the light on to his service, and run it by a rule."""
        if self.service is not None:
            self.service.stop()
        light = f"{self.place}/{LIGHT}"
        self.does("grant", "--from", "ben.ent", "--to", "service", "--indirections", "2", f"publish@{light}")
        self.service = self._runs("service", rule, {**sources, "switch": f"benhome/{PRESSED}"}, light)

    def joins_weather(self) -> None:
        """Let a third party's weather join, and his service listen to both."""
        sky = self._camp.stage.visitor("sky", self._camp.at)
        self._sky = sky
        sky.run("mkentity", "-o", "sky.ent", "--no-passphrase")
        sky.run("grant", "--from", "sky.ent", "--to", "everybody", f"subscribe@sky/{COVER}")
        self.sky = str(sky.run("resolve", "sky").field("id"))
        self.serves("cloudy", clouds=f"{self.sky}/{COVER}")

    def reads_sky(self, cover: int) -> None:
        """Have the third party say how much of the sky is covered."""
        act(self._sky, "publish", f"sky/{COVER}", json.dumps({"cover": cover}), "--from", "sky.ent")

    def watches(self) -> None:
        """Watch your door, if he may."""
        door, inside = f"{self.place}/{MOVED}", f"{self.place}/{CLIMATE}"
        self.does("grant", "--from", "ben.ent", "--to", "guard", f"subscribe@{door}", f"subscribe@{inside}")
        self._runs("guard", "thief", {"motion": door, "home": inside}, f"benhome/{NOTE}")

    def saves(self) -> None:
        """Save a proof of what he may, if he may, and listen to your light."""
        wanted = f"publish@{self.place}/{LIGHT}"
        if self.does("prove", "--subject", "ben", "-o", "saved.proof", wanted).status:
            print("Ben says: I may nothing there, so there is nothing to save.")
            return
        self.listening = self._camp.listen(self.person, f"{self.place}/s.light/light0/+/signal/+", "ben.ent")
        print("Ben says: I have saved a proof, and I am listening to your light.")

    def may(self, name: str, wanted: str) -> bool:
        """Ask whether one of his may do a thing in your home."""
        return self.does("prove", "--subject", name, wanted).status == 0

    def notes(self) -> list[dict[str, Any]]:
        """Return what his box has been told."""
        return device_log(self.person, "benhome.ent", "box")

    def _runs(self, name: str, rule: str, sources: dict[str, str], to: str) -> Process:
        heard = [word for key, place in sources.items() for word in ("--on", f"{key}={place}")]
        words = ("device", "run", "controller", name, "--from", f"{name}.ent", "--rule", rule, *heard, "--to", to)
        process = self._camp.stage.start(self.person, f"{name} {rule}", *words, "--json")
        process.spoke(PATIENCE)
        return process

    def _id(self, name: str) -> str:
        return id_text(read_entity(self.person.directory / f"{name}.ent").id)
