"""The demonstrations: they come out as told, and say so with their exit status when they do not."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from cli.main import main
from cli.stage import NotStarted, Outcome, Stage
from cli.stories.role import BadLine, Line, OwnLine, read_line
from cli.stories.telling import Row, Tale, Teller
from cli.stories.tour import Tour
from tests.world import made
from wave.codec import id_text
from wave.entities.keyring import write_public, write_secret

ROOT = Path(__file__).parents[2]
WAVE = [sys.executable, "-P", "-m", "cli.main"]
OWN = Line("client", id_text(b"a" * 32), id_text(b"h" * 32))
THEIRS = Line("controller", id_text(b"b" * 32), id_text(b"n" * 32))


class Terminal:
    """A terminal in which ``wave demo pair`` runs: what it shows, and somebody who types."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.shown: list[str] = []
        self._more = threading.Condition()
        self._over = False
        self.process = subprocess.Popen(
            [*WAVE, "demo", "pair", *arguments],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._more:
                    self.shown.append(line.rstrip("\n"))
                    self._more.notify_all()
        with self._more:
            self._over = True
            self._more.notify_all()

    def line(self, beginning: str) -> str:
        """Wait for a line that begins so, spaces aside."""

        def found() -> str | None:
            return next((one.strip() for one in self.shown if one.strip().startswith(beginning)), None)

        with self._more:
            self._more.wait_for(lambda: found() is not None or self._over, timeout=60)
        line = found()
        assert line is not None, "\n".join(self.shown)
        return line

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        status = self.process.wait(150)
        self._reader.join(10)
        return status

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)  # what it started is stopped too
        self.process.wait(30)
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._reader.join(10)


@contextmanager
def two_terminals(directory: Path) -> Iterator[tuple[Terminal, Terminal]]:
    """Two people: the second one types what the first one's terminal says."""
    with ExitStack() as stack:
        first = Terminal(directory, "--as", "client")
        stack.callback(first.close)
        words = first.line("wave demo pair --as controller").split()[3:]
        second = Terminal(directory, *words)
        stack.callback(second.close)
        yield first, second


