"""The demonstrations: they come out as told, and say so with their exit status when they do not."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cli.main import main
from cli.stage import NotStarted, Stage
from cli.stories.role import BadLine, Line, OwnLine, read_line
from cli.stories.telling import Row, Teller
from cli.stories.tour import Tour
from wave.codec import id_text

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


STORIES = {"tour": 70, "home": 55, "pair": 95}
"""How many rows each has at least."""


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


def test_a_directory_that_exists_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it is touched."""
    assert main(["demo", "--keep", str(tmp_path)]) == 3
    assert "exists" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
