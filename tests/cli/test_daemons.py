"""The daemons as processes: found by commands of the same home, stopped by signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

ROOT = Path(__file__).parents[2]
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cli.main import main; sys.exit(main())"


@contextmanager
def running(shell: Shell, *arguments: str, **environment: str) -> Iterator[str]:
    """Run a daemon and give the address that it prints; it must end well when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", START, str(ROOT), *arguments],
        cwd=shell.directory,
        env={"PATH": os.environ["PATH"], "WAVE_HOME": str(shell.home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "stop it with Ctrl-C" in err


def test_commands_find_the_agent_that_runs_on_their_home(fresh: Shell) -> None:
    with running(fresh, "agent", "run") as address:
        assert address == str(fresh.home / "agent.sock")
        pid = fresh.done("status", "--json").json["pid"]
        assert pid != os.getpid()
        fresh.done("mkentity", "-o", "a.ent", "--no-passphrase")
        fresh.done("mkentity", "-o", "b.ent", "--no-passphrase")
        fresh.done("grant", "--from", "a.ent", "--to", "b", "list@a/x")
        fresh.done("prove", "--subject", "b", "-o", "b.proof", "list@a/x")
        fresh.done("verify", "b.proof", "list@a/x", WAVE_AGENT=address)
        assert fresh("agent", "run").status == 4
    fresh.done("verify", "b.proof", "list@a/x")


def test_an_agent_on_a_port_wants_its_token(fresh: Shell, tmp_path: Path) -> None:
    with running(fresh, "agent", "run", "--port", "0") as address:
        assert address.startswith("http://127.0.0.1:")
        fresh.done("status", WAVE_AGENT=address)
        stranger = fresh("status", WAVE_AGENT=address, WAVE_HOME=str(tmp_path / "other"))
        assert stranger.status == 1
        assert "token" in stranger.err


def test_two_homes_share_a_chain(fresh: Shell, tmp_path: Path) -> None:
    other = Shell(fresh.directory, tmp_path / "other", {})
    with running(fresh, "chain", "run", "--port", "0") as url:
        assert url.startswith("http://127.0.0.1:")
        identity = fresh.done("mkentity", "-o", "a.ent", "--no-passphrase", WAVE_CHAIN=url).line
        assert other.done("status", "--json", WAVE_CHAIN=url).json["counts"]["entities"] == 1
        assert identity in other.done("inspect", identity, WAVE_CHAIN=url).out
        secretive = url.replace("//", "//somebody:secret@") + "/?key=secret"
        assert other.done("status", "--json", WAVE_CHAIN=secretive).json["chain"] == url


def test_a_host_of_others_is_refused(fresh: Shell) -> None:
    ran = fresh("chain", "run", "--host", "192.0.2.1", "--port", "0")
    assert ran.status == 3
    assert "--anywhere" in ran.err


@pytest.mark.parametrize("arguments", [("agent",), ("chain",)])
def test_a_daemon_group_without_a_verb_shows_its_help(fresh: Shell, arguments: tuple[str, ...]) -> None:
    ran = fresh(*arguments)
    assert ran.status == 2
    assert "run" in ran.out


@pytest.mark.parametrize("arguments", [("agent", "run"), ("chain", "run", "--port", "0")])
def test_a_daemon_says_in_json_that_it_is_ready(fresh: Shell, arguments: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", START, str(ROOT), *arguments, "--json"],
        cwd=fresh.directory,
        env={"PATH": os.environ["PATH"], "WAVE_HOME": str(fresh.home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    said = json.loads(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=20)
    assert (said["ready"], said["pid"], process.returncode) == (arguments[0], process.pid, 0)
