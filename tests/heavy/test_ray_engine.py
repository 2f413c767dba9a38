"""The gateway on a real Ray cluster: models are Serve deployments behind the same guard, and lose no question."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from cli.main import main
from devices.gateway.ray import RayCluster, _applications
from tests.gateway.booth import QUICK, SUM, Booth, Front, fronted, says
from wave.agent.client import AgentClient
from wave.agent.settings import Settings
from wave.entities.keyring import read_secret
from wave.errors import BadModel, ModelRaised, ReplicaLost
from wave.guard.client import signing
from wave.guard.provers import agent_prover

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SLOW = b"import time\ndef predict(rows):\n    time.sleep(0.02)\n    return [sum(row) for row in rows]\n"
FAULTY = b"""
import os, time
def predict(rows):
    for row in rows:
        if row == "raise": raise ValueError("no such thing")
        if row == "hang": time.sleep(60)
        if row == "die": os._exit(3)
    return [row.upper() for row in rows]
"""
PLAN = """
namespace = "home.ent"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
engine = "ray"

[ray]
num_cpus = 0.1

[app.add]
input_type = "doubles"
default_output = -1
objective = 5.0
models = ["sum"]

[model.sum]
file = "sum.py"
autoscaling = { max_replicas = 2 }
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """A gateway whose models run in the cluster, served behind its guards."""
    bounds = replace(QUICK, answering=3.0)
    booth = Booth(tmp_path_factory.mktemp("gateway"), bounds=bounds, pools=cluster.pool)
    async with booth.engine.running(), fronted(booth) as served:
        await booth.deploy(model="plain")
        booth.serve("plain", "plain")
        yield served


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - processes set no event
            await asyncio.sleep(0.05)


def deployed(cluster: RayCluster, model: str, version: str = "1") -> dict[str, Any]:
    """Return what Serve itself says of a model's deployment."""
    found: dict[str, Any] = _applications()[f"{cluster.prefix}{model}.{version}"]["deployments"]["model"]
    return found


def members() -> list[int]:
    """Return the processes of this cluster: those that know its token."""
    token = f"RAY_AUTH_TOKEN={os.environ['RAY_AUTH_TOKEN']}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if token in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def looked_at(processes: list[int]) -> tuple[list[str], list[bytes]]:
    """Return the addresses at which these processes listen, as the system writes them, and their command lines."""
    sockets = {str(one.readlink()) for process in processes for one in Path(f"/proc/{process}/fd").iterdir()}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    places = [cells[1].partition(":")[0] for cells in lines if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets]
    return places, [Path(f"/proc/{process}/cmdline").read_bytes() for process in processes]


async def test_a_question_takes_the_right_to_it(front: Front) -> None:
    bob = await front.client("bob", "predict@home/apps/plain", "predict@home/models/plain")
    eve = await front.client("eve", "predict@home/apps/other", "predict@home/models/other")
    nobody = await front.client()
    tensor = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
    for path, body in (("/plain/predict", {"input": [1, 2]}), ("/v2/models/plain/infer", {"inputs": [tensor]})):
        assert (await front.ask(nobody, path, body))[0] == 401
        assert (await front.ask(eve, path, body))[0] == 403
        status, told = await front.ask(bob, path, body)
        assert (status, told.get("output", 3.0)) == (200, 3.0)


async def test_replicas_come_and_go(front: Front, cluster: RayCluster) -> None:
    engine = front.booth.engine
    await front.booth.deploy(SLOW, model="steady")
    front.booth.serve("steady", "steady", objective=30.0)
    pool = engine.pool_of("steady")
    await engine.scale("steady", 3)
    assert len(pool.processes) == 3
    first = [*pool.processes]
    answers = await asyncio.gather(*[engine.predict("steady", [float(row)]) for row in range(100)])
    assert [(one.output, one.explanation) for one in answers] == [(float(row), "") for row in range(100)]
    assert deployed(cluster, "steady")["deployment_config"]["num_replicas"] == 3
    asked = [asyncio.create_task(engine.predict("steady", [row + 0.5])) for row in range(100)]
    await engine.scale("steady", 1)
    assert [one.output for one in await asyncio.gather(*asked)] == [row + 0.5 for row in range(100)]
    await until(lambda: len(pool.processes) == 1)
    assert pool.processes[0] in first, "those that stay are not started anew"


