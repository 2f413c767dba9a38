"""publish, subscribe, query and list: from a namespace's name to its router, with two agents on one chain."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.conftest import Shell, identity, make_shell
from tests.cli.test_daemons import ROOT, START, running
from tests.cli.test_router import started

DEVICE = ("device", "run", "--from", "alice.ent", "--namespace", "alice")


class Two(NamedTuple):
    """The home's own machine, and alice's, whose agents share a chain and nothing else."""

    here: Shell
    there: Shell
    router: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """The home's router runs and is designated; alice may do everything in light/*, by a grant on the chain."""
    here, there = (make_shell(tmp_path_factory.mktemp(name)) for name in ("here", "there"))
    with ExitStack() as stack:
        chain = stack.enter_context(running(here, "chain", "run", "--port", "0"))
        for shell in (here, there):
            shell.environment["WAVE_CHAIN"] = chain
            stack.enter_context(running(shell, "agent", "run", WAVE_CHAIN=chain))
        for name in ("house", "router"):
            here.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
        alice = there.done("mkentity", "-o", "alice.ent", "--no-passphrase").line
        here.done("alias", "the-house", "house")
        here.done("grant", "--from", "house.ent", "--to", alice, "publish,subscribe,query,list@house/light/*")
        words = ("--as", "router.ent", "--announce", "here", "--port", "0")
        said = stack.enter_context(started(here, "router", "run", *words))
        here.done("router", "offer", "--from", "router.ent", "house")
        here.done("router", "accept", "--from", "house.ent", "router")
        yield Two(here, there, said["url"])


