"""Which of an application's models answers, and how several answers become one; and what is learnt from feedback.

Exp3 and Exp4: Auer, Cesa-Bianchi, Freund, Schapire, "The nonstochastic multiarmed bandit problem" (2002).
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from devices.gateway.replica import Output
from wave.errors import BadSetting, WaveError

Ask = Callable[[str], Awaitable[Output]]
"""Asks one model the question; raises the model's fault."""
Draw = Callable[[], float]
"""Returns a number from 0 to 1, at random."""

_SLOWEST: Final = 1e-6  # the least weight, so that a model once bad can become good again
NO_ANSWER: Final = "Failed to retrieve a prediction response within the specified latency SLO"
UNSURE: Final = "The models' confidence in their answer was below the application's threshold"


class Selected(NamedTuple):
    """The answer, or None with the reason; by which models it is, and how sure they are (0 to 1)."""

    output: Output | None
    models: tuple[str, ...]
    explanation: str = ""


class Policy:
    """How an application uses its models. ``weights`` are what it has learnt, by model."""

    name: ClassVar[str]
    learns: ClassVar[bool] = False

    def __init__(self, *, threshold: float = 0.0, rate: float = 0.1) -> None:
        """Answer when the confidence is at least ``threshold``; learn at ``rate``. :class:`BadSetting`."""
        if not 0.0 <= threshold <= 1.0 or not 0.0 < rate <= 10.0:
            raise BadSetting("a policy's threshold is from 0 to 1 and its rate above 0")
        self.threshold = threshold
        self.rate = rate
        self.weights: dict[str, float] = {}

    async def select(self, models: Sequence[str], ask: Ask, deadline: float, draw: Draw) -> Selected:
        """Return the answer of ``models`` (at least one) by ``deadline`` (the loop's time). Raises nothing."""
        raise NotImplementedError

    def learn(self, models: Sequence[str], chosen: str | None, losses: Mapping[str, float]) -> None:
        """Learn from how wrong (0 to 1) each model's output was; ``chosen`` had answered, if one did."""

    def _shares(self, models: Sequence[str]) -> dict[str, float]:
        total = sum(self.weights.get(model, 1.0) for model in models)
        return {model: self.weights.get(model, 1.0) / total for model in models}

    def _learn(self, models: Sequence[str], losses: Mapping[str, float]) -> None:
        weights = {
            model: self.weights.get(model, 1.0) * math.exp(-self.rate * losses.get(model, 0.0)) for model in models
        }
        most = max(weights.values())
        self.weights = {model: max(weight / most, _SLOWEST) for model, weight in weights.items()}


class Single(Policy):
    """The application's one model; of several, the first."""

    name = "single"

    async def select(self, models: Sequence[str], ask: Ask, deadline: float, draw: Draw) -> Selected:  # noqa: ARG002
        return await _one(models[0], ask, deadline)


class Exp3(Policy):
    """One model a question, the better ones more often."""

    name = "exp3"
    learns = True

    async def select(self, models: Sequence[str], ask: Ask, deadline: float, draw: Draw) -> Selected:
        return await _one(self._drawn(models, draw()), ask, deadline)

    def _drawn(self, models: Sequence[str], point: float) -> str:
        for model, share in self._shares(models).items():
            point -= share
            if point < 0:
                return model
        return models[-1]

    def learn(self, models: Sequence[str], chosen: str | None, losses: Mapping[str, float]) -> None:
        if (
            chosen is not None and chosen in losses and chosen in models
        ):  # the others were not asked: in expectation this is fair to them
            self._learn(models, {chosen: losses[chosen] / self._shares(models)[chosen]})


class _Together(Policy):
    """All the models, each with its weight; what has not come by the deadline is left out."""

    async def select(self, models: Sequence[str], ask: Ask, deadline: float, draw: Draw) -> Selected:  # noqa: ARG002
        came = await _all(models, ask, deadline)
        if not came:
            return Selected(None, (), NO_ANSWER)
        output = combined(came, self._shares(models))
        assert output.confidence is not None
        if output.confidence < self.threshold:
            return Selected(None, tuple(came), UNSURE)
        return Selected(output, tuple(came))


class Exp4(_Together):
    """All the models' answers by weights that follow from how wrong each was."""

    name = "exp4"
    learns = True

    def learn(self, models: Sequence[str], chosen: str | None, losses: Mapping[str, float]) -> None:  # noqa: ARG002
        self._learn(models, losses)


class Ensemble(_Together):
    """All the models' answers, each with the same weight; the default when too few agree."""

    name = "ensemble"


class Cascade(Policy):
    """The first (cheap) model's answer when it is sure of it, else the next one's: the last is believed."""

    name = "cascade"

    async def select(self, models: Sequence[str], ask: Ask, deadline: float, draw: Draw) -> Selected:  # noqa: ARG002
        found = Selected(None, (), NO_ANSWER)
        for model in models:
            said = await _one(model, ask, deadline)
            if said.output is not None:
                found = said
                if said.output.confidence is not None and said.output.confidence >= self.threshold:
                    break
        return found


POLICIES: Final[Mapping[str, type[Policy]]] = {one.name: one for one in (Single, Exp3, Exp4, Ensemble, Cascade)}


def policy_of(name: str, *, threshold: float = 0.0, rate: float = 0.1) -> Policy:
    """Return a new policy of that name; :class:`BadSetting`."""
    if name not in POLICIES:
        raise BadSetting(f"there is no policy {name[:40]!r}", hint=f"there are {', '.join(POLICIES)}")
    return POLICIES[name](threshold=threshold, rate=rate)


def combined(came: Mapping[str, Output], shares: Mapping[str, float]) -> Output:
    """Return what ``came`` amounts to: the mean of fractions, else the output with most weight behind it.

    The confidence is the weight of the models that said so; those whose answer is missing did not.
    """
    values = [output.value for output in came.values()]
    total = sum(shares[model] for model in came)
    if all(isinstance(value, float) for value in values):
        return Output(sum(shares[model] * output.value for model, output in came.items()) / total, total)
    votes: dict[str, float] = {}
    for model, output in came.items():
        key = json.dumps(output.value, sort_keys=True)
        votes[key] = votes.get(key, 0.0) + shares[model]
    best = max(votes, key=lambda key: votes[key])
    return Output(json.loads(best), min(votes[best], 1.0))


def loss(output: Any, label: Any) -> float:
    """Return how wrong an output is, from 0 to 1: by how much for two fractions, else wholly or not at all."""
    if isinstance(output, float) and isinstance(label, int | float):
        return min(abs(output - label), 1.0)
    return 0.0 if output == label else 1.0


async def _one(model: str, ask: Ask, deadline: float) -> Selected:
    try:
        async with asyncio.timeout_at(deadline):
            return Selected(await ask(model), (model,))
    except TimeoutError:
        return Selected(None, (), NO_ANSWER)
    except WaveError as error:
        return Selected(None, (), error.message)


async def _all(models: Sequence[str], ask: Ask, deadline: float) -> dict[str, Output]:
    """Return what has come by the deadline, by model in the order given."""
    said = await asyncio.gather(*[_one(model, ask, deadline) for model in models])
    return {model: one.output for model, one in zip(models, said, strict=True) if one.output is not None}
