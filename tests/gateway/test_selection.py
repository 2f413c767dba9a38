"""Selection policies: which model answers, how answers are combined, what is learnt, and what a straggler costs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from devices.gateway.replica import Output
from devices.gateway.selection import NO_ANSWER, POLICIES, UNSURE, Selected, combined, loss, policy_of
from wave.errors import BadSetting, ModelFault

MODELS = ("a", "b", "c")


def saying(**values: Any) -> Callable[[str], Awaitable[Output]]:
    """Return what asks models: each says its value, raises it, or never answers for None."""

    async def ask(model: str) -> Output:
        value = values[model]
        if value is None:
            await asyncio.Event().wait()
        if isinstance(value, Exception):
            raise value
        return value if isinstance(value, Output) else Output(value)

    return ask


async def select(name: str, draw: float = 0.0, seconds: float = 0.02, threshold: float = 0.0, **says: Any) -> Selected:
    policy = policy_of(name, threshold=threshold)
    deadline = asyncio.get_running_loop().time() + seconds
    return await policy.select(tuple(says), saying(**says), deadline, lambda: draw)


async def test_a_single_model_answers_or_is_late_or_fails() -> None:
    assert await select("single", a=1, b=2) == Selected(Output(1), ("a",))
    assert await select("single", a=None) == Selected(None, (), NO_ANSWER)
    assert await select("single", a=ModelFault("it hung")) == Selected(None, (), "it hung")


@pytest.mark.parametrize(("draw", "model"), [(0.0, "a"), (0.34, "b"), (0.99, "c"), (1.0, "c")])
async def test_exp3_asks_one_model_by_its_share(draw: float, model: str) -> None:
    assert (await select("exp3", draw, a=1, b=2, c=3)).models == (model,)


async def test_an_ensemble_takes_what_most_say() -> None:
    found = await select("ensemble", a="up", b="down", c="up")
    assert found.output is not None
    assert found.output.value == "up"
    assert found.output.confidence == pytest.approx(2 / 3)


async def test_an_ensemble_answers_by_its_deadline_from_what_has_come() -> None:
    began = asyncio.get_running_loop().time()
    found = await select("ensemble", a="up", b=None, c=ModelFault("it died"))
    assert asyncio.get_running_loop().time() - began < 0.5
    assert found.models == ("a",)
    assert found.output is not None
    assert found.output.confidence == pytest.approx(1 / 3), "who says nothing does not agree"
    assert await select("ensemble", a=None, b=None) == Selected(None, (), NO_ANSWER)


async def test_an_ensemble_too_unsure_gives_no_answer() -> None:
    found = await select("ensemble", threshold=0.5, a=1, b=2, c=3)
    assert (found.output, found.explanation) == (None, UNSURE)


async def test_fractions_are_averaged() -> None:
    found = await select("ensemble", a=1.0, b=2.0, c=6.0)
    assert found.output is not None
    assert [*found.output] == pytest.approx([3.0, 1.0])
    assert combined({"a": Output(1.0), "b": Output(3.0)}, {"a": 0.75, "b": 0.25}).value == pytest.approx(1.5)
    assert combined({"a": Output(True), "b": Output(1)}, {"a": 0.3, "b": 0.7}).value == 1


async def test_a_cascade_asks_the_dear_model_when_the_cheap_one_is_unsure() -> None:
    sure, unsure = Output("cheap", 0.9), Output("cheap", 0.4)
    assert (await select("cascade", threshold=0.8, a=sure, b=None)).output == sure
    assert (await select("cascade", threshold=0.8, a=unsure, b="dear")).output == Output("dear")
    assert (await select("cascade", threshold=0.8, a="says not", b="dear")).output == Output("dear")
    assert (await select("cascade", threshold=0.8, a=ModelFault("no"), b="dear")).output == Output("dear")


async def test_a_cascade_whose_dear_model_is_late_answers_from_what_has_come() -> None:
    unsure = Output("cheap", 0.4)
    assert await select("cascade", threshold=0.8, a=unsure, b=None) == Selected(unsure, ("a",))


def right(rates: dict[str, float]) -> Iterator[dict[str, float]]:
    """Yield losses of models that are right as often as told, in a fixed rhythm."""
    for turn in cycle(range(10)):
        yield {model: 0.0 if turn < 10 * rate else 1.0 for model, rate in rates.items()}


@pytest.mark.parametrize("name", ["exp3", "exp4"])
async def test_the_better_model_comes_to_answer_and_a_model_that_turns_bad_is_left(name: str) -> None:
    policy = policy_of(name, rate=0.2)
    draws = cycle([place / 17 for place in range(17)])

    async def chosen() -> str:
        asked = await policy.select(MODELS, saying(a="a", b="b", c="c"), 1e12, lambda: next(draws))
        assert asked.output is not None
        return str(asked.output.value)

    for good in ("b", "c"):
        rates = {model: 0.9 if model == good else 0.3 for model in MODELS}
        losses = right(rates)
        for _ in range(400):
            policy.learn(MODELS, await chosen(), next(losses))
        found = [await chosen() for _ in range(100)]
        assert found.count(good) > 80, (good, policy.weights)


def test_feedback_about_a_model_that_was_not_asked_teaches_exp3_nothing() -> None:
    policy = policy_of("exp3")
    policy.learn(MODELS, None, {"a": 1.0})
    policy.learn(MODELS, "gone", {"gone": 1.0})
    assert policy.weights == {}


def test_how_wrong_an_output_is() -> None:
    assert (loss("a", "a"), loss("a", "b"), loss(1, 1), loss(1, 2)) == (0.0, 1.0, 0.0, 1.0)
    assert loss(0.25, 1) == pytest.approx(0.75)
    assert loss(7.0, 1.0) == 1.0


def test_a_policys_settings() -> None:
    for name in POLICIES:
        policy_of(name, threshold=1.0, rate=10.0)
    for settings in ({"threshold": 1.1}, {"threshold": -0.1}, {"rate": 0.0}, {"rate": 10.1}):
        with pytest.raises(BadSetting):
            policy_of("exp3", **settings)
    with pytest.raises(BadSetting):
        policy_of("best")
