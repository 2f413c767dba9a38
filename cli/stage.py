"""The demonstration's stage: the processes that it starts, one state directory a person, and commands run as them."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from wave.agent.settings import DEVELOPMENT, Settings, stays_here
from wave.errors import ChainUnavailable, Unavailable, from_problem

START_PATIENCE: Final = 30.0  # seconds for a process to say that it is ready
STOP_PATIENCE: Final = 5.0
ENTRY_PATIENCE: Final = 15.0  # seconds for a device to decide; milliseconds unless the machine is very busy
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_STOPPED: Final = tuple(128 + number for number in _STOPS)
"""The exit status of a command that they ended."""


class NotStarted(Unavailable):
    """A process of the demonstration that ended, or said nothing, instead of starting."""

    code = "demo.not_started"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command came to: its exit status, and what it printed as JSON (the result, or the problem)."""

    status: int
    result: Any

    @property
    def seen(self) -> str:
        """Return in a word how it ended: ``ok``, or the code of the error, or of a device's refusal."""
        if self.status == 0:
            return "ok"
        refused = self.field("refused")
        return str(refused["code"] if isinstance(refused, dict) else self.field("code") or self.status)

    def field(self, name: str) -> Any:
        """Return a field of what was printed; None when there is none."""
        return self.result.get(name) if isinstance(self.result, dict) else None

    def check_chain(self) -> None:
        """Raise :class:`ChainUnavailable` when that is what it came to."""
        if self.seen == ChainUnavailable.code:
            raise from_problem(self.result)