STORIES = {"tour": 70, "home": 55}
"""How many rows each has at least. The pair, told by one for both, is run by tests/heavy/test_demo_pair.py."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All stories at once: they wait for the clock more than for the machine."""
    directory = tmp_path_factory.mktemp("told")
    running = {
        which: subprocess.Popen(
            [*WAVE, "demo", which, "--json"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for which in STORIES
    }
    yield running
    for process in running.values():
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert list(directory.iterdir()) == []


@pytest.mark.timeout(240)
def test_two_people_play_the_pair_in_two_terminals(told: object, tmp_path: Path) -> None:
    """Each pastes the wrong line, then the right one, and sees the story to its end."""
    with two_terminals(tmp_path) as (client, controller):
        lines = {one: one.line("wave-pair:") for one in (client, controller)}
        assert lines[client].split(":")[1] == "client"
        client.type(lines[client])
        assert client.line("that is your own line")
        controller.type("what was that again?")
        assert controller.line("that is no line of a pair")
        client.type(lines[controller])
        controller.type(lines[client])
        for one in (controller, client):
            assert one.ended() == 0, "\n".join(one.shown[-60:])
            (end,) = [line for line in one.shown if "as expected" in line]
            seen, _, of = end.partition(" as expected")[0].split()
            assert seen == of
            assert int(of) > 25
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", STORIES)
def test_a_story_comes_out_as_told(which: str, told: dict[str, subprocess.Popen[str]]) -> None:
    """Homes in processes of their own, every step as expected, from another directory and without a terminal."""
    out, err = told[which].communicate(timeout=220)
    assert out, err[-2000:]
    table = json.loads(out)
    assert [row for row in table["rows"] if row["expected"] != row["seen"]] == []
    assert len(table["rows"]) >= STORIES[which]
    assert told[which].returncode == table["differences"] == 0


def test_a_line_of_ones_own_is_caught() -> None:
    assert read_line(f"  {THEIRS} ", OWN) == THEIRS
    with pytest.raises(OwnLine):
        read_line(str(OWN), OWN)


@pytest.mark.parametrize("field", ["entity", "namespace"])
def test_one_value_of_ones_own_is_caught_too(field: str) -> None:
    with pytest.raises(OwnLine):
        read_line(str(THEIRS._replace(**{field: getattr(OWN, field)})), OWN)


def test_a_line_of_the_same_role_is_caught() -> None:
    with pytest.raises(OwnLine):
        read_line(str(THEIRS._replace(role="client")), OWN)


@pytest.mark.parametrize("text", ["", "wave-pair:", str(THEIRS)[:-2], str(THEIRS)[1:], f"{THEIRS}:more", THEIRS.entity])
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(BadLine):
        read_line(text, OWN)


def test_a_difference_ends_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A step that comes out otherwise is marked, and the command fails."""

    def nothing(self: Tour, stage: Stage, teller: Teller) -> None:
        self.tell = teller

    def told(self: Tour) -> list[Row]:
        self.tell.row("the light goes on", "on", "on")
        self.tell.row("Carol is refused", "proof.none", "ok")
        return self.tell.rows

    monkeypatch.setattr(Tour, "__init__", nothing)
    monkeypatch.setattr(Tour, "tell_all", told)
    assert main(["demo"]) == 1
    assert "1 of 2 as expected" in capsys.readouterr().out


def test_a_process_that_does_not_start_is_said(tmp_path: Path) -> None:
    """The reason comes from what the process said last."""
    with Stage(tmp_path) as stage:
        somebody = stage.person("somebody")
        process = stage.start(somebody, "home", "home", "run", "NONE.toml", "--json")
        with pytest.raises(NotStarted, match=r"NONE\.toml") as caught:
            process.ready()
    assert caught.value.code == "demo.not_started"


def test_pausing_wants_somebody_at_the_keyboard(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal nobody could go on."""
    assert main(["demo", "--pause"]) == 3
    assert "Enter" in capsys.readouterr().err


def test_a_role_is_one_of_the_pair(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "home", "--as", "client"]) == 2
    assert "pair" in capsys.readouterr().err


def test_a_router_goes_with_its_chain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("WAVE_CHAIN", raising=False)
    assert main(["demo", "pair", "--as", "client", "--router", "ws://127.0.0.1:1/v1/bus"]) == 3
    assert "chain" in capsys.readouterr().err


def test_a_chain_that_is_not_there_ends_the_story_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = ["--chain", "http://127.0.0.1:1", "--router", "ws://127.0.0.1:1/v1/bus"]
    assert main(["demo", "pair", "--as", "controller", *nowhere, "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["code"] == "chain.unavailable"


def test_no_paste_yet(tmp_path: Path) -> None:
    """And SIGTERM stops what was started, as Ctrl-C does."""
    kept = tmp_path / "kept"
    terminal = Terminal(tmp_path, "--as", "client", "--keep", str(kept))
    try:
        assert "Nobody has pasted anything yet" in terminal.line("(")
        assert len(mentions(kept)) > 2
        terminal.process.terminate()
        assert terminal.ended() == 130
        assert mentions(kept) == []
    finally:
        terminal.close()


def mentions(directory: Path) -> list[int]:
    """Return the processes that were started with a directory in their environment."""
    found = []
    for one in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if os.fsencode(directory) in one.read_bytes():
                found.append(int(one.parent.name))
    return found


@pytest.fixture
def signals() -> Iterator[None]:
    """SIGTERM as the demonstration has it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_command_that_is_stopped_stops_the_story(signals: object, tmp_path: Path) -> None:
    """A command that waits for its agent ends in order at SIGTERM; whoever ran it hears of that."""
    with Stage(tmp_path) as stage, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent.sock"))
        agent.listen()
        somebody = stage.person("somebody", WAVE_AGENT=str(tmp_path / "agent.sock"))
        write_secret(somebody.directory / "a.ent", made("a"), None)

        def stop() -> None:
            connection, _ = agent.accept()
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Timer(0.2, connection.close).start()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(KeyboardInterrupt):
            somebody.run("publish", f"{OWN.namespace}/light", "1", "--from", "a.ent")
        stopper.join()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_what_a_device_refuses_is_seen_by_its_code() -> None:
    assert (
        Outcome(1, {"delivered": 1, "refused": {"code": "payload.bad", "detail": "x", "hint": ""}}).seen
        == "payload.bad"
    )
    assert Outcome(1, {"code": "proof.none"}).seen == "proof.none"


def test_a_listener_that_ended_with_a_problem_has_still_heard_what_it_heard(tmp_path: Path) -> None:
    """The problem is one document of several lines."""
    with Stage(tmp_path) as stage:
        process = stage.start(stage.person("somebody"), "home", "home", "run", "NONE.toml", "--json")
        assert process.ended(30) == 1
        with process._log.open("a") as log:
            log.write('{"payload": "1"}\n{\n "code": "x"\n}\n')
        assert process.documents() == [{"payload": "1"}]


def test_a_name_that_a_device_does_not_know_yet_is_known_by_its_owner(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    ann = stage.person("ann")
    keys = ann.home / "keys"
    keys.mkdir(parents=True)
    write_public(keys / "guard.pub", made("guard").entity)
    tale = Tale(stage, Teller(quiet=True, pause=lambda: None))
    guard, other = id_text(made("guard").id), id_text(made("other").id)
    assert tale.called(ann, {"name": guard[:8], "who": guard}, "guard") == "guard"
    assert tale.called(ann, {"name": "guard", "who": guard}, "guard") == "guard"
    assert tale.called(ann, {"name": other[:8], "who": other}, "guard") == other[:8]


def test_a_directory_that_exists_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it is touched."""
    assert main(["demo", "--keep", str(tmp_path)]) == 3
    assert "exists" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
