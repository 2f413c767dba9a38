"""Reinforcement learning: RLlib's PPO plays pong, and its policy becomes an ONNX model like those that imitate.

Ray runs on this machine alone, on loopback, with a token of its own, and reports its use to nobody.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from devices.gateway.ray import clear, keep_to_oneself
from devices.pong.environment import Pong
from devices.pong.evaluate import Batch, evaluate
from devices.pong.field import ACTIONS, HEIGHT, OBSERVATION, PADDLE_HEIGHT, SCALE, WIDTH
from devices.pong.runs import Trained
from wave.errors import ClusterUnavailable

keep_to_oneself(os.environ)

import ray  # noqa: E402 - it reads some of that when it is loaded, as do the next ones
import torch  # noqa: E402
from ray.rllib.algorithms.ppo import PPO, PPOConfig  # noqa: E402
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig  # noqa: E402
from ray.tune.registry import register_env  # noqa: E402

STEPS: Final = 150_000  # of a whole training: by then it plays as well as the rule that follows the ball
RUNNERS: Final = 2  # processes that play
UPDATES: Final = 4  # between two looks at how well it plays
GAMES: Final = 40  # of each look
OBJECTS: Final = 200_000_000  # bytes of shared memory for Ray's objects, of which there are few
_APART: Final = 1_000_000  # between the seed of a training and that of the games by which it is looked at
_GAME: Final = "wave-pong"
_OPSET: Final = 18
_IR_VERSION: Final = 9  # of ONNX files: old enough for every runtime that knows the operations

Figures = dict[str, float]
Array = NDArray[np.float32]

# What the network is shown of an observation: how far the ball is below the paddle's middle, the paddle, and the ball
# with its speed, each moved and stretched so that it varies by about 1. As this is linear, the first layer takes it in.
VIEW: Final[Array] = np.array(
    [
        [-8, 0, 0, 8, 0, 0, 0, 0],
        [4, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 2.5, 0, 0, 0, 0, 0],
        [0, 0, 0, 4, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0],
    ],
    np.float32,
)
SHIFT: Final[Array] = (
    -VIEW
    @ np.array([(HEIGHT - PADDLE_HEIGHT) / 2, 0, WIDTH / 2, HEIGHT / 2, 0, 0, 0, 0], np.float32)
    / np.float32(SCALE)
)


@dataclass(frozen=True, slots=True)
class Settings:
    """PPO's parameters; the defaults learn reliably, :mod:`devices.pong.search` looks for better ones."""

    hidden: int = 64  # neurons in each of two layers
    learning_rate: float = 5e-4
    discount: float = 0.99
    smoothing: float = 0.95  # lambda of the generalized advantage estimate
    entropy: float = 0.001
    batch: int = 4_096  # steps between two updates
    minibatch: int = 512
    epochs: int = 6
    games: int = 16  # at a time, in each process that plays


class Layer(NamedTuple):
    """Weights (outputs, inputs) and biases of a layer."""

    weights: Array
    biases: Array


def train(
    *,
    seconds: float,
    seed: int = 1,
    report: Callable[[Figures], None] = lambda _: None,
    steps: int = STEPS,
    **parameters: Any,
) -> Trained:
    """Train for ``seconds``, Ray's start included, or until ``steps`` were played; ``parameters`` are Settings' own.

    The policy returned is the one that did best when :func:`iterate` looked. ``report`` gets the figures of each look.
    """
    began = time.monotonic()
    settings = Settings(**parameters)
    curve: list[Figures] = []
    best: tuple[float, list[Layer]] = (-1.0, [])
    with cluster(), learner(settings, seed=seed, runners=RUNNERS) as algorithm:
        for figures, network in iterate(algorithm, seed=seed):
            figures["seconds"] = round(time.monotonic() - began, 1)
            curve.append(figures)
            report(figures)
            if figures["mean_steps"] > best[0]:
                best = figures["mean_steps"], network
            if figures["seconds"] >= seconds or figures["steps"] >= steps:
                break
    return Trained(to_onnx(best[1]), {**asdict(settings), "seed": seed, "steps": int(curve[-1]["steps"])}, curve)


@contextmanager
def cluster(processors: int = RUNNERS) -> Iterator[None]:
    """Have Ray on loopback with this many processors; one that runs already is taken as it is, and left running.

    :class:`ClusterUnavailable`.
    """
    if ray.is_initialized():
        yield
        return
    directory = Path(tempfile.mkdtemp(prefix="wave-ray-"))
    try:
        _start(directory, processors)
        yield
    finally:
        ray.shutdown()
        clear(directory)


def _start(directory: Path, processors: int) -> None:
    try:
        context = ray.init(
            num_cpus=processors,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=OBJECTS,
            _temp_dir=str(directory / "r"),  # which Ray opens to everybody, behind a door that it leaves closed
            _system_config={"worker_niceness": 0},  # they do the work: no nicer to others than who began it
        )
    except Exception as error:
        raise ClusterUnavailable(
            f"Ray did not start: {str(error)[:200]}", hint="when the machine is busy with other things: try again"
        ) from error
    if not context.address_info["node_ip_address"].startswith("127."):
        raise ClusterUnavailable("Ray was loaded before, and would listen to the whole network", hint="")