@contextmanager
def subscribed(shell: Shell, *words: str, said: list[str] | None = None) -> Iterator[Iterator[Any]]:
    """Run ``wave subscribe`` and give what it tells, a document for each message; ``said`` gets its words at the end.

    With ``-n`` it ends by itself, and otherwise when it is told to stop; well, both times.
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-c", START, str(ROOT), "subscribe", "--json", *words],
        cwd=shell.directory,
        env={"PATH": "", "WAVE_HOME": str(shell.home), **shell.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr
            assert "listening to" in process.stderr.readline()
            yield map(json.loads, process.stdout or ())
            if "-n" not in words:
                process.terminate()
            _, words_said = process.communicate(timeout=20)
            if said is not None:
                said += words_said.splitlines()
        finally:
            process.kill()
    assert process.returncode == 0


def test_from_a_name_to_the_router_between_two_agents(two: Two) -> None:
    """Nobody says where the router is."""
    assert two.there.done("router", "list", "the-house", "--json").json["routers"][0]["urls"] == [two.router]
    with subscribed(two.here, "--from", "house.ent", "-n", "1", "the-house/light/+") as told:
        ran = two.there.done("publish", "--from", "alice.ent", "the-house/light/hall", '{"state": "on"}', "--json")
        assert ran.json == {"delivered": 1, "persisted": False}
        message = next(told)
    assert (message["resource"], message["payload"]) == ("light/hall", '{"state": "on"}')
    assert message["sender"] == identity(two.there, "alice")
    assert (message["kept"], message["further"]) == (False, [])
    assert message["serial"] > 0


def test_what_is_persisted_is_found_later(two: Two) -> None:
    """By query, by list, and at the beginning of a subscription."""
    say = ("publish", "--from", "alice.ent", "--persist")
    for number in (1, 2):
        assert "it is kept there" in two.there.done(*say, "the-house/light/shelf/a", str(number)).err
    two.there.done(*say, "the-house/light/shelf/b", "3")
    assert two.there.done("list", "--as", "alice.ent", "the-house/light/shelf/*").out.splitlines() == [
        "light/shelf/a",
        "light/shelf/b",
    ]
    found = two.here.done("query", "--as", "house.ent", "the-house/light/shelf/*", "--json").json["messages"]
    assert {one["resource"]: (one["payload"], one["kept"]) for one in found} == {
        "light/shelf/a": ("2", True),
        "light/shelf/b": ("3", True),
    }
    last = two.here.done("query", "--as", "house.ent", "--last", "2", "the-house/light/shelf/a", "--json").json[
        "messages"
    ]
    assert {one["payload"] for one in last} == {"1", "2"}
    assert two.there.done("query", "--as", "alice.ent", "the-house/light/shelf/b").out.split()[0::2] == [
        "light/shelf/b",
        "3",
    ]
    ran = two.here.done("subscribe", "--from", "house.ent", "--kept", "-n", "2", "the-house/light/shelf/+", "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert {one["resource"] for one in told} <= {"light/shelf/a", "light/shelf/b"}
    after = str(min(one["serial"] for one in told))
    ran = two.here.done(
        "subscribe", "--from", "house.ent", "--since", after, "-n", "1", "the-house/light/shelf/+", "--json"
    )
    assert json.loads(ran.out)["serial"] > int(after)


def test_nothing_kept_is_said(two: Two) -> None:
    """It is no error."""
    for verb in ("query", "list"):
        ran = two.there.done(verb, "--as", "alice.ent", "the-house/light/nowhere")
        assert (ran.out, "nothing is kept" in ran.err) == ("", True)
    assert two.there.done("list", "--as", "alice.ent", "the-house/light/nowhere", "--json").json == {"resources": []}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("publish", "--from", "alice.ent", "the-house/door", "1"), 1, "nothing shows that alice"),
        (("list", "--as", "alice.ent", "the-house/*"), 1, "nothing shows that alice"),
        (("query", "--as", "alice.ent", "the-house/*"), 1, "nothing shows that alice"),
        (("subscribe", "--from", "alice.ent", "-n", "1", "the-house/*"), 1, "nothing shows that alice"),
        (("publish", "--from", "alice.ent", "alice/x", "1"), 1, "no router carries"),
        (("publish", "--from", "alice.ent", "the-house/light/+", "1"), 3, ""),
        (("publish", "--from", "alice.ent", "the-house/light/a", "{on}"), 3, "quoted for the shell"),
        (("publish", "--from", "alice.ent", "--type", "nonsense", "the-house/light/a", "1"), 3, "text/plain"),
        (("publish", "--from", "alice.ent", "--router", "http://x", "the-house/light/a", "1"), 3, "router's address"),
        (("subscribe", "--from", "alice.ent", "--kept", "--since", "3", "the-house/light/a"), 2, "exclude"),
        (("query", "--as", "alice.ent", "--last", "0", "the-house/light/a"), 2, "--last"),
        ((*DEVICE, "--file", "nosuch", "feed", "x"), 3, "no file nosuch"),
        ((*DEVICE, "--rule", "nope", "--on", "a=x/a", "--to", "x/b", "controller", "x"), 3, "there are mirror"),
        ((*DEVICE, "lamp", "x"), 3, "controller"),
    ],
)
def test_what_is_refused_says_why(two: Two, words: tuple[str, ...], status: int, said: str) -> None:
    """With a hint, and the status of its kind."""
    ran = two.there(*words)
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err
    assert "wave: hint: " in ran.err


def test_a_namespace_without_a_router_names_the_list_that_helps(two: Two) -> None:
    """As a document for programs."""
    ran = two.there("publish", "--from", "alice.ent", "alice/x", "1", "--json")
    assert (ran.status, ran.json["code"]) == (1, "router.not_found")
    assert "wave router list" in ran.json["hint"]


def test_a_router_may_be_named(two: Two) -> None:
    """By an option or WAVE_ROUTER, which go before the designated one."""
    for more in ({"WAVE_ROUTER": two.router}, {}):
        named = () if more else ("--router", two.router)
        two.there.done("publish", "--from", "alice.ent", *named, "the-house/light/a", "9", **more)


def test_a_router_that_is_killed_and_comes_back_elsewhere_is_found(two: Two) -> None:
    """By whoever reads on, and with all that it kept."""
    here = two.here
    for name in ("shed", "carrier"):
        here.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    here.done("alias", "the-shed", "shed")
    here.done("grant", "--from", "shed.ent", "--to", identity(two.there, "alice"), "subscribe,query@shed/*")
    here.done("router", "offer", "--from", "carrier.ent", "shed")
    here.done("router", "accept", "--from", "shed.ent", "carrier")
    words = ("router", "run", "--as", "carrier.ent", "--announce", "here", "--port", "0", "--state", "carrier")
    said: list[str] = []
    with (
        started(here, *words, status=-signal.SIGKILL) as first,
        subscribed(two.there, "--from", "alice.ent", "the-shed/*", said=said) as told,
    ):
        here.done("publish", "--from", "shed.ent", "--persist", "shed/door", '"open"')
        assert next(told)["payload"] == '"open"'
        os.kill(first["pid"], signal.SIGKILL)
        with started(here, *words) as second:
            assert second["url"] != first["url"]
            while here.done("publish", "--from", "shed.ent", "shed/door", '"shut"', "--json").json["delivered"] < 1:
                time.sleep(0.1)
            assert next(told)["payload"] == '"shut"'
            kept = two.there.done("query", "--as", "alice.ent", "the-shed/*", "--json").json["messages"]
    assert [one["payload"] for one in kept] == ['"open"']
    assert said[:2] == ["wave: connection lost, trying again", "wave: connected again"]


@pytest.mark.parametrize(
    ("words", "number", "status"),
    [
        (("publish", "--from", "alice.ent", "the-house/light/a", "1"), signal.SIGINT, 130),
        (("query", "--as", "alice.ent", "the-house/light/a"), signal.SIGTERM, 143),
        (("list", "--as", "alice.ent", "the-house/light/*"), signal.SIGINT, 130),
        (("subscribe", "--from", "alice.ent", "the-house/light/*"), signal.SIGINT, 0),
    ],
)
def test_what_is_interrupted_before_its_end_does_not_end_well(
    two: Two, words: tuple[str, ...], number: int, status: int
) -> None:
    """While it waits for a router that never greets; what goes on until it is stopped has ended well."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, str(ROOT), *words],
            cwd=two.there.directory,
            env={
                "PATH": "",
                "WAVE_HOME": str(two.there.home),
                **two.there.environment,
                "WAVE_ROUTER": f"ws://127.0.0.1:{mute.getsockname()[1]}/v1/bus",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with mute.accept()[0]:
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, "Traceback" in err) == (status, "", False)


def test_an_agent_that_says_nothing_is_told_from_a_router_that_does_not(two: Two, tmp_path: Path) -> None:
    """With the hint to start it."""
    house = identity(two.there, "the-house")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "s"))
        mute.listen()
        ran = two.there("query", "--as", "alice.ent", f"{house}/light/a", "--json", WAVE_AGENT=str(tmp_path / "s"))
    assert (ran.status, ran.json["code"]) == (4, "agent.unavailable")
    assert "wave agent run" in ran.json["hint"]
