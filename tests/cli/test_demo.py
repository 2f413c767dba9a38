"""The demonstration: it comes out as told, and says so with its exit status when it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli import story
from cli.main import main
from cli.stage import NotStarted, Stage

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_the_whole_story_comes_out_as_told(tmp_path: Path) -> None:
    """Two homes in processes of their own, every step as expected, from another directory and without a terminal."""
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", "demo", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    told = json.loads(ran.stdout)
    assert told["differences"] == 0
    assert len(told["rows"]) > 60
    assert list(tmp_path.iterdir()) == []


def test_a_difference_ends_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A step that comes out otherwise is marked, and the command fails."""

    def nothing(self: story.Story, stage: Stage, teller: story.Teller) -> None:
        self.tell = teller

    def told(self: story.Story) -> list[story.Row]:
        self.tell.row("the light goes on", "on", "on")
        self.tell.row("Carol is refused", "proof.none", "ok")
        return self.tell.rows

    monkeypatch.setattr(story.Story, "__init__", nothing)
    monkeypatch.setattr(story.Story, "tell_all", told)
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


def test_a_directory_that_exists_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it is touched."""
    assert main(["demo", "--keep", str(tmp_path)]) == 3
    assert "exists" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