@contextmanager
def learner(settings: Settings, *, seed: int, runners: int) -> Iterator[Any]:
    """Have the algorithm, its games played in ``runners`` other processes, or in this one if 0."""
    register_env(_GAME, _game)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # layers this small are quicker on one, and more would stand in the players' way
    config = (
        PPOConfig(algo_class=_Algorithm)
        .environment(_GAME, env_config={"discount": settings.discount})
        .framework("torch")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=settings.games)
        .fault_tolerance(restart_failed_env_runners=False)
        .learners(num_learners=0)
        .training(
            lr=settings.learning_rate,
            gamma=settings.discount,
            lambda_=settings.smoothing,
            entropy_coeff=settings.entropy,
            train_batch_size_per_learner=settings.batch,
            minibatch_size=settings.minibatch,
            num_epochs=settings.epochs,
            clip_param=0.2,
            vf_clip_param=100.0,  # values are within 0 and 1: not clipped
            use_kl_loss=False,
            grad_clip=0.5,
        )
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[settings.hidden] * 2, fcnet_activation="tanh", vf_share_layers=False
            )
        )
        .debugging(seed=seed, log_level="ERROR")
    )
    try:
        algorithm = config.build_algo()
        try:
            yield algorithm
        finally:
            algorithm.stop()
    finally:
        torch.set_num_threads(threads)


def iterate(algorithm: Any, *, seed: int) -> Iterator[tuple[Figures, list[Layer]]]:
    """Let it learn, and yield again and again how it does and its network.

    ``mean_steps`` is that of games in which the policy does what it thinks best, as it will when it is served, and not
    draws its actions, as it does while it learns. No evaluation has the serves of these games.
    """
    while True:
        for _ in range(UPDATES - 1):
            algorithm.train()
        found = algorithm.train()
        network = layers(algorithm.get_module())
        looked = evaluate(decide(network), episodes=GAMES, seeds=(_APART + seed,))
        yield (
            {
                "iteration": int(found["training_iteration"]),
                "steps": int(found["num_env_steps_sampled_lifetime"]),
                "mean_steps": round(looked.mean, 1),
                "mean_steps_drawn": round(float(found["env_runners"].get("episode_len_mean", 0.0)), 1),
                "entropy": round(float(found["learners"]["default_policy"]["entropy"]), 4),
            },
            network,
        )


def layers(module: Any) -> list[Layer]:
    """Return the layers that decide, from the observation as the field gives it to one number for each action."""
    first, *others = [
        Layer(part.weight.detach().numpy().copy(), part.bias.detach().numpy().copy())
        for half in (module.encoder.actor_encoder, module.pi)
        for part in half.modules()
        if isinstance(part, torch.nn.Linear)
    ]
    return [Layer(first.weights @ VIEW, first.biases + first.weights @ SHIFT), *others]


def decide(network: list[Layer]) -> Batch:
    """Return the policy that does what the network thinks best."""

    def policy(seen: NDArray[np.float32]) -> NDArray[np.int64]:
        for number, layer in enumerate(network):
            seen = (np.tanh(seen) if number else seen) @ layer.weights.T + layer.biases
        best: NDArray[np.int64] = seen.argmax(axis=1)
        return best

    return policy


def to_onnx(network: list[Layer]) -> bytes:
    """Return the network (tanh between its layers) as an ONNX model: ``input``, ``action`` and ``chances``."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, weights, value = [], [], "input"
    for number, layer in enumerate(network):
        names = f"weights{number}", f"biases{number}"
        weights += [numpy_helper.from_array(array, name) for array, name in zip(layer, names, strict=True)]
        if number:
            nodes.append(helper.make_node("Tanh", [value], [f"hidden{number}"]))
            value = f"hidden{number}"
        nodes.append(helper.make_node("Gemm", [value, *names], [f"sums{number}"], transB=1))
        value = f"sums{number}"
    nodes += [
        helper.make_node("ArgMax", [value], ["action"], axis=1, keepdims=0),
        helper.make_node("Softmax", [value], ["chances"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "pong",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["games", len(OBSERVATION)])],
        [
            helper.make_tensor_value_info("action", TensorProto.INT64, ["games"]),
            helper.make_tensor_value_info("chances", TensorProto.FLOAT, ["games", len(ACTIONS)]),
        ],
        weights,
    )
    model = helper.make_model(
        graph, producer_name="wave", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


class _Algorithm(PPO):  # type: ignore[misc] # Ray is not checked
    """PPO that makes no directory in the user's home for results, of which it writes none."""

    def _setup_logdir(self) -> None:
        self._logdir = tempfile.gettempdir()


class _Learnable(gymnasium.Wrapper[Array, np.int64, NDArray[np.float32], np.int64]):
    """A game as a network learns it soonest: what it sees about 0 and 1 wide, and what is to come worth 0 to 1."""

    def __init__(self, discount: float) -> None:
        super().__init__(Pong())
        self.observation_space = Box(-np.inf, np.inf, (len(VIEW),), np.float32)
        self._worth = 1.0 - discount

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        seen, told = self.env.reset(seed=seed, options=options)
        return VIEW @ seen + SHIFT, told

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        seen, points, over, cut, told = self.env.step(action)
        return VIEW @ seen + SHIFT, float(points) * self._worth, over, cut, told


def _game(given: dict[str, Any]) -> _Learnable:
    return _Learnable(given["discount"])