class Process:
    """A daemon in a process of its own. The first line that it prints is its address."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start ``wave`` with ``arguments``; what it says goes into the file ``log``."""
        self.name = name
        self._log = log
        self._said = threading.Event()
        self._address = ""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-P", "-m", "cli.main", *arguments],
                env={**environment},
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                cwd=log.parent,
            )
        self._reader = threading.Thread(target=self._read, name=f"read {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, self._log.open("ab") as log:
            for line in lines:
                if not self._said.is_set():
                    self._address = line.decode("utf-8", "replace").strip()
                    self._said.set()
                log.write(line)
                log.flush()
        self._said.set()

    def address(self) -> str:
        """Wait until it is ready and return its address; :class:`NotStarted`."""
        if not self._said.wait(START_PATIENCE) or not self._address:
            raise NotStarted(f"{self.name} did not start: {self._last_words()}")
        return self._address

    def _last_words(self) -> str:
        """Return why it ended, as far as its log says: the problem that it printed, or its last lines."""
        text = self._log.read_text("utf-8", "replace")
        try:
            return str(json.loads(text)["detail"])
        except (ValueError, KeyError, TypeError):
            return " / ".join(text.splitlines()[-3:]) or "it said nothing"

    def ready(self) -> dict[str, Any]:
        """Wait until it is ready and return what it says of itself in JSON; :class:`NotStarted`."""
        line = self.address()
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            self.ended(STOP_PATIENCE)
            raise NotStarted(f"{self.name} did not start: {self._last_words()}") from None
        return said

    def spoke(self, patience: float) -> bool:
        """Wait for its first line; False when none comes."""
        return self._said.wait(patience)

    def has_said(self, text: str) -> bool:
        """Tell whether it has printed ``text`` so far, on either stream."""
        return text in self._log.read_text("utf-8", "replace")

    def documents(self) -> list[dict[str, Any]]:
        """Return the JSON objects that it has printed so far, one a line; a problem takes several, and is left out."""
        lines = self._log.read_text("utf-8", "replace").split("\n")[:-1]
        return [json.loads(line) for line in lines if line[:1] + line[-1:] == "{}"]

    def ended(self, patience: float) -> int | None:
        """Wait for it to end by itself and return its exit status; None when it goes on."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return None

    def ask_to_stop(self) -> None:
        """Ask it to stop, and do not wait."""
        self._process.terminate()

    def stop(self) -> None:
        """Stop it, gently at first."""
        self.ask_to_stop()
        try:
            self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_PATIENCE)


@dataclass
class Person:
    """Somebody with a machine's worth of state: their own WAVE_HOME, working directory and agent."""

    name: str
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The state directory."""
        return self.directory / "state"

    @property
    def socket(self) -> Path:
        """Where this person's agent listens."""
        return Settings.from_environment(self.environment).socket

    def run(self, *arguments: str) -> Outcome:
        """Run ``wave`` with ``arguments`` and ``--json`` as this person, in their directory; return what came of it.

        What ends the command early (Ctrl-C, SIGTERM) goes on as :class:`KeyboardInterrupt`.
        """
        from cli.main import main

        out, err = io.StringIO(), io.StringIO()
        with _as(self.environment, self.directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*arguments, "--json"])
        text = out.getvalue()
        if status in _STOPPED:
            raise KeyboardInterrupt
        try:
            return Outcome(status, json.loads(text))
        except ValueError:
            return Outcome(status, text or err.getvalue())

    def shown(self, *arguments: str) -> list[str]:
        """Run ``wave`` with ``arguments`` as this person; return the lines that it prints for them."""
        from cli.main import main

        out = io.StringIO()
        with _as(self.environment, self.directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if main(list(arguments)) in _STOPPED:
                raise KeyboardInterrupt
        return out.getvalue().splitlines()


@contextmanager
def _as(environment: Mapping[str, str], directory: Path) -> Iterator[None]:
    """Be in another directory, with another environment; an event loop in it leaves no other handlers of signals."""
    before, where = dict(os.environ), Path.cwd()
    handlers = [(number, signal.getsignal(number)) for number in _STOPS]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers:
                signal.signal(number, handler)
        os.chdir(where)
        os.environ.clear()
        os.environ.update(before)


class Meeting(NamedTuple):
    """What people share who trust neither: the URLs of a chain and of a router."""

    chain: str
    router: str


class Stage:
    """Everything that is started for the demonstration, and stopped after it: first whoever leans on the others."""

    def __init__(self, root: Path) -> None:
        """Keep all state under ``root``."""
        self.root = root
        self._ground: list[Process] = []
        self._acting: list[Process] = []
        self._base = {key: value for key, value in os.environ.items() if not key.startswith("WAVE_")}

    def person(self, name: str, **settings: str) -> Person:
        """Return a person with an empty state directory; ``settings`` go into their environment."""
        directory = self.root / name
        directory.mkdir(mode=0o700)
        environment = {**self._base, "WAVE_HOME": str(directory / "state"), **settings}
        return Person(name, directory, environment)

    def start(self, person: Person, name: str, *arguments: str, ground: bool = False) -> Process:
        """Start a daemon as a person, and return at once; ask its address to wait until it is ready.

        Others lean on what belongs to the ``ground``, which is stopped last.
        """
        process = Process(name, arguments, person.environment, person.directory / f"{name.replace(' ', '-')}.log")
        (self._ground if ground else self._acting).append(process)
        return process

    def meeting(self, chain: str | None = None, router: str | None = None) -> Meeting:
        """Return where people meet; a chain and a router of our own are started on loopback where none is named."""
        if chain is None:
            chain = self.start(self.person("chain"), "chain", "chain", "run", "--port", "0", ground=True).address()
        if router is None:
            carrier = self.person("carrier", WAVE_CHAIN=chain)
            running = self.start(carrier, "router", "router", "run", "--port", "0", "--json", ground=True)
            router = str(running.ready()["url"])
        return Meeting(chain, router)

    def visitor(self, name: str, at: Meeting) -> Person:
        """Return a person at a meeting, on whose chain they publish as on their own, wherever it runs."""
        if stays_here((at.chain,)):
            return self.person(name, WAVE_CHAIN=at.chain, WAVE_ROUTER=at.router)
        person = self.person(name, WAVE_ROUTER=at.router)
        came = person.run("chain", "use", at.chain, "--own", "--payer", DEVELOPMENT)
        came.check_chain()
        if came.status:
            raise NotStarted(f"the chain at {at.chain} cannot be used: {came.field('detail')}")
        return person

    def residents(self, at: Meeting, *names: str) -> list[Person]:
        """Return people at a meeting, each with an agent."""
        people = [self.visitor(name, at) for name in names]
        for agent in [self.start(person, "agent", "agent", "run", ground=True) for person in people]:
            agent.address()
        return people

    def __enter__(self) -> Self:
        """Return the stage."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        for lot in (self._acting, self._ground):
            for process in lot:
                process.ask_to_stop()
            for process in lot:
                process.stop()


def log_entries(path: Path) -> list[dict[str, Any]]:
    """Return the decisions in a device's log, oldest first; none when it has no log yet."""
    try:
        lines = path.read_text("ascii").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def wait_for_entry(path: Path, after: int, patience: float = ENTRY_PATIENCE) -> dict[str, Any] | None:
    """Return the first decision of a device's log after the first ``after``, waiting for it; None when none comes."""
    if wait_until(lambda: len(log_entries(path)) > after, patience):
        return log_entries(path)[after]
    return None


def wait_until(seen: Callable[[], bool], patience: float, look: float = 0.02) -> bool:
    """Wait until ``seen`` says so; False when it does not within ``patience`` seconds. It looks every ``look``."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if seen():
            return True
        time.sleep(look)
    return False
