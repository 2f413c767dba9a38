"""mkentity, inspect and secrets: files whole or not at all, passphrases nowhere but where they were typed."""

import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PASSPHRASE, Shell, identity
from wave.agent.oneshot import Caller
from wave.codec import parse_id
from wave.entities.keyring import read_entity, read_secret
from wave.errors import ChainUnavailable

ROOT = Path(__file__).parents[2]


def test_mkentity_writes_a_file_for_its_owner_alone_and_prints_the_id(wave: Shell) -> None:
    path = wave.directory / "home.ent"
    entity = read_entity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert parse_id(identity(wave, "home.ent")) == entity.id
    assert identity(wave, "home") == identity(wave, "home.ent")
    assert entity.expires - entity.created == 10 * 365 * 86_400


def test_mkentity_alone_is_the_id_on_stdout(fresh: Shell) -> None:
    ran = fresh.done("mke", "-o", "a.ent", "--no-passphrase", "--no-publish", "--expires", "90d", "--contact", "a@x")
    entity = read_entity(fresh.directory / "a.ent")
    assert parse_id(ran.line) == entity.id
    assert ran.err == ""
    assert (entity.contact, entity.expires - entity.created) == ("a@x", 90 * 86_400)


def test_mkentity_as_json(wave: Shell) -> None:
    ran = wave.done("mkentity", "-o", "j.ent", "--no-passphrase", "--json")
    assert ran.json["id"] == identity(wave, "j.ent")
    assert ran.json["published"] is True
    assert ran.json["height"] > 0
    assert wave.done("inspect", "j.ent", "--json").json["height"] == ran.json["height"]


def test_an_existing_file_is_never_overwritten(wave: Shell) -> None:
    before = (wave.directory / "alice.ent").read_bytes()
    ran = wave("mkentity", "-o", "alice.ent", "--no-passphrase")
    assert ran.status == 3
    assert "exists already" in ran.err
    assert (wave.directory / "alice.ent").read_bytes() == before


def test_a_name_that_is_taken_is_said_and_not_fatal(wave: Shell) -> None:
    old = identity(wave, "alice")
    (wave.directory / "sub").mkdir()
    ran = wave.done("mkentity", "-o", "sub/alice.ent", "--no-passphrase", "--no-publish")
    assert "belongs to another entity" in ran.err
    assert identity(wave, "alice") == old != ran.line


@pytest.mark.parametrize("name", ["alice", "alice.pub", ".ent"])
def test_a_secret_file_is_named_ent(fresh: Shell, name: str) -> None:
    assert fresh("mkentity", "-o", name, "--no-passphrase").status == 2
    assert fresh.files() == []


def test_a_directory_that_does_not_exist_is_said(fresh: Shell) -> None:
    ran = fresh("mkentity", "-o", "no/such/a.ent", "--no-passphrase", "--no-publish")
    assert ran.status == 1
    assert "there is no directory no/such" in ran.err


@pytest.mark.parametrize("expires", ["soon", "0d", "1970-01-01"])
def test_an_expiry_that_makes_no_sense_is_bad_input_and_writes_nothing(fresh: Shell, expires: str) -> None:
    ran = fresh("mkentity", "-o", "a.ent", "--no-passphrase", "--expires", expires)
    assert ran.status == 3
    assert fresh.files() == []


# Passphrases -------------------------------------------------------------------------------------------------------


def test_a_passphrase_comes_from_a_file_or_from_standard_input(wave: Shell) -> None:
    for arguments, stdin in ((("secret.txt",), ""), (("-",), PASSPHRASE + "\nnext line")):
        ran = wave.done(
            "name", "--from", "locked.ent", "--passphrase-file", *arguments, "--no-publish", "x", "bob", stdin=stdin
        )
        assert PASSPHRASE not in ran.out + ran.err


def test_a_wrong_passphrase_is_bad_input_and_is_not_shown(wave: Shell) -> None:
    ran = wave("name", "--from", "locked.ent", "--passphrase-file", "-", "x", "bob", stdin="wrong horse")
    assert ran.status == 3
    assert "passphrase" in ran.err
    assert "wrong horse" not in ran.err


def test_without_a_terminal_a_passphrase_is_not_waited_for(wave: Shell) -> None:
    ran = wave("name", "--from", "locked.ent", "x", "bob")
    assert ran.status == 3
    assert "no terminal" in ran.err
    assert "--passphrase-file" in ran.err


def test_without_a_terminal_nothing_is_written(fresh: Shell) -> None:
    assert fresh("mkentity", "-o", "a.ent", "--no-publish").status == 3
    assert fresh.files() == []


def test_an_empty_passphrase_is_refused(fresh: Shell) -> None:
    ran = fresh("mkentity", "-o", "a.ent", "--passphrase-file", "-", "--no-publish", stdin="\n")
    assert ran.status == 3
    assert "--no-passphrase" in ran.err
    assert fresh.files() == []


def test_no_passphrase_comes_from_the_environment(fresh: Shell) -> None:
    assert fresh("mkentity", "-o", "a.ent", "--no-publish", WAVE_PASSPHRASE="x").status == 3


