"""Reinforcement learning for real: RLlib plays and learns, Tune searches, and the ONNX file says what torch says."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ray import tune

from devices.gateway.containers import load
from devices.pong.environment import FARTHEST
from devices.pong.evaluate import evaluate, of_onnx
from devices.pong.reinforce import SHIFT, VIEW, Figures, Settings, cluster, layers, learner, to_onnx, train
from devices.pong.runs import Trained
from devices.pong.search import search
from wave.errors import BadSetting

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*rllib-single-agent-env-v0 already in registry"),  # RLlib's second time
]

STEPS = 80_000


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    """One Ray for all that follows."""
    with cluster():
        yield


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(seconds=500, steps=STEPS, seed=1)


def test_a_brief_training_learns(trained: Trained) -> None:
    with learner(Settings(), seed=1, runners=0) as algorithm:
        untrained = to_onnx(layers(algorithm.get_module()))
    before, after = (evaluate(of_onnx(model), episodes=50) for model in (untrained, trained.onnx))
    assert min(after.means) > 2 * max(before.means)
    assert trained.curve[-1]["steps"] >= STEPS
    assert trained.curve[-1]["mean_steps"] > trained.curve[0]["mean_steps"]


def test_the_onnx_file_decides_as_torch_does() -> None:
    import torch

    with learner(Settings(hidden=16), seed=2, runners=0) as algorithm:
        module = algorithm.get_module()
        model = to_onnx(layers(module))
        seen = np.random.default_rng(3).uniform(-FARTHEST, FARTHEST, (1_000, 8)).astype(np.float32)
        with torch.no_grad():
            shown = torch.from_numpy(seen @ VIEW.T + SHIFT)
            sums = module.forward_inference({"obs": shown})["action_dist_inputs"]
            chances = torch.softmax(sums, 1).numpy()
    found = load("onnx", model, entry="", input_type="floats", confidence=True).predict(seen.tolist())
    assert found.outputs == chances.argmax(1).tolist() == of_onnx(model)(seen).tolist()
    assert len(set(found.outputs)) == 3, "observations that do not try every action show little"
    assert found.confidences is not None
    np.testing.assert_allclose(found.confidences, chances.max(1), rtol=1e-4)


def test_a_search_tries_settings_and_does_not_try_them_again(tmp_path: Path) -> None:
    told: list[Figures] = []
    small = {"hidden": tune.grid_search([8, 16]), "batch": 512, "minibatch": 256, "games": 4}
    first = search(tmp_path, trials=1, steps=2_000, report=told.append, space=small)
    assert [trial.error for trial in first] == [None, None]
    assert all(trial.steps >= 2_000 and trial.mean_steps > 0 for trial in first)
    assert first[0].mean_steps >= first[1].mean_steps
    assert {trial.settings["hidden"] for trial in first} == {8, 16}
    assert told
    told.clear()
    assert search(tmp_path, trials=1, steps=2_000, report=told.append, space=small) == first
    assert not told, "what was tried was tried again"
    written = next(path for path in tmp_path.rglob("*") if path.is_file())
    written.chmod(0o666)
    with pytest.raises(BadSetting, match="others may write to"):
        search(tmp_path, trials=1, steps=2_000, space=small)
