"""log and watch: what happened in a namespace, in order, for people and for programs."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import IO, Any

import pytest

from tests.cli.conftest import Shell, identity
from tests.cli.test_daemons import ROOT, START, running


def test_the_log_tells_who_did_what_when(wave: Shell) -> None:
    dot = wave.done("grant", "--from", "home.ent", "--to", "bob", "list@home/log/*").line
    wave.done("revoke", "--from", "home.ent", "--dot", dot)
    lines = wave.done("log", "home").out.splitlines()
    granted = next(line for line in lines if line.endswith(dot) and "->" in line)
    assert "home -> bob  list@log/*" in granted
    taken = next(line for line in lines if line.endswith(dot) and "revocation" in line)
    assert "the DoT home -> bob, by home" in taken
    assert lines.index(granted) < lines.index(taken)
    assert any("the-house means home" in line for line in lines)


def test_the_log_as_json_is_one_document_with_heights_and_times(wave: Shell) -> None:
    said = wave.done("log", "home", "--json").json
    assert said["namespace"] == identity(wave, "home")
    heights = [one["height"] for one in said["entries"]]
    assert heights == sorted(heights)
    assert all(one["time"] > 1_700_000_000 for one in said["entries"])
    since = str(heights[0])
    later = wave.done("log", "home", "--since", since, "--json").json["entries"]
    assert later == [one for one in said["entries"] if one["height"] > heights[0]]


def test_a_log_of_a_namespace_without_any_says_so(wave: Shell) -> None:
    wave.done("mkentity", "-o", "quiet.ent", "--no-passphrase")
    ran = wave.done("log", "quiet.ent")
    assert (ran.out, "nothing yet" in ran.err) == ("", True)


def test_a_since_that_is_none_is_bad_input(wave: Shell) -> None:
    assert wave("log", "home", "--since", "yesterday").status == 3


def test_watch_goes_on_when_the_agent_comes_back(fresh: Shell) -> None:
    """With what happened in between, once."""
    for name in ("home", "bob"):
        fresh.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")

    def grant(what: str) -> str:
        return fresh.done("grant", "--from", "home.ent", "--to", "bob", f"list@home/{what}").line

    with ExitStack() as stack:
        with running(fresh, "agent", "run"):
            first = grant("a")
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(ROOT), "watch", "--json", "--since", "0"],
                cwd=fresh.directory,
                env={"PATH": os.environ["PATH"], "WAVE_HOME": str(fresh.home)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.kill)
            assert process.stdout
            seen = _until(process.stdout, first)
        second = grant("b")
        with running(fresh, "agent", "run"):
            seen += _until(process.stdout, second)
            seen += _until(process.stdout, grant("c"))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    seen += [json.loads(line) for line in out.splitlines()]
    granted = [one["object"] for one in seen if one["kind"] == "delegation"]
    assert len(granted) == len(set(granted)) == 3
    assert ("waiting for it" in err, "the agent is back" in err, process.returncode) == (True, True, 0)


def _until(stream: IO[str], text: str) -> list[dict[str, Any]]:
    """Return the lines up to the first that has ``text`` in it."""
    found: list[dict[str, Any]] = []
    for line in stream:
        found.append(json.loads(line))
        if text in line:
            return found
    raise AssertionError(f"the stream ended before {text}")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_watch_prints_what_comes_until_it_is_stopped(fresh: Shell, form: tuple[str, ...]) -> None:
    for name in ("home", "bob"):
        fresh.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    with running(fresh, "agent", "run"):
        before = fresh.done("status", "--json").json["height"]
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", START, str(ROOT), "watch", "home", "--since", str(before)),
                *form,
            ],
            cwd=fresh.directory,
            env={"PATH": os.environ["PATH"], "WAVE_HOME": str(fresh.home)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            dot = fresh.done("grant", "--from", "home.ent", "--to", "bob", "list@home/x").line
            fresh.done("revoke", "--from", "home.ent", "--dot", dot)
            assert process.stdout
            seen: list[str] = []
            while len(seen) < 2:
                line = process.stdout.readline()
                assert line
                if dot in line:
                    seen.append(line)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    if form:
        assert [json.loads(line)["kind"] for line in seen] == ["delegation", "revocation"]
    else:
        assert "home -> bob  list@x" in seen[0]
        assert "by home" in seen[1]