async def test_a_killed_replica_is_missed_by_nobody(front: Front) -> None:
    engine = front.booth.engine
    await engine.scale("steady", 2)
    pool = engine.pool_of("steady")
    before = [*pool.processes]
    over = False

    async def asking(place: int) -> list[Any]:
        found, row = [], 1000.0 * place
        while not over:
            found.append(await engine.predict("steady", [row := row + 1]))
        return found

    clients = [asyncio.create_task(asking(place)) for place in range(1, 5)]
    await asyncio.sleep(0.3)
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len({*pool.processes} - {*before}) == 1)
    over = True
    answers = [one for found in await asyncio.gather(*clients) for one in found]
    assert len(answers) > 20
    assert {one.explanation for one in answers} == {""}
    assert b'wave_gateway_replicas_lost_total{model="steady",version="1"} 1.0' in front.booth.metrics.text()


async def test_a_cluster_that_lost_the_files_is_given_them_again(front: Front, cluster: RayCluster) -> None:
    import ray

    pool = front.booth.engine.pool_of("steady")
    before = [*pool.processes]
    ray.kill(cluster._shelf, no_restart=False)
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len({*pool.processes} - {*before}) == 1)


async def test_a_version_is_rolled_out_and_back(front: Front) -> None:
    booth = front.booth
    await booth.deploy(says("'one'"), "1", model="rolled")
    booth.serve("rolled", "rolled")
    assert (await booth.engine.predict("rolled", [1.0])).output == "one"
    await booth.deploy(says("'two'"), "2", model="rolled")
    assert (await booth.engine.predict("rolled", [1.0])).output == "two"
    assert await booth.engine.use("rolled") == "1"
    assert (await booth.engine.predict("rolled", [1.0])).output == "one"
    assert (await booth.engine.predict("rolled", [1.0], "2")).output == "two"


async def test_a_model_that_raises_hangs_or_dies_spoils_its_own_question_alone(front: Front) -> None:
    booth = front.booth
    await booth.deploy(FAULTY, model="faulty", input_type="strings")
    booth.serve("faulty", "faulty", input_type="strings", default_output="?", objective=20.0)
    bad = ("raise", "hang", "die")
    for one in "abcdefgh":
        await booth.engine.predict("faulty", one)
    answers = await asyncio.gather(*[booth.engine.predict("faulty", one) for one in (*bad, "good")])
    told = dict(zip((*bad, "good"), answers, strict=True))
    assert told["good"].output == "GOOD"
    assert all(told[one].output == "?" for one in bad)
    assert "no such thing" in told["raise"].explanation
    pool = booth.engine.pool_of("faulty")
    with pytest.raises(ModelRaised):
        await booth.engine.infer(pool, ["raise"])
    with pytest.raises(ReplicaLost):
        await booth.engine.infer(pool, ["die"])
    assert [one.value for one in await booth.engine.infer(pool, ["after"])] == ["AFTER"]


async def test_a_caller_is_answered_in_time_whatever_the_model_does(front: Front) -> None:
    booth = front.booth
    booth.serve("hasty", "faulty", input_type="strings", default_output="?", objective=0.2)
    began = asyncio.get_running_loop().time()
    found = await booth.engine.predict("hasty", "hang")
    assert (found.output, found.default) == ("?", True)
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_what_does_not_load_changes_nothing(front: Front, cluster: RayCluster) -> None:
    booth = front.booth
    with pytest.raises(BadModel, match="OSError: no"):
        await booth.deploy(b"raise OSError('no')", "9", model="rolled")
    assert (await booth.engine.predict("rolled", [3.0])).output == "one"
    assert f"{cluster.prefix}rolled.9" not in _applications()


