"""Adaptive batches: as many questions at once as a model answers within its share of the latency objective.

Pure but for the futures: the clock is an argument.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from wave.errors import ModelBusy, ModelLate
from wave.limits import LIMITS

_SHARE: Final = 0.5  # of the objective: a question waits for the batch before its own
_GROWTH: Final = 1
_BACKOFF: Final = 0.75


class BatchSize:
    """How large a batch may be: one more after a full batch in good time, a quarter less after one that took too long.

    (Additive increase, multiplicative decrease.) ``limit`` is the size, ``objective`` the seconds for an answer.
    """

    def __init__(self, objective: float) -> None:
        """Begin with a batch of one."""
        self.objective = objective
        self.limit = 1

    def note(self, size: int, seconds: float) -> None:
        """Learn that a batch of ``size`` took ``seconds``."""
        if seconds > self.objective * _SHARE:
            self.limit = max(1, int(min(size, self.limit) * _BACKOFF))
        elif size >= self.limit:
            self.limit = min(self.limit + _GROWTH, LIMITS.model_batch)


class Question:
    """One question that waits for its answer in ``answer``; after ``deadline`` nobody wants it.

    ``alone`` marks one whose batch failed: it is asked again by itself, so that one bad question spoils no other.
    """

    __slots__ = ("alone", "answer", "attempts", "deadline", "row")

    def __init__(self, row: Any, deadline: float, answer: "asyncio.Future[Any]") -> None:
        """Be asked for the first time."""
        self.row = row
        self.deadline = deadline
        self.answer = answer
        self.attempts = 0
        self.alone = False


class Waiting:
    """The questions that wait for a model, first come first served."""

    def __init__(self, bound: int = LIMITS.model_queue) -> None:
        """Hold at most ``bound``."""
        self._bound = bound
        self._questions: deque[Question] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._questions)

    def add(self, question: Question) -> None:
        """Let a question wait; :class:`ModelBusy` when too many do."""
        if len(self._questions) >= self._bound:
            raise ModelBusy(f"{self._bound} questions wait for the model already")
        self._questions.append(question)

    def put_back(self, questions: Iterable[Question]) -> None:
        """Let questions whose batch failed wait at the front, to be asked alone."""
        for question in reversed([*questions]):
            question.alone = True
            self._questions.appendleft(question)

    def take(self, most: int, now: float) -> list[Question]:
        """Return the next batch, of at most ``most``; what nobody waits for any more is dropped."""
        batch: list[Question] = []
        while self._questions and len(batch) < most:
            question = self._questions[0]
            if question.answer.done() or question.deadline <= now:
                self._questions.popleft()
                refuse(question, ModelLate("the model had no time for the question"))
            elif question.alone:
                return batch or [self._questions.popleft()]
            else:
                batch.append(self._questions.popleft())
        return batch

    def answers(self) -> "list[asyncio.Future[Any]]":
        """Return the answers that are waited for."""
        return [question.answer for question in self._questions]

    def clear(self, error: Exception) -> None:
        """Give up on all who wait."""
        while self._questions:
            refuse(self._questions.popleft(), error)


def refuse(question: Question, error: Exception) -> None:
    """Tell whoever asked, if anybody still does, that there is no answer."""
    if not question.answer.done():
        question.answer.set_exception(error)
        question.answer.exception()  # that nobody listens any more is no fault
