"""The decision log: who did what, whether it was allowed, and the decision's id. Bounded, one JSON object a line."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from wave.errors import StateUnwritable
from wave.limits import LIMITS
from wave.times import instant_text

OK = "ok"


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision. ``who`` is the sender's id, ``name`` what it is called here (or the id's first characters).

    ``code`` is ``ok`` or the refusal's; ``did`` says what changed, or why nothing did; ``path`` names the DoTs by id.
    """

    time: int
    device: str
    who: str
    name: str
    what: str
    resource: str
    allowed: bool
    code: str
    did: str
    decision: str | None
    path: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a plain dict."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the entry as a person reads it."""
        verdict = "did" if self.allowed else "refused"
        reason = "" if self.allowed else f" ({self.code})"
        decision = f"  [{self.decision}]" if self.decision else ""
        return f"{instant_text(self.time)}  {self.device}: {verdict} {self.name}: {self.did}{reason}{decision}"


Tell: TypeAlias = Callable[[Entry], None]


def also_to(*tellers: Tell) -> Tell:
    """Return what tells all of ``tellers``, one after the other."""

    def tell(entry: Entry) -> None:
        for one in tellers:
            one(entry)

    return tell


class DecisionLog:
    """A file of entries that keeps the newest: at half the bound it becomes ``NAME.1``, and an older one goes."""

    def __init__(self, path: Path, *, bound: int = LIMITS.decision_log_bytes) -> None:
        """Write to ``path``, whose directory must exist; at most ``bound`` bytes in both files."""
        self._path = path
        self._bound = bound

    def __call__(self, entry: Entry) -> None:
        """Add an entry; :class:`StateUnwritable`."""
        line = json.dumps(entry.to_json(), separators=(",", ":")) + "\n"
        try:
            if self._path.exists() and self._path.stat().st_size + len(line) > self._bound // 2:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            with self._path.open("a", encoding="ascii") as file:
                file.write(line)
        except OSError as error:
            raise StateUnwritable(f"cannot write {self._path}: {error.strerror}") from None
