"""router offer, accept, announce and list; taking them back; what inspect, log and graph --format html show."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Shell, identity, make_shell
from tests.cli.test_daemons import ROOT, START, running
from wave.entities.object import from_text
from wave.namespace.route import Route

URL = "ws://127.0.0.1:4410/v1/bus"
ELSEWHERE = "wss://elsewhere.example/v1/bus"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A home, its deputy (who holds route on all of it), two routers and a stranger."""
    shell = make_shell(tmp_path_factory.mktemp("street"))
    for name in ("home", "deputy", "router", "spare", "stranger"):
        shell.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    shell.done("grant", "--from", "home.ent", "--to", "deputy", "route@home/*")
    return shell


@contextmanager
def started(shell: Shell, *arguments: str, status: int = 0) -> Iterator[Any]:
    """Run a daemon and give what it says when it is ready; told to end, it must end with that status."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", START, str(ROOT), *arguments],
        cwd=shell.directory,
        env={"PATH": os.environ["PATH"], "WAVE_HOME": str(shell.home), **shell.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == status


def router(shell: Shell, *words: str) -> Ran:
    return shell.done("router", *words, "--json")


def rows(shell: Shell, *namespace: str) -> dict[str, tuple[bool, str]]:
    found = router(shell, "list", *namespace).json["routers"]
    return {one["router"]: (one["designated"], one["lacks"]) for one in found}


def test_from_a_name_to_the_router(street: Shell, tmp_path: Path) -> None:
    """Each of the three words is needed, and the list says which is missing."""
    home, own = identity(street, "home"), identity(street, "router")
    assert "no router was offered" in street.done("router", "list", "home").err
    offer = router(street, "offer", "--from", "router.ent", "-o", str(tmp_path / "offer.route"), "home").json
    assert (offer["act"], offer["giver"], offer["namespace"]) == ("offer", own, home)
    assert offer["published"]
    written = Route.from_object(from_text((tmp_path / "offer.route").read_text()))
    assert written.router == Route.from_object(written.to_object()).fields.giver
    assert rows(street, "home") == {own: (False, "nobody who may has accepted it")}
    assert router(street, "accept", "--from", "home.ent", "router").json["router"] == own
    assert rows(street, "home") == {own: (False, "it has not announced where it is reached")}
    assert router(street, "announce", "--from", "router.ent", URL, ELSEWHERE).json["urls"] == [URL, ELSEWHERE]
    assert rows(street, "home") == {own: (True, "")}
    lines = street.done("router", "list").out.splitlines()
    assert lines[0].split() == ["namespace", "router", "until", "reached", "at"]
    assert lines[1].split()[:4] == ["home", "router", "carries", "it"]
    assert lines[1].endswith(f"{URL} {ELSEWHERE}")


def test_a_deputy_may_accept_and_a_stranger_is_told_that_it_counts_for_nothing(street: Shell) -> None:
    """The deputy's right is the namespace's own word."""
    router(street, "offer", "--from", "spare.ent", "home")
    router(street, "announce", "--from", "spare.ent", URL)
    ran = street.done("router", "accept", "--from", "stranger.ent", "--namespace", "home", "spare")
    assert "counts for nothing" in ran.err
    assert rows(street, "home")[identity(street, "spare")] == (False, "nobody who may has accepted it")
    ran = street.done("router", "accept", "--from", "deputy.ent", "--namespace", "home", "spare")
    assert "counts for nothing" not in ran.err
    assert rows(street, "home")[identity(street, "spare")][1] != "nobody who may has accepted it"
    accept = ran.line
    assert street("revoke", "--from", "home.ent", "--route", accept).status == 1
    assert f"route {accept} is revoked" in street.done("revoke", "--from", "deputy.ent", "--route", accept).out
    assert rows(street, "home")[identity(street, "spare")] == (False, "nobody who may has accepted it")


def test_inspect_shows_a_route_and_what_became_of_it(street: Shell, tmp_path: Path) -> None:
    """By its id and from its file."""
    file = str(tmp_path / "at.route")
    said = street.done("router", "announce", "--from", "spare.ent", "--expires", "2h", "-o", file, ELSEWHERE).line
    found = street.done("inspect", file, "--json").json
    assert (found["kind"], found["act"], found["urls"], found["state"]) == ("route", "endpoint", [ELSEWHERE], "valid")
    text = street.done("inspect", said).out
    assert "spare (" in text
    assert ELSEWHERE in text
    offer = router(street, "offer", "--from", "spare.ent", "--expires", "3h", "home").json["id"]
    assert "to carry" in street.done("inspect", offer).out
    accept = router(street, "accept", "--from", "home.ent", "--expires", "3h", "spare").json["id"]
    assert "carried" in street.done("inspect", accept).out
    street.done("revoke", "--from", "spare.ent", "--route", file)
    street.done("revoke", "--from", "home.ent", "--route", accept)
    assert street.done("inspect", file, "--json").json["state"] == "revoked"
    told = street.done("log", "home").out
    assert "spare offers to carry home" in told
    assert "home takes spare as the router of home" in told
    assert "that home takes spare as the router of home, by home" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("announce", "--from", "router.ent", "http://router.example"), "no router's address"),
        (("announce", "--from", "router.ent", "ws://me:secret@router.example"), "no router's address"),
        (("announce", "--from", "router.ent", URL, URL), "each once"),
        (("offer", "--from", "router.ent", "--expires", "0s", "home"), "is not a time"),
    ],
)
def test_what_makes_no_route_is_bad_input(street: Shell, words: tuple[str, ...], said: str) -> None:
    """And nothing is published; no password is repeated."""
    before = street.done("status", "--json").json["height"]
    ran = street("router", *words)
    assert (ran.status, ran.out) == (3, "")
    assert said in ran.err
    assert "secret" not in ran.err
    assert street.done("status", "--json").json["height"] <= before + 1


def test_a_route_is_only_kept_when_that_is_asked_for(street: Shell) -> None:
    """Then nobody else learns of it."""
    ran = router(street, "offer", "--from", "spare.ent", "--no-publish", "stranger")
    assert (ran.json["published"], ran.json["height"]) == (False, None)
    assert rows(street, "stranger") == {identity(street, "spare"): (False, "nobody who may has accepted it")}


def test_a_router_announces_itself_when_it_starts(street: Shell, tmp_path: Path) -> None:
    """Once for an address; it needs an entity to sign with."""
    ran = street("router", "run", "--announce", "here")
    assert (ran.status, ran.out) == (2, "")
    assert "--as" in ran.err
    router(street, "offer", "--from", "stranger.ent", "deputy")
    router(street, "accept", "--from", "deputy.ent", "stranger")
    words = ("--as", "stranger.ent", "--state", str(tmp_path / "state"), "--announce", "here", "--port", "0")
    with running(street, "agent", "run"), started(street, "router", "run", *words) as said:
        url = said["url"]
        found = router(street, "list", "deputy").json["routers"]
        assert [(one["designated"], one["urls"]) for one in found] == [(True, [url])]


def test_who_accepts_a_router_that_never_offered_is_told_so(street: Shell) -> None:
    """As long as it has not."""
    ran = street.done("router", "accept", "--from", "stranger.ent", "--no-publish", "router")
    assert "router has not offered" in ran.err
    assert "wave router offer" in ran.err
    street.done("router", "offer", "--from", "router.ent", "--no-publish", "stranger")
    ran = street.done("router", "accept", "--from", "stranger.ent", "--no-publish", "--expires", "2d", "router")
    assert "has not offered" not in ran.err


def test_a_router_of_one_namespace_carries_no_other(street: Shell, tmp_path: Path) -> None:
    """Though the other's own entity asks."""
    words = ("router", "run", "--namespace", "home", "--state", str(tmp_path / "state"), "--port", "0")
    with running(street, "agent", "run"), started(street, *words) as said:
        street.done("publish", "--from", "home.ent", "--router", said["url"], "home/a", "1")
        ran = street("publish", "--from", "stranger.ent", "--router", said["url"], "stranger/a", "1")
    assert (ran.status, ran.out) == (1, "")
    assert "does not carry" in ran.err
    assert "wave router list" in ran.err


