"""The arcade: a gateway of your own, which serves a pong model as the application ``pong``."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

from camp import Camp, act

from cli.stage import NotStarted, Outcome, Process
from devices.pong.field import Field

QUESTION = json.dumps({"input": Field().observation()})
"""What the left paddle sees when the ball is served."""


class Arcade:
    """Your gateway. What you type finds it by ``$PONG``, and its administration by ``$WAVE_GATEWAY``."""

    def __init__(self, camp: Camp) -> None:
        """Stand in the directory of ``camp``, and run nothing yet."""
        self.you = camp.you
        self._stage = camp.stage
        self._gateway: Process | None = None
        self._url = ""

    def start(self) -> None:
        """Run the gateway in GATEWAY.toml, anew if it runs already; or say what is wrong."""
        if self._gateway is not None:
            self._gateway.stop()
            self._gateway = None
        process = self._stage.start(self.you, "gateway", "gateway", "run", "GATEWAY.toml", "--json")
        try:
            said = process.ready()
            self._url, os.environ["WAVE_GATEWAY"] = said["url"], said["admin"]
        except (NotStarted, KeyError) as error:
            print(f"The gateway does not run: {error}")
            return
        os.environ["PONG"] = self._url
        self._gateway = process
        print(f"The gateway runs: it answers at {self._url}, as the application pong")

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._gateway is not None

    def ask(self, secret: str, *proof: str) -> Outcome:
        """Ask for a move by ``wave curl`` as somebody."""
        return act(self.you, "curl", "--from", secret, *proof, "-d", QUESTION, f"{self._url}/pong/predict")

    def ask_unsigned(self) -> tuple[int, dict[str, Any]]:
        """Ask for a move as nobody; return status and what was answered."""
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self._url}/pong/predict", QUESTION.encode(), headers)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)
