"""Batches and the cache, without a process: how large, in which order, and what is asked once."""

import asyncio
from itertools import count

import pytest

from devices.gateway.batching import BatchSize, Question, Waiting
from devices.gateway.cache import ResultCache
from devices.gateway.replica import Output
from wave.errors import ModelBusy, ModelFault, ModelLate
from wave.limits import LIMITS


def question(row: object = 0, deadline: float = 10.0) -> Question:
    return Question(row, deadline, asyncio.get_running_loop().create_future())


def test_a_batch_grows_by_one_after_a_full_one_in_time_and_shrinks_by_a_quarter_after_a_late_one() -> None:
    size = BatchSize(0.02)
    for wanted in range(1, 21):
        assert size.limit == wanted
        size.note(size.limit, 0.005)
    size.note(20, 0.011)
    assert size.limit == 15
    size.note(3, 0.005)
    assert size.limit == 15, "a batch that was not full says nothing about a larger one"
    for _ in range(20):
        size.note(size.limit, 1.0)
    assert size.limit == 1


def test_a_batch_settles_where_the_model_keeps_its_objective() -> None:
    """A model of 2 ms and 0.5 ms a question has room for 16 in half of 20 ms."""
    size = BatchSize(0.02)
    seen = []
    for _ in range(300):
        size.note(size.limit, 0.002 + 0.0005 * size.limit)
        seen.append(size.limit)
    assert 11 <= min(seen[100:]) <= max(seen[100:]) <= 17


def test_a_batch_never_grows_beyond_its_bound() -> None:
    size = BatchSize(1.0)
    for _ in range(LIMITS.model_batch + 10):
        size.note(size.limit, 0.0)
    assert size.limit == LIMITS.model_batch


async def test_questions_are_taken_in_their_order_and_late_ones_dropped() -> None:
    waiting = Waiting()
    asked = [question(row, deadline=10.0 + row) for row in range(6)]
    for one in asked:
        waiting.add(one)
    asked[2].answer.cancel()
    assert [one.row for one in waiting.take(3, now=10.5)] == [1, 3, 4]
    assert isinstance(asked[0].answer.exception(), ModelLate)
    assert [one.row for one in waiting.take(3, now=10.5)] == [5]
    assert waiting.take(3, now=10.5) == []


async def test_questions_of_a_failed_batch_are_asked_alone_and_first() -> None:
    waiting = Waiting()
    for row in range(5):
        waiting.add(question(row))
    waiting.put_back(waiting.take(2, now=0.0))
    assert [[one.row for one in waiting.take(4, now=0.0)] for _ in range(3)] == [[0], [1], [2, 3, 4]]


async def test_as_many_questions_wait_as_the_bound_says() -> None:
    waiting = Waiting(bound=3)
    for row in range(3):
        waiting.add(question(row))
    with pytest.raises(ModelBusy):
        waiting.add(question(3))
    waiting.take(1, now=0.0)
    waiting.add(question(3))


async def test_the_same_question_is_asked_once_and_its_answer_kept() -> None:
    cache = ResultCache()
    asked = [question(), question()]
    numbers = count()

    def find(row: object = 1, model: bytes = b"m", deadline: float = 1.0) -> object:
        return cache.find(model, row, deadline, lambda: asked[next(numbers)])

    first = find(deadline=1.0)
    assert find(deadline=2.0) is first is asked[0].answer
    assert asked[0].deadline == 10.0, "wanted as long as whoever waits longest wants it"
    assert find(model=b"n") is asked[1].answer
    asked[0].answer.set_result(Output("x"))
    await asyncio.sleep(0)
    assert find() == Output("x")
    assert (cache.hits, cache.joined, cache.misses) == (1, 1, 2)


async def test_a_fault_is_not_kept() -> None:
    cache = ResultCache()
    for error in (ModelFault("no"), None):
        asked = question()
        assert cache.find(b"m", 1, 1.0, lambda asked=asked: asked) is asked.answer  # type: ignore[misc]
        if error is None:
            asked.answer.cancel()
        else:
            asked.answer.set_exception(error)
        await asyncio.sleep(0)
    assert len(cache) == 0


@pytest.mark.parametrize(("bound", "size", "kept"), [(3, 10**6, 3), (100, 250, 3)])
async def test_as_many_results_are_kept_as_the_bounds_say(bound: int, size: int, kept: int) -> None:
    cache = ResultCache(bound, size)
    for row in range(8):
        asked = question()
        cache.find(b"m", row, 1.0, lambda asked=asked: asked)  # type: ignore[misc]
        asked.answer.set_result(Output(row))
        await asyncio.sleep(0)
    assert len(cache) == kept
    assert cache.find(b"m", 7, 1.0, question) == Output(7)


async def test_a_result_larger_than_the_cache_is_not_kept() -> None:
    cache = ResultCache(10, 100)
    asked = question()
    cache.find(b"m", 1, 1.0, lambda: asked)
    asked.answer.set_result(Output("x" * 100))
    await asyncio.sleep(0)
    assert len(cache) == 0