class _Page(HTMLParser):
    """What a page would fetch, and the tags in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "data", "srcset"}]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_graph_as_a_page_needs_nothing_else(street: Shell, tmp_path: Path) -> None:
    """The drawing, a legend, and each DoT with its times; nothing foreign is run or fetched."""
    street.done("grant", "--from", "home.ent", "--to", "stranger", "--comment", "<script>x</script>", "list@home/a")
    page = street.done("graph", "home", "--format", "html").out
    read = _Page()
    read.feed(page)
    assert page.startswith("<!DOCTYPE html>")
    assert (read.tags.count("svg"), read.fetched) == (1, [])
    assert "script" not in read.tags
    text = " ".join(read.text)
    assert all(
        word in text for word in ("Who holds what in home", "Legend", "route", "deputy", "stranger", "valid, at 20")
    )
    assert "&lt;script&gt;x" in page
    file = tmp_path / "home.html"
    street.done("graph", "home", "-o", str(file))
    assert file.read_text().startswith("<!DOCTYPE html>")


def test_words_that_the_shell_completes(fresh: Shell) -> None:
    """The acts of the group, and entities."""
    ran = fresh(_WAVE_COMPLETE="bash_complete", COMP_WORDS="wave router a", COMP_CWORD="2")
    assert set(ran.out.split()) == {"plain,accept", "plain,announce"}
    ran = fresh(_WAVE_COMPLETE="bash_complete", COMP_WORDS="wave device run ", COMP_CWORD="3")
    assert {"plain,light", "plain,feed", "plain,controller"} <= set(ran.out.split())
    ran = fresh(_WAVE_COMPLETE="bash_complete", COMP_WORDS="wave device install a", COMP_CWORD="3")
    assert ran.out.split() == ["plain,agent"]
