"""log and watch: what happened in a namespace, in order, for people and for programs."""

import json
import os
import signal
import subprocess
import sys

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
