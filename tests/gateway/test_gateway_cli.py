"""``wave gateway``: the file, the daemon, and the verbs that sign models and change what is served."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector

from cli.main import main
from devices.gateway.plan import GatewayPlan, place
from devices.gateway.replica import MIB
from tests.gateway.booth import SUM, says
from wave.agent.client import AgentClient
from wave.agent.settings import Settings
from wave.entities.keyring import read_secret
from wave.errors import BadSetting
from wave.guard.client import signing
from wave.guard.log import read_log, verify_log
from wave.guard.provers import agent_prover

PAGE = "http://127.0.0.1:4482"
ROOT = Path(__file__).parents[2]
PLAN = """
namespace = "home.ent"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"

[app.add]
input_type = "doubles"
default_output = -1
objective = 5.0
models = ["sum"]

[model.sum]
file = "sum.py"
replicas = 2
"""


@contextlib.contextmanager
def running(home: Path) -> Iterator[dict[str, Any]]:
    """Run the gateway as a process while the body runs, and give what it says of itself."""
    command = [sys.executable, "-m", "cli.main", "gateway", "run", str(home / "gateway.toml"), "--json"]
    command += ["--metrics", str(home / "metrics.sock"), "--log", str(home / "decisions.log")]
    command += ["--origin", PAGE]
    environment = {**os.environ, "WAVE_HOME": str(home)}
    process = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        told: dict[str, Any] = json.loads(process.stdout.readline())
        yield told
    finally:
        process.terminate()
        status = process.wait(20)
        process.stdout.close()
    assert status == 0


async def ask(home: Path, url: str, name: str) -> tuple[int, Any]:
    secret = read_secret(home / f"{name}.ent", lambda: "")
    socket = Settings.from_environment({"WAVE_HOME": str(home)}).socket
    async with (
        AgentClient(str(socket)) as agent,
        ClientSession(middlewares=[signing(secret, agent_prover(agent, secret))]) as http,
        http.post(f"{url}/add/predict", json={"input": [1, 2]}) as response,
    ):
        return response.status, await response.json(content_type=None)


async def allowed_origin(url: str) -> str | None:
    """Return which page may ask, as the page there is told."""
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with ClientSession() as http, http.options(f"{url}/add/predict", headers=headers) as response:
        return response.headers.get("Access-Control-Allow-Origin")


async def numbers(home: Path) -> str:
    connector = UnixConnector(str(home / "metrics.sock"))
    async with ClientSession(connector=connector) as http, http.get("http://localhost/metrics") as response:
        return await response.text()


def test_models_are_signed_served_and_changed_by_those_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAVE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("home", "ann", "bob"):
        assert main(["mkentity", "-o", f"{name}.ent", "--no-passphrase"]) == 0
    assert main(["grant", "--from", "home.ent", "--to", "ann.ent", "admin@home.ent/*"]) == 0
    assert main(["grant", "--from", "home.ent", "--to", "bob.ent", "predict@home.ent/apps/add"]) == 0
    for name, data in (("sum.py", SUM), ("two.py", says("'two'")), ("gateway.toml", PLAN.encode())):
        (tmp_path / name).write_bytes(data)
    about = ["--namespace", "home.ent", "--model", "sum"]
    assert main(["gateway", "run", "gateway.toml"]) == 1, "nobody has signed the model"
    assert main(["gateway", "sign", "--from", "bob.ent", *about, "--version", "1", "sum.py"]) == 1
    assert main(["gateway", "sign", "--from", "ann.ent", *about, "--version", "1", "sum.py"]) == 0
    assert main(["gateway", "sign", "--from", "ann.ent", *about, "--version", "2", "two.py"]) == 0
    with running(tmp_path) as told:
        by = ["--gateway", told["admin"], "--from", "ann.ent"]
        assert asyncio.run(allowed_origin(told["url"])) == PAGE
        assert asyncio.run(ask(tmp_path, told["url"], "bob"))[1]["output"] == 3.0
        assert asyncio.run(ask(tmp_path, told["url"], "ann"))[0] == 401
        assert main(["gateway", "deploy", "--gateway", told["admin"], "--from", "bob.ent", "two.py"]) == 1
        assert main(["gateway", "deploy", *by, "two.py"]) == 0
        assert asyncio.run(ask(tmp_path, told["url"], "bob"))[1]["output"] == "two"
        assert main(["gateway", "rollback", *by, "sum"]) == 0
        assert main(["gateway", "scale", *by, "sum", "1"]) == 0
        assert main(["gateway", "app", *by, "--default", "0", "--objective", "20", "more"]) == 0
        assert main(["gateway", "link", *by, "more", "sum"]) == 0
        assert main(["gateway", "unlink", *by, "more", "sum"]) == 0
        capsys.readouterr()
        assert main(["gateway", "status", *by, "--json", "sum"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["current"], shown["previous"], shown["replicas"]) == ("1", "2", 1)
        metrics = asyncio.run(numbers(tmp_path))
        assert 'wave_gateway_predictions_total{application="add",default="false"} 2.0' in metrics
    verify_log(tmp_path / "decisions.log")
    asked = [entry["code"] for entry in read_log(tmp_path / "decisions.log") if entry["path"] == "/add/predict"]
    assert asked == ["http.not_signed", "ok", "http.not_signed", "http.not_signed", "ok"]


def test_a_plan_is_read() -> None:
    plan = GatewayPlan.parse(PLAN + "\n[replica]\nmemory_mib = 64\nanswering = 1\n", base=Path("/there"))
    assert (plan.namespace, plan.listen, plan.models[0].file) == ("home.ent", "127.0.0.1:0", Path("/there/sum.py"))
    assert plan.models[0].manifest == Path("/there/sum.py.wave")
    assert (plan.bounds.memory, plan.bounds.answering) == (64 * MIB, 1)
    assert (plan.apps[0].terms.policy, plan.apps[0].models) == ("single", ("sum",))
    assert place("[::1]:80") == ("::1", 80)


@pytest.mark.parametrize(
    "text",
    [
        "namespace =",
        "",
        "namespace = 1",
        PLAN + "[other]",
        PLAN.replace("objective = 5.0", "objective = 0"),
        PLAN.replace("objective = 5.0", ""),
        PLAN.replace('models = ["sum"]', "models = [1]"),
        PLAN.replace("app.add", "app.Add"),
        PLAN.replace("replicas = 2", "replicas = 0"),
        PLAN.replace("replicas = 2", "more = 0"),
        PLAN.replace('file = "sum.py"', ""),
        PLAN + "[replica]\nmemory_mib = 0",
        PLAN + '[replica]\nanswering = "1"',
        'authorities = "a"' + PLAN,
        "app = 1" + PLAN.replace("[app.add]", "[other]"),
    ],
)
def test_a_plan_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(BadSetting):
        GatewayPlan.parse(text)


@pytest.mark.parametrize("text", ["80", "localhost", ":80", "host:", "host:x"])
def test_a_place_is_host_and_port(text: str) -> None:
    with pytest.raises(BadSetting):
        place(text)
