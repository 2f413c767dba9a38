"""Results that were given before, and questions that are being answered: the same question is asked once.

Whoever asks has passed the guard by then. The cache knows nothing of askers, and nothing is answered out of it to one
whose right is gone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from devices.gateway.batching import Question
from devices.gateway.replica import Output
from wave.codec import sha256
from wave.limits import LIMITS


class ResultCache:
    """The results last given, each of one version of a model, bounded by number and by bytes."""

    def __init__(self, bound: int = LIMITS.results_kept, size: int = LIMITS.results_kept_bytes) -> None:
        """Keep at most ``bound`` results, of ``size`` bytes together."""
        self._bound = bound
        self._size = size
        self._kept = 0
        self._results: OrderedDict[bytes, tuple[Output, int]] = OrderedDict()
        self._asked: dict[bytes, Question] = {}
        self.hits = 0
        self.misses = 0
        self.joined = 0

    def __len__(self) -> int:
        """How many results are kept."""
        return len(self._results)

    def find(
        self, model: bytes, row: Any, deadline: float, ask: "Callable[[], Question]"
    ) -> "Output | asyncio.Future[Output]":
        """Return the result, or the future one: of the same question in flight, or of ``ask()``.

        ``model`` is the hash of its manifest (32 bytes). Only answers are kept; a fault is not. A future that several
        wait for must be shielded.
        """
        key = _key(model, row)
        known = self._results.get(key)
        if known is not None:
            self._results.move_to_end(key)
            self.hits += 1
            return known[0]
        going = self._asked.get(key)
        if going is not None:
            self.joined += 1
            going.deadline = max(going.deadline, deadline)
            return going.answer
        self.misses += 1
        question = self._asked[key] = ask()
        question.answer.add_done_callback(lambda answer: self._came(key, answer))
        return question.answer

    def _came(self, key: bytes, answer: "asyncio.Future[Output]") -> None:
        del self._asked[key]
        if answer.cancelled() or answer.exception() is not None:
            return
        output = answer.result()
        size = len(key) + len(repr(output))
        if size > self._size:
            return
        self._results[key] = output, size
        self._kept += size
        while len(self._results) > self._bound or self._kept > self._size:
            _, (_, gone) = self._results.popitem(last=False)
            self._kept -= gone


def _key(model: bytes, row: Any) -> bytes:
    return sha256(model + repr(row).encode("ascii", "backslashreplace"))
