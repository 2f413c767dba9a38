"""How long a policy survives: mean steps over many games, the same serves for each policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from statistics import fmean, stdev
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from devices.pong.environment import LONGEST, serve
from devices.pong.field import ACTIONS, Policy, follow

EPISODES: Final = 200
SEEDS: Final = (1, 2, 3)

Batch: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""A policy that is asked about several games at once: observations (n, 8) to actions (n,)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The steps survived in each game, seed after seed, and the mean steps for each seed."""

    steps: tuple[int, ...]
    means: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean steps over all games."""
        return fmean(self.steps)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(stdev(self.steps) / len(self.steps) ** 0.5) if len(self.steps) > 1 else 0.0


def evaluate(
    policy: Batch, *, episodes: int = EPISODES, seeds: Sequence[int] = SEEDS, longest: int = LONGEST
) -> Evaluation:
    """Play ``episodes`` games for each seed, each until a goal or for ``longest`` steps."""
    played = [_played(policy, np.random.default_rng(seed), episodes, longest) for seed in seeds]
    return Evaluation(tuple(steps for one in played for steps in one), tuple(fmean(one) for one in played))


def _played(policy: Batch, draw: np.random.Generator, episodes: int, longest: int) -> list[int]:
    """Return each game's steps; the games that still go on are played side by side, a question for all of them."""
    games = [serve(draw) for _ in range(episodes)]
    steps = [longest] * episodes
    going = list(range(episodes))
    for step in range(longest):
        if not going:
            break
        actions = policy(np.array([games[one].observation() for one in going], np.float32)).tolist()
        over = [games[one].step(action) is not None for one, action in zip(going, actions, strict=True)]
        for one in compress(going, over):
            steps[one] = step
        going = [one for one, ended in zip(going, over, strict=True) if not ended]
    return steps


def one_by_one(policy: Policy) -> Batch:
    """Return a policy for single games as one for several."""
    return lambda seen: np.array([policy(row) for row in seen.tolist()], np.int64)


RULE: Final = one_by_one(follow)


def random_moves(seed: int) -> Batch:
    """Return the policy that draws its actions."""
    draw = np.random.default_rng(seed)
    return lambda seen: draw.integers(len(ACTIONS), size=len(seen))


def of_onnx(data: bytes) -> Batch:
    """Return the policy of an ONNX graph, whose first output is the actions; raises what ONNX Runtime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def policy(seen: NDArray[np.float32]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = session.run([session.get_outputs()[0].name], {name: seen})[0]
        if found.shape != seen.shape[:1] or not np.isin(found, ACTIONS).all():
            raise ValueError("its first output is not one action for each observation")
        return found

    return policy
