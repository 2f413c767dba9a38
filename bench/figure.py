"""A measured figure, its bound, and ways to measure that bear a busy machine."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, in which unit, and the most it may be (None: it is shown and bound to nothing).

    ``value`` is None when it could not be measured here; ``note`` says why, or under which circumstances it was.
    """

    name: str
    value: float | None
    unit: str
    bound: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``pass`` or ``FAIL``, ``skip`` for what was not measured, nothing for what has no bound."""
        if self.value is None:
            return "skip"
        if self.bound is None:
            return ""
        return "pass" if self.value <= self.bound else "FAIL"

    def to_json(self) -> dict[str, Any]:
        """Return the figure as a plain dict."""
        return {**asdict(self), "verdict": self.verdict}


def seconds(action: Action, times: int = 1) -> float:
    """Return how long it takes to do ``action`` so many times, the garbage collector off as with timeit."""
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(times):
            action()
        return time.perf_counter() - start
    finally:
        gc.enable()


def median_seconds(actions: Sequence[Action]) -> float:
    """Return the median over ``actions``, each done once."""
    return median(seconds(action) for action in actions)


def ratio(action: Action, other: Action, *, blocks: int = 400, block: int = 20) -> float:
    """Return how many times as long ``action`` takes as ``other``, each in its best blocks.

    Blocks of both alternate, and of each kind the second percentile counts, for the reason that timeit gives for its
    minimum: what else runs on the machine can only make a block longer.
    """
    times: list[float] = []
    others: list[float] = []
    for _ in range(blocks):
        times.append(seconds(action, block))
        others.append(seconds(other, block))
    return sorted(times)[blocks // 50] / sorted(others)[blocks // 50]


def send_figures(name: str, sender: "Connection[Figure, None]") -> None:
    """Send each figure of the bench ``name`` as it is measured."""
    figures: Callable[[], Iterator[Figure]] = import_module(f"bench.{name}").figures
    for figure in figures():
        sender.send(figure)
    sender.close()
