"""The examples of guarded services, run as their first lines say, and asked by ``wave curl``."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chain.staging import served
from tests.cli.conftest import Shell, make_shell
from tests.ports import free_port
from wave.agent.server import serving
from wave.agent.settings import Settings
from wave.chain.node import EmbeddedNode

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES = 40


class Place(NamedTuple):
    """A shell whose home has an agent, and where the chain is."""

    wave: Shell
    chain: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A chain for several, and a home with its agent; alice may use the lights and the models, bob nothing."""
    directory = tmp_path_factory.mktemp("g")
    started: Future[asyncio.AbstractEventLoop] = Future()
    over = asyncio.Event()

    async def agent(settings: Settings) -> None:
        async with serving(settings):
            started.set_result(asyncio.get_running_loop())
            await over.wait()

    with EmbeddedNode.open(directory / "node") as node, served(node) as chain:
        wave = Shell(make_shell(directory).directory, directory / "home", {"WAVE_CHAIN": chain})
        settings = Settings.from_environment({"WAVE_HOME": str(wave.home), "WAVE_CHAIN": chain})
        thread = threading.Thread(target=lambda: asyncio.run(agent(settings)))
        thread.start()
        loop = started.result(20)
        for name in ("home", "alice", "bob"):
            wave.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
        wave.done("grant", "--from", "home.ent", "--to", "alice", "publish@home/light/*", "predict@home/models/*")
        yield Place(wave, chain)
        loop.call_soon_threadsafe(over.set)
        thread.join()


@contextmanager
def running(name: str, place: Place, home: Path) -> Iterator[str]:
    """Run an example until it listens, and stop it in the end; its URL."""
    port = free_port()
    namespace = place.wave.done("resolve", "home").line
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), namespace, str(port)],
        env={"WAVE_HOME": str(home), "WAVE_CHAIN": place.chain},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{name} does not listen"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("name", ["guarded_aiohttp.py", "guarded_fastapi.py"])
def test_a_guard_is_a_line(name: str) -> None:
    """What stands before the handler stays small."""
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < LINES
    assert text.count("the line that guards") == 1


def test_aiohttp_behind_a_guard_with_an_agent(place: Place) -> None:
    wave = place.wave
    with running("guarded_aiohttp.py", place, wave.home) as url:
        told = wave.done("curl", "--from", "alice.ent", "-X", "POST", f"{url}/lights/hall").json
        assert (told["light"], told["by"]) == ("hall", wave.done("resolve", "alice").line)
        refused = wave("curl", "--from", "bob.ent", "-X", "POST", f"{url}/lights/hall", "--json")
        assert (refused.status, refused.json["code"]) == (1, "proof.none")
        assert wave("curl", "--from", "alice.ent", f"{url}/lights/hall").status == 1  # no rule maps a GET


def test_fastapi_behind_a_guard_that_follows_the_chain_by_itself(place: Place, tmp_path: Path) -> None:
    wave = place.wave
    with running("guarded_fastapi.py", place, tmp_path / "service") as url:
        asked = ("curl", "--from", "carol.ent", "-d", "[[1, 2], [3]]", f"{url}/models/sums/infer")
        wave.done("mkentity", "-o", "carol.ent", "--no-passphrase")
        made = wave.done("grant", "--from", "home.ent", "--to", "carol", "predict@home/models/sums", "--json").json
        wave.done("prove", "--subject", "carol", "-o", "carol.proof", "predict@home/models/sums")
        assert wave.done(*asked).json["answers"] == [3.0, 3.0]
        wave.done("revoke", "--from", "home.ent", "--dot", made["id"])
        ended = time.monotonic() + 10
        while (refused := wave(*asked, "--proof", "carol.proof", "--json")).status == 0:
            assert time.monotonic() < ended, "the service goes by facts for a second, and no longer"
        assert (refused.status, refused.json["code"]) == (1, "dot.revoked")
        assert wave("curl", "--from", "alice.ent", f"{url}/docs").status == 1