def typed(shell: Shell, *answers: str) -> tuple[int, str]:
    """Run mkentity on a terminal and type the answers; return its status and what the terminal showed."""
    master, slave = pty.openpty()
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(ROOT), "mkentity", "-o", "t.ent", "--no-publish"],
        cwd=shell.directory,
        env={"PATH": os.environ["PATH"], "WAVE_HOME": str(shell.home)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown, asked = b"", 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            read = os.read(master, 4096)
        except OSError:
            break
        if not read:
            break
        shown += read
        while asked < len(answers) and shown.count(b": ") > asked:
            time.sleep(0.05)
            os.write(master, answers[asked].encode() + b"\n")
            asked += 1
    os.close(master)
    return process.wait(10), shown.decode()


def test_a_passphrase_is_typed_twice_unseen(fresh: Shell) -> None:
    status, shown = typed(fresh, PASSPHRASE, PASSPHRASE)
    assert status == 0, shown
    assert PASSPHRASE not in shown
    read_secret(fresh.directory / "t.ent", lambda: PASSPHRASE)


def test_two_passphrases_that_differ_write_nothing(fresh: Shell) -> None:
    status, shown = typed(fresh, PASSPHRASE, PASSPHRASE + "x")
    assert status == 3
    assert "differ" in shown
    assert fresh.files() == []


# Publishing fails --------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, refuse: str) -> None:
    """Let the chain go away just before the call of this name."""
    from wave.agent.engine import Engine

    real = Engine.call

    def call(engine: Caller, asked: Any) -> Any:
        if type(asked).__name__ == refuse and not getattr(asked, "keep_only", False):
            raise ChainUnavailable("the chain went away")
        return real(engine, asked)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "call", call)


def test_when_publishing_fails_the_key_stays_and_can_be_published_later(
    wave: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "Publish")
    ran = wave("mkentity", "-o", "late.ent", "--no-passphrase")
    assert (ran.status, ran.out) == (4, "")
    assert "late.ent is written and good, but its record is not published: the chain went away" in ran.err
    assert "wave mkentity --publish-again late.ent" in ran.err
    monkeypatch.undo()
    again = wave.done("mkentity", "--publish-again", "late.ent")
    assert "published in block" in again.err
    assert again.line == identity(wave, "late.ent")
    assert wave.done("inspect", "late.ent", "--json").json["height"] is not None


def test_when_the_chain_is_away_from_the_start_nothing_is_written(wave: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "Status")
    assert wave("mkentity", "-o", "never.ent", "--no-passphrase").status == 4
    assert "never.ent" not in wave.files()


# inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_tells_an_entity(wave: Shell) -> None:
    for name in ("alice", "alice.ent", identity(wave, "alice")):
        ran = wave.done("i", name)
        assert ran.out.startswith("entity")
        assert "valid as of block" in ran.out
        assert identity(wave, "alice") in ran.out


def test_inspect_never_shows_a_secret(wave: Shell) -> None:
    secret = read_secret(wave.directory / "alice.ent", lambda: "")
    ran = wave.done("inspect", "alice.ent")
    as_json = wave.done("inspect", "alice.ent", "--json")
    from wave.codec import id_text

    for shown in (ran.out, as_json.out):
        assert id_text(secret.seed) not in shown
        assert secret.seed.hex() not in shown
    assert "a secret file" in ran.out


def test_inspect_tells_a_dot(wave: Shell) -> None:
    ran = wave.done("inspect", "bob.dot")
    assert "publish on light/light0" in ran.out
    assert f"from       alice ({identity(wave, 'alice')})" in ran.out
    assert "may not be handed on" in ran.out
    found = wave.done("inspect", "bob.dot", "--json").json
    assert (found["kind"], found["state"], found["faults"]) == ("dot", "valid", [])
    assert wave.done("inspect", found["id"], "--json").json == {**found, "checked_at": found["checked_at"]}


def test_inspect_tells_a_proof_from_a_file_and_from_standard_input(wave: Shell) -> None:
    ran = wave.done("inspect", "bob.proof")
    assert "home -> alice -> bob" in ran.out
    again = wave.done("inspect", "-", stdin=(wave.directory / "bob.proof").read_text())
    assert again.out == ran.out


def test_inspect_says_why_something_is_not_valid(wave: Shell) -> None:
    wave.done("grant", "--from", "home.ent", "--to", "bob", "list@home/x", "-o", "x.dot")
    wave.done("revoke", "--from", "home.ent", "--dot", "x.dot")
    ran = wave.done("inspect", "x.dot")
    assert "revoked as of block" in ran.out
    assert "was revoked in block" in ran.out
    assert wave.done("inspect", "x.dot", "--json").json["state"] == "revoked"


def test_inspect_of_an_unknown_id_is_not_found(wave: Shell) -> None:
    ran = wave("inspect", "A" * 42 + "E")
    assert ran.status == 1
    assert "no object" in ran.err


def test_inspect_of_a_damaged_file_is_bad_input(wave: Shell) -> None:
    text = (wave.directory / "bob.dot").read_text()
    (wave.directory / "bad.dot").write_text(text[:-40])
    assert wave("inspect", "./bad.dot").status == 3


def test_control_characters_in_a_record_do_not_reach_the_terminal(wave: Shell) -> None:
    wave.done("mkentity", "-o", "evil.ent", "--no-passphrase", "--comment", "\x1b[2J\u202egnp.exe\nNAME home")
    for arguments in (("inspect", "evil.ent"), ("inspect", "evil.ent", "--json")):
        ran = wave.done(*arguments)
        assert not any(bad in ran.out for bad in ("\x1b", "\u202e", "\nNAME"))
