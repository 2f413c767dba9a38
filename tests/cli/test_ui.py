"""What is printed: plain text, colour on terminals alone, one document with --json; and how a run ends."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as entry
from cli import ui
from cli.session import Session
from tests.cli.conftest import Shell
from wave.errors import NoProof

ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b[31mred\x1b[0m\r\n\x07\x7f\x9b31m\u202eback\u2028line\ud800\U000e0001"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_everything_that_does_not_print_is_escaped() -> None:
    assert ui.plain(HOSTILE).isprintable()
    assert ui.plain("\x1b\x9b\u202e\U000e0001") == "\\x1b\\x9b\\u202e\\U000e0001"
    assert ui.plain("Käthe's light 灯") == "Käthe's light 灯"


def test_lines_escape_all_but_what_was_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ui.out((ui.paint("yes\x1b[2J", "green"), " \x1b[2J"))
    assert terminal.getvalue() == "\x1b[32myes\\x1b[2J\x1b[0m \\x1b[2J\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert ui.paint("yes", "green") == "yes"


def test_there_is_no_colour_without_a_terminal(wave: Shell) -> None:
    for arguments in (["verify", "bob.proof", "publish@home/light/light0"], ["resolve", "nobody"], ["graph", "home"]):
        ran = wave(*arguments)
        assert "\x1b" not in ran.out + ran.err


def test_a_json_document_is_ascii_and_survives(capsys: pytest.CaptureFixture[str]) -> None:
    text = HOSTILE.replace("\ud800", "")
    ui.document({"comment": text})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown) == {"comment": text}


def test_a_terminal_that_knows_few_letters_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    ui.out("└─ Käthe")
    assert written.getvalue() == b"\\u2514\\u2500 K\\xe4the\n"


def test_columns_stand_under_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    for line in ui.table(("name", "id"), [("alice", "1"), ("\n", "2")]):
        ui.out(line)
    assert capsys.readouterr().out.splitlines() == ["name   id", "alice  1", "\\x0a   2"]


def test_long_work_is_said_on_a_terminal_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(ui, "_SOON", 0.01)
    with ui.waiting("opening"):
        time.sleep(0.2)
    assert terminal.getvalue() == "wave: opening …\r\x1b[K"


# How a run ends ----------------------------------------------------------------------------------------------------


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: Session) -> None:
        raise error

    monkeypatch.setattr(Session, "settings", property(fail))


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (PermissionError(13, "Permission denied", "/x"), 4, "wave: error: /x: Permission denied\n"),
        (OSError(28, "No space left on device"), 4, "wave: error: No space left on device\n"),
        (
            NoProof("no\x1b", hint="ask\n", decision="d"),
            1,
            "wave: error: no\\x1b\nwave: hint: ask\\x0a\nwave: decision: d\n",
        ),
    ],
)
def test_errors_end_in_a_status_and_never_in_a_traceback(
    fresh: Shell, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, said: str
) -> None:
    raising(monkeypatch, error)
    ran = fresh("status")
    assert (ran.status, ran.out, ran.err) == (status, "", said)


def test_a_fault_of_our_own_is_not_hidden(fresh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fresh("status")


def test_an_error_with_json_is_one_problem_document(fresh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, NoProof("no", hint="ask", decision="d"))
    ran = fresh("status", "--json")
    assert (ran.status, ran.err) == (1, "")
    assert ran.json == {
        "type": "urn:wave:error:proof.none",
        "title": "NoProof",
        "status": 403,
        "detail": "no",
        "code": "proof.none",
        "hint": "ask",
        "decision": "d",
    }


def test_a_setting_that_cannot_be_used_is_bad_input(fresh: Shell) -> None:
    ran = fresh("status", WAVE_CHAIN="ftp://somebody:secret@x/key")
    assert ran.status == 3
    assert "somebody" not in ran.err
    assert "secret" not in ran.err


def test_a_home_that_cannot_be_written_is_said(fresh: Shell) -> None:
    ran = fresh("status", WAVE_HOME="/dev/null/x")
    assert ran.status == 4
    assert "/dev/null/x" in ran.err


def test_a_closed_pipe_is_quiet(seeded: Shell) -> None:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(ROOT), "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "WAVE_HOME": str(seeded.home)},
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 141
    process.stderr.close()


def test_the_console_script_is_this_main() -> None:
    assert entry.main.__module__ == "cli.main"


@pytest.mark.parametrize(("closed", "status"), [(">&-", 0), ("2>&-", 0), ("<&-", 0), (">&- 2>&-", 0)])
def test_a_stream_that_was_closed_before_is_no_fault(closed: str, status: int, tmp_path: Path) -> None:
    """What would be said there is lost, and nothing else."""
    ran = subprocess.run(
        f"'{sys.executable}' -m cli.main status {closed}",
        shell=True,
        cwd=ROOT,
        env={**os.environ, "WAVE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (status, "")


def test_what_the_library_logs_is_said_like_a_warning(fresh: Shell, tmp_path: Path) -> None:
    other = Shell(fresh.directory, tmp_path / "other", {})
    fresh.done("mkentity", "-o", "a.ent", "--no-passphrase")
    other.done("mkentity", "-o", "b.ent", "--no-passphrase")
    (fresh.home / "chain").rename(fresh.home / "lost")
    (other.home / "chain").rename(fresh.home / "chain")
    (fresh.home / "followed.json").unlink()  # or the other chain would be refused
    ran = fresh.done("status")
    assert ran.err.startswith("wave: warning: the chain changed")
    assert "is WAVE_CHAIN what it was?" in ran.err


def test_a_long_way_to_the_newest_block_is_shown_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ui.progress(2_000, 90_000)
    assert "block 2,000 of 90,000 (2 %)" in terminal.getvalue()
    ui.progress(89_999, 90_000)
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_short_way_and_a_stream_that_is_no_terminal_show_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stream = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    ui.progress(90_000, 90_001)
    assert "block" not in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", stream)
    ui.progress(2_000, 90_000)
    assert stream.getvalue() == ""
