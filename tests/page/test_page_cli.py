"""`wave home ui` as a person starts it, beside a running home."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devices.places import Place, place_at

PLAN = """
namespace = "home"
port = 0
[[device]]
kind = "light"
instance = "light0"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "home.toml").write_text(PLAN)
    with place_at(tmp_path) as place:
        yield place


def test_the_page_of_a_running_home_is_served_until_it_is_stopped(place: Place) -> None:
    place.wave("mkentity", "-o", "home.ent", "--no-passphrase")
    home = place.start("home", "run", "home.toml", "--from", "home.ent")
    place.environment["WAVE_ROUTER"] = home.wait(ready="home")["router"]
    refused = place.wave("home", "ui", status=3)
    assert refused["code"] == "request.bad"

    page = place.start("home", "ui", "--from", "home.ent", "--port", "0")
    ready = page.wait(ready="page")
    assert ready["owner"].startswith(f"{ready['url']}#owner=")
    with urllib.request.urlopen(ready["url"], timeout=10) as answer:
        assert b"<title>Home" in answer.read()
    graph = place.wave("graph", "home")
    assert ready["page"] in {edge["receiver"] for edge in graph["edges"]}
    for one in (page, home):
        assert one.stop() == 0
    assert json.dumps(page.talk).count("Traceback") == 0
