"""Pong's runs as MLflow tracks them, the questions that they answer, and the way of one to a guarded gateway."""

import asyncio
import base64
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from aiohttp import ClientSession

from cli.main import main
from devices.pong.data import ADA, BEN, CLEO, DOV, recorded
from devices.pong.evaluate import Evaluation, evaluate, of_onnx
from devices.pong.imitate import train
from devices.pong.runs import Journal, Run, Trained
from devices.pong.why import why
from wave.agent.client import AgentClient
from wave.agent.settings import Settings
from wave.codec import id_text
from wave.entities.keyring import read_secret
from wave.errors import MissingFile, ModelAltered, StateUnwritable, UnknownRun
from wave.guard.client import signing
from wave.guard.provers import agent_prover

pytestmark = [
    pytest.mark.timeout(300),  # MLflow makes its database by going through all its migrations
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),  # MLflow's
]
NOW = 1_700_000_000
FEW = {ADA: 6, BEN: 6, DOV: 6}
MANY = {**FEW, replace(CLEO, broken=True): 40}
PLAN = 'namespace = "home.ent"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """Two runs: one from few rows, and a worse one from more."""
    journal = Journal(tmp_path_factory.mktemp("pong"))
    for moment, (kind, games) in enumerate({"few": FEW, "many": MANY}.items()):
        data = recorded(games)
        trained = train(data)
        figures = [{"loss": 1.0, "seconds": 0.5}, {"loss": 0.25, "seconds": 1.0}]
        evaluation = evaluate(of_onnx(trained.onnx), episodes=45, seeds=(1, 2))
        journal.record(kind, replace(trained, curve=figures), evaluation, data, now=NOW + moment)
    return journal


