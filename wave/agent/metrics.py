"""What a process tells of its decisions to whoever counts them. Like a log, counting belongs to the process.

Nothing is counted, and no clock read, while nobody does; the library that draws the numbers stands further up.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Protocol, Self, TypeVar

from wave.dots.proof import Proof
from wave.errors import WaveError

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")

ALLOWED: Final = "ok"


class Meter(Protocol):
    """Whoever counts."""

    def decided(self, code: str, seconds: float, proof_bytes: int) -> None:
        """Hear of one decision: :data:`ALLOWED` or the error's code, how long it took and how large its proof was."""
        ...


_meters: list[Meter] = []


@contextmanager
def counted_by(meter: Meter) -> Iterator[None]:
    """Let ``meter`` hear of every decision of this process while the body runs."""
    _meters.append(meter)
    try:
        yield
    finally:
        _meters.remove(meter)


class Deciding:
    """``with Deciding(proof): …`` around a check that returns or raises."""

    __slots__ = ("_began", "_proof")

    def __init__(self, proof: Proof) -> None:
        """Be about to check ``proof``."""
        self._proof = proof
        self._began = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        if _meters:
            self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the meters, unless the check ended in something that is no decision."""
        if not _meters or not (error is None or isinstance(error, WaveError)):
            return
        seconds = time.perf_counter() - self._began
        size = len(self._proof.to_bytes())
        for meter in _meters:
            meter.decided(ALLOWED if error is None else error.code, seconds, size)


def counted(check: Callable[Concatenate[A, B, Proof, P], R]) -> Callable[Concatenate[A, B, Proof, P], R]:
    """Let a method that checks a thing and the proof beside it count as a decision."""

    @wraps(check)
    def checking(one: A, thing: B, proof: Proof, /, *args: P.args, **more: P.kwargs) -> R:
        if not _meters:
            return check(one, thing, proof, *args, **more)
        with Deciding(proof):
            return check(one, thing, proof, *args, **more)

    return checking
