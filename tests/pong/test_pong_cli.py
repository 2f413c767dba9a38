"""Those verbs of ``wave pong`` that need no tracker."""

import json
from pathlib import Path

import pytest
from onnx import TensorProto
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_operatorsetid,
    make_tensor_value_info,
)

from cli.main import main
from devices.pong.data import ADA, SETS, recorded
from devices.pong.export import export
from devices.pong.imitate import train


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAVE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_data_is_made_where_the_state_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("devices.pong.data.SETS", {"small": {ADA: 1}, "large": {ADA: 2}})
    assert main(["pong", "data", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)
    assert (small["set"], large["set"], small["players"]) == ("small", "large", ["ada"])
    assert Path(small["file"]) == home / "home" / "pong" / "data" / f"{recorded({ADA: 1}).sha256}.csv.gz"
    assert Path(large["file"]).exists()


def test_players_without_a_run_are_compared(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = export(train(recorded({ADA: 2})).onnx, home)
    assert main(["pong", "evaluate", "--episodes", "20", "--seeds", "1", "rule", "random", str(file)]) == 0
    ran = capsys.readouterr()
    assert [line.split()[0] for line in ran.out.splitlines()] == ["player", "rule", "random", str(file)]
    assert "rule plays 20 games" in ran.err


def test_a_model_that_does_not_play_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = make_tensor_value_info("input", TensorProto.FLOAT, ["n", 8])
    told = make_tensor_value_info("output", TensorProto.FLOAT, ["n", 8])
    graph = make_graph([make_node("Identity", ["input"], ["output"])], "itself", [seen], [told])
    model = make_model(graph, opset_imports=[make_operatorsetid("", 18)], ir_version=10)
    (home / "itself.onnx").write_bytes(model.SerializeToString())
    assert main(["pong", "evaluate", str(home / "itself.onnx")]) == 3
    assert "one action for each observation" in capsys.readouterr().err


def test_where_nothing_was_trained_there_are_no_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pong", "runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["pong", "why", "large"]) == 1
    assert "wave pong train" in capsys.readouterr().err
    assert not (home / "home" / "pong").exists()


def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.pong.find_spec", lambda name: None if name == "skl2onnx" else object())
    assert main(["pong", "data", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["code"], told["detail"]) == ("library.missing", "skl2onnx is not installed")
    assert "wave-auth[pong]" in told["hint"]


def test_the_sets_of_the_exercise_are_the_kinds_that_imitate() -> None:
    assert main(["pong", "train", "huge"]) == 2
    assert set(SETS) == {"small", "large"}
