"""`wave pong ui` as a person starts it."""

import json
import urllib.request
from pathlib import Path

from tests.devices.places import place_at

GATEWAY = "http://127.0.0.1:1337"


def test_the_page_is_served_until_it_is_stopped(tmp_path: Path) -> None:
    with place_at(tmp_path) as place:
        assert place.wave("pong", "ui", "--gateway", "127.0.0.1:1337", status=3)["code"] == "setting.bad"
        page = place.start("pong", "ui", "--port", "0", "--gateway", f"{GATEWAY}/")
        ready = page.wait(ready="page")
        assert ready["url"] == f"{ready['origin']}/"
        with urllib.request.urlopen(f"{ready['url']}setup", timeout=10) as answer:
            setup = json.load(answer)
        assert (setup["gateway"], setup["app"], setup["figures"]["step"]) == (GATEWAY, "pong", 0.05)
        assert page.stop() == 0
        assert "Traceback" not in "".join(page.talk)