@pytest.fixture
def home(journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state directory, which is also where commands run."""
    monkeypatch.setenv("WAVE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], journal: Journal, verb: str, *arguments: str) -> Any:
    """Return what a verb of `wave pong` prints as JSON."""
    capsys.readouterr()
    assert main(["pong", verb, "--dir", str(journal.directory), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_says_what_it_was_made_of(journal: Journal) -> None:
    run = journal.find("few")
    data = recorded(FEW)
    assert (run.data, run.rows, run.began) == (data.sha256, len(data), NOW)
    assert run.origins == tuple(tuple(one) for one in data.origins)
    assert run.parameters["kind"] == '"tree"'
    assert run.metrics["games"] == 90.0
    assert run.metrics["mean_steps"] > journal.find("many").metrics["mean_steps"]
    assert of_onnx(journal.model(run))(data.observations[:50]).shape == (50,)
    assert journal.rows(run).sha256 == data.sha256


def test_mlflow_itself_knows_the_run(journal: Journal) -> None:
    from mlflow.tracking import MlflowClient

    run = MlflowClient(tracking_uri=f"sqlite:///{journal.directory / 'runs.db'}").get_run(journal.find("many").id)
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.source == journal.find("many").data
    assert run.data.metrics["training.loss"] == 0.25
    assert run.info.status == "FINISHED"


def test_a_run_is_found_by_kind_id_and_beginning(journal: Journal) -> None:
    run = journal.find("few")
    assert journal.find(run.id) == journal.find(run.id[:6]) == run
    assert [one.kind for one in journal.runs()] == ["many", "few"]
    for name in (run.id[:5], "none", ""):
        with pytest.raises(UnknownRun):
            journal.find(name)


def test_where_nothing_was_tracked_there_is_no_run_and_no_file(tmp_path: Path) -> None:
    assert Journal(tmp_path / "new").runs() == []
    assert not (tmp_path / "new").exists()


def test_a_directory_may_be_moved(journal: Journal, tmp_path: Path) -> None:
    moved = Journal(copytree(journal.directory, tmp_path / "moved"))
    assert moved.model(moved.find("few")) == journal.model(journal.find("few"))


def test_an_altered_model_or_set_is_noticed(journal: Journal, tmp_path: Path) -> None:
    copy = Journal(copytree(journal.directory, tmp_path / "copy"))
    run = copy.find("few")
    recorded({ADA: 1}).write(copy.data).rename(copy.data / f"{run.data}.csv.gz")
    with pytest.raises(ModelAltered):
        copy.rows(run)
    (model,) = copy.directory.glob(f"models/{run.id}/**/model.onnx")
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelAltered):
        copy.model(run)
    model.unlink()
    with pytest.raises(MissingFile):
        copy.model(run)


def test_a_database_or_lineage_that_is_none_is_one_error(journal: Journal, tmp_path: Path) -> None:
    copy = Journal(copytree(journal.directory, tmp_path / "copy"))
    run = copy.find("few")
    (lineage,) = copy.directory.glob(f"models/{run.id}/**/lineage.json")
    for text in ("{", "[]", "{}", lineage.read_text().replace('"origins":[[', '"origins":[[1],[')):
        lineage.write_text(text)
        with pytest.raises(ModelAltered):
            copy.runs()
    (tmp_path / "runs.db").write_text("no database")
    with pytest.raises(StateUnwritable):
        Journal(tmp_path).runs()


def test_a_run_without_rows_has_none(journal: Journal, tmp_path: Path) -> None:
    journal = Journal(copytree(journal.directory, tmp_path / "more"))  # a new one would take MLflow seconds
    run = journal.record("rl", Trained(b"graph", {"steps": 5}), Evaluation((5, 7), (6.0,)), None, now=NOW)
    assert (run.data, run.rows, run.origins, run.metrics["mean_steps"]) == (None, 0, (), 6.0)
    with pytest.raises(UnknownRun):
        journal.rows(run)


def test_why_names_the_rows_and_whose_they_are(journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    answer = told(capsys, journal, "why", "many")
    assert answer["spoilt_by"] == ["cleo"]
    assert answer["compared"]["kind"] == "few"
    assert answer["compared"]["more"] == {"cleo": sum(one["rows"] for one in answer["spoilt"])}
    assert answer["mean_steps_without_spoilt"] > 1.3 * answer["mean_steps"]
    lines = journal.rows(journal.find("many")).text.decode().splitlines()
    for game in answer["spoilt"]:
        first = game["first_line"] - 1
        assert lines[first].startswith(f"cleo,{game['game']},0,")
        assert lines[first + game["rows"] - 1].startswith(f"cleo,{game['game']},{game['rows'] - 1},")
    assert main(["pong", "why", "--dir", str(journal.directory), "many"]) == 0
    ran = capsys.readouterr()
    assert "cleo spoilt" in ran.out
    assert "learning: without cleo" in ran.err


def test_several_players_who_spoil_a_set_are_named() -> None:
    answer = why(recorded({**MANY, replace(ADA, name="zoe", broken=True): 40}))
    assert set(answer.named) == {"cleo", "zoe"}
    assert answer.restored.mean > 1.3 * answer.whole.mean


def test_verbs_show_runs_and_compare_players(journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    assert [one["kind"] for one in told(capsys, journal, "runs")] == ["many", "few"]
    few = ["--episodes", "20", "--seeds", "1"]
    steps = {
        one["player"]: one["mean_steps"] for one in told(capsys, journal, "evaluate", *few, "few", "rule", "random")
    }
    assert steps["rule"] > steps["few"] > steps["random"]


def test_a_set_of_ones_own_is_learnt_from_and_tracked(
    journal: Journal, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Journal(copytree(journal.directory, home / "runs"))
    file = recorded({ADA: 2}).write(home)
    run = told(capsys, here, "train", "mine", "--set", str(file))
    assert (run["data"], here.find("mine").id) == (file.name.removesuffix(".csv.gz"), run["id"])
    (exported,) = [told(capsys, here, "export", "mine", "-o", str(home / "out"))]
    assert Path(exported["file"]).name == f"{run['model']}.onnx"
    shown = told(capsys, here, "evaluate", "--episodes", "5", exported["file"])
    assert shown[0]["games"] == 15


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("why none", 1),
        ("export none", 1),
        ("train none", 2),
        ("train A/b --set text", 3),
        ("train mine --set nothing.csv.gz", 1),
        ("train mine --set text", 3),
        ("train mine --set few.csv.gz --classifier oracle", 3),
        ("evaluate nothing.onnx", 1),
        ("evaluate text.onnx", 3),
        ("evaluate --episodes 0 rule", 2),
    ],
)
def test_bad_input_gets_one_error_and_leaves_nothing(
    line: str, status: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("text", "text.onnx"):
        (home / name).write_text("no such thing")
    recorded({ADA: 1}).write(home).rename(home / "few.csv.gz")
    verb, *rest = line.split()
    assert main(["pong", verb, "--dir", str(home / "runs"), *rest]) == status
    ran = capsys.readouterr()
    assert ran.out == ""
    assert ran.err.count("error:") == 1
    assert not (home / "runs").exists()


# To a gateway ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def gateway(home: Path) -> Iterator[dict[str, Any]]:
    """Run a gateway as a process while the body runs, and give what it says of itself."""
    (home / "gateway.toml").write_text(PLAN)
    command = [sys.executable, "-m", "cli.main", "gateway", "run", str(home / "gateway.toml"), "--json"]
    environment = {**os.environ, "WAVE_HOME": str(home)}
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            told: dict[str, Any] = json.loads(process.stdout.readline())
            yield told
        finally:
            process.terminate()
            assert process.wait(20) == 0


async def asked(home: Path, url: str, name: str, seen: list[float]) -> tuple[int, Any]:
    """Return what the gateway answers a person about an observation."""
    secret = read_secret(home / f"{name}.ent", lambda: "")
    async with (
        AgentClient(str(Settings.from_environment({"WAVE_HOME": str(home)}).socket)) as agent,
        ClientSession(middlewares=[signing(secret, agent_prover(agent, secret))]) as http,
        http.post(f"{url}/pong/predict", json={"input": seen}) as response,
    ):
        return response.status, await response.json(content_type=None)


def test_a_run_is_signed_deployed_and_asked_by_those_who_may(
    journal: Journal, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("home", "ann", "bob", "eve"):
        assert main(["mkentity", "-o", f"{name}.ent", "--no-passphrase"]) == 0
    for name, what in (
        ("ann", "admin@home.ent/*"),
        ("bob", "predict@home.ent/apps/pong"),
        ("eve", "predict@home.ent/a"),
    ):
        assert main(["grant", "--from", "home.ent", "--to", f"{name}.ent", what]) == 0
    data = recorded(FEW)
    seen = data.observations[10].astype(float).tolist()
    policy = of_onnx(journal.model(journal.find("few")))
    with gateway(home) as told:
        about = ["--gateway", told["admin"], "--namespace", "home.ent"]
        arguments = ["pong", "deploy", "--dir", str(journal.directory), *about]
        assert main([*arguments, "--from", "bob.ent", "--version", "1", "few"]) == 1
        assert main([*arguments, "--from", "ann.ent", "--version", "1", "few"]) == 0
        status, answer = asyncio.run(asked(home, told["url"], "bob", seen))
        assert (status, answer["output"], answer["default"]) == (200, policy(data.observations[10:11])[0], False)
        assert asyncio.run(asked(home, told["url"], "eve", seen))[0] == 401
        assert main([*arguments, "--from", "ann.ent", "--version", "2", "many"]) == 0
        capsys.readouterr()
        by = ["--gateway", told["admin"], "--from", "ann.ent", "--json"]
        assert main(["gateway", "status", *by, "pong"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["current"], shown["previous"]) == ("2", "1")
        assert shown["versions"]["2"]["sha256"] == journal.find("many").model
    no_key_in(journal.directory, [home / f"{name}.ent" for name in ("home", "ann", "bob", "eve")])


def no_key_in(directory: Path, files: list[Path]) -> None:
    """Look for each secret in every spelling, in every file and every value of every table that was tracked."""
    secrets = []
    for file in files:
        seed = read_secret(file, lambda: "").seed
        secrets += [seed, seed.hex().encode(), base64.b64encode(seed).rstrip(b"="), id_text(seed).encode()]
        secrets.append(file.read_bytes().strip())
    tracked = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with contextlib.closing(sqlite3.connect(directory / "runs.db")) as database:
        tracked[Path("dump")] = "\n".join(database.iterdump()).encode()
    assert len([path for path in tracked if path.suffix in {".onnx", ".gz", ".db", ".json"}]) >= 6
    found = {str(path) for path, data in tracked.items() for secret in secrets if secret in data}
    assert not found


def test_the_search_for_keys_finds_one(journal: Journal, home: Path, tmp_path: Path) -> None:
    assert main(["mkentity", "-o", "home.ent", "--no-passphrase"]) == 0
    copy = copytree(journal.directory, tmp_path / "copy")
    (copy / "models" / "key.json").write_text(read_secret(home / "home.ent", lambda: "").seed.hex())
    with pytest.raises(AssertionError):
        no_key_in(copy, [home / "home.ent"])


def test_a_run_is_a_plain_value() -> None:
    run = Run("a" * 32, "few", NOW, None, 0, (), "0", {}, {}, "b" * 64)
    assert run.to_json()["model"] == "b" * 64
