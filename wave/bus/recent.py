"""The last messages that a router carried, for those who were away for a moment or read slowly."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from wave.limits import LIMITS
from wave.namespace.pattern import Pattern


@dataclass(frozen=True, slots=True)
class Carried:
    """A message that was carried: its number, where it belongs, its bytes, and its proof by id and in bytes.

    ``kept`` tells that the store has it too.
    """

    serial: int
    namespace: bytes
    resource: Pattern
    expires: int
    message: bytes
    proof: bytes | None
    proof_bytes: bytes
    kept: bool

    def blank(self) -> "Carried":
        """Return what stands in the place of a message that was not carried after all, so that serials leave no gap."""
        return Carried(self.serial, b"", self.resource, 0, b"", None, b"", kept=True)


class Recent:
    """Messages in the order of their serials, bounded by count and bytes; of what had to go, where it belonged.

    A proof is held, and counted, once for all the messages that name it.
    """

    def __init__(self, first: int, *, count: int = LIMITS.recent_messages, size: int = LIMITS.recent_bytes) -> None:
        """Begin before the serial ``first``."""
        self._first = first
        self._count = count
        self._size = size
        self._bytes = 0
        self._messages: deque[Carried] = deque()
        self._proofs: dict[bytes, tuple[bytes, int]] = {}  # by id: its bytes, and how many messages here name it
        self._gone: deque[tuple[int, bytes, Pattern]] = deque(maxlen=4 * count)

    @property
    def first(self) -> int:
        """The serial from which on every message is here."""
        return self._first

    def add(self, carried: Carried) -> None:
        """Add the newest message; the oldest make room for it."""
        self._messages.append(self._counted(carried))
        while len(self._messages) > self._count or self._bytes > self._size:
            oldest = self._messages.popleft()
            self._discount(oldest)
            self._first = oldest.serial + 1
            if not oldest.kept:
                self._gone.append((oldest.serial, oldest.namespace, oldest.resource))

    def _counted(self, carried: Carried) -> Carried:
        """Count a message, and its proof if that is new here."""
        self._bytes += len(carried.message)
        if carried.proof is None:
            return carried
        proof, number = self._proofs.get(carried.proof, (carried.proof_bytes, 0))
        self._proofs[carried.proof] = proof, number + 1
        self._bytes += 0 if number else len(proof)
        return carried if carried.proof_bytes is proof else replace(carried, proof_bytes=proof)

    def _discount(self, gone: Carried) -> None:
        self._bytes -= len(gone.message)
        if gone.proof is not None:
            proof, number = self._proofs.pop(gone.proof)
            if number > 1:
                self._proofs[gone.proof] = proof, number - 1
            else:
                self._bytes -= len(proof)

    def after(self, serial: int, *, most: int) -> list[Carried]:
        """Return the first ``most`` messages after ``serial`` that are here, in order."""
        if not self._messages:
            return []
        start = max(0, serial + 1 - self._messages[0].serial)  # serials leave no gap
        return list(islice(self._messages, start, start + most))

    def gone_after(self, serial: int) -> Iterator[tuple[int, bytes, Pattern]]:
        """Yield serial, namespace and resource of what is not here any more and nowhere else, the newest first."""
        for one in reversed(self._gone):
            if one[0] <= serial:
                return
            yield one