async def test_a_replica_loads_nothing_but_what_was_signed(front: Front, cluster: RayCluster) -> None:
    manifest = front.booth.engine.pool_of("plain").manifest
    spoilt = replace(manifest, version="spoilt")
    await cluster.shelve(spoilt, lambda: says("'spoilt'"))
    pool = cluster.pool(spoilt, lambda: SUM, objective=1.0, bounds=QUICK, meter=front.booth.metrics)
    with pytest.raises(BadModel, match="not the one that was signed"):
        await pool.scale(1)


async def test_a_handle_from_elsewhere_in_the_cluster_is_refused(front: Front, cluster: RayCluster) -> None:
    from ray import serve
    from ray.exceptions import RayTaskError

    handle = await cluster.do(lambda: serve.get_app_handle(f"{cluster.prefix}plain.1"))
    batch, own = b"[[1, 2]]", front.booth.engine.pool_of("plain").manifest
    for sealed in (bytes(32), b"", cluster.sealed(replace(own, sha256="00" * 32), batch), cluster.sealed(own, b"[]")):
        with pytest.raises(RayTaskError, match="NotSigned"):
            await handle.answer.remote(batch, sealed)
    assert json.loads(await handle.answer.remote(batch, cluster.sealed(own, batch)))["outputs"] == [[3, None]]


async def test_a_load_that_is_too_much_brings_more_replicas(front: Front, cluster: RayCluster) -> None:
    booth = front.booth
    await booth.deploy(SLOW, model="elastic")
    booth.serve("elastic", "elastic", objective=30.0)
    told = deployed(cluster, "elastic")["deployment_config"]["autoscaling_config"]
    assert (told["min_replicas"], told["max_replicas"], told["target_ongoing_requests"]) == (1, 2, 1.0)
    over = False

    async def asking(place: int) -> None:
        row = 1000.0 * place
        while not over:
            assert not (await booth.engine.predict("elastic", [row := row + 1])).default

    async with asyncio.TaskGroup() as group:
        for place in range(8):
            group.create_task(asking(place))
        await until(lambda: len(booth.engine.pool_of("elastic").processes) == 2)
        over = True


async def test_ray_listens_to_this_machine_alone_and_shows_its_token_to_nobody(front: Front) -> None:
    places, commands = looked_at(members())
    assert len(places) > 5
    assert {*places} <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    assert not any(token in one for one in commands)


@pytest.fixture
def running(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[str, Any], subprocess.Popen[bytes]]]:
    """Run ``wave gateway run`` as a process of its own, in the cluster that is there."""
    import ray

    monkeypatch.setenv("WAVE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("home", "bob"):
        assert main(["mkentity", "-o", f"{name}.ent", "--no-passphrase"]) == 0
    assert main(["grant", "--from", "home.ent", "--to", "bob.ent", "predict@home.ent/apps/add"]) == 0
    (tmp_path / "sum.py").write_bytes(SUM)
    (tmp_path / "gateway.toml").write_text(PLAN)
    about = ["--namespace", "home.ent", "--model", "sum", "--version", "1"]
    assert main(["gateway", "sign", "--from", "home.ent", *about, "sum.py"]) == 0
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "cli.main", "gateway", "run", "gateway.toml", "--json", "--ray-address", address]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_a_gateway_in_a_cluster_of_others_leaves_nothing_behind(
    running: tuple[dict[str, Any], subprocess.Popen[bytes]], front: Front, tmp_path: Path
) -> None:
    told, process = running
    theirs = {name for name in _applications() if name.endswith("sum.1")}
    assert len(theirs) == 1
    secret = read_secret(tmp_path / "bob.ent", lambda: "")
    local = Settings.from_environment({"WAVE_HOME": str(tmp_path)}).socket
    async with (
        AgentClient(str(local)) as agent,
        ClientSession(middlewares=[signing(secret, agent_prover(agent, secret))]) as http,
        http.post(f"{told['url']}/add/predict", json={"input": [1, 2]}) as response,
    ):
        assert (response.status, (await response.json())["output"]) == (200, 3.0)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 30) == 0
    assert not theirs & {*_applications()}
    assert (await front.booth.engine.predict("rolled", [9.0])).output == "one", "the others run on"
