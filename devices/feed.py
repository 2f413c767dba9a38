"""The feed: how much of the sky is covered (%), as a third party says it, simulated or out of a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from devices.machine import Command, Machine
from wave.bus.values import read_json
from wave.codec import sha256
from wave.entities.keyring import read_file
from wave.errors import BadPayload

COVER_SIGNAL: Final = "i.clouds/signal/cover"
ALL: Final = 100.0  # %
PACE: Final = 5.0  # seconds from one step of the walk to the next
STEP: Final = 4.0  # %, the longest step
_MOST_STEPS: Final = 600  # at once; a feed that slept has no more to catch up with
_FILE_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Sky:
    """The cover in per cent, None while nobody knows, and of when that is (UTC seconds)."""

    cover: float | None
    at: float


class Feed(Machine[Sky]):
    """A slow random walk between 0 and 100; the same seed and time give the same walk. It takes no commands."""

    kind = "feed"
    service = "s.feed"
    slots = ()
    signals = (COVER_SIGNAL,)
    period = PACE

    def __init__(self, seed: int = 0) -> None:
        """Walk as ``seed`` says."""
        self._seed = seed

    def initial(self, now: float) -> Sky:
        return Sky(round(ALL * self._draw(-1), 1), now)

    def pass_time(self, state: Sky, now: float) -> Sky:
        first, last = int(state.at // PACE), int(now // PACE)
        cover = 0.0 if state.cover is None else state.cover
        for step in range(max(first, last - _MOST_STEPS), last):
            cover += STEP * (2 * self._draw(step) - 1)
            cover = min(abs(cover), 2 * ALL - abs(cover))  # it turns round at either end
        return Sky(round(cover, 1), max(state.at, now))

    def handle(self, state: Sky, command: Command) -> tuple[Sky, str]:  # noqa: ARG002 - whatever it is
        raise BadPayload("a feed takes no commands")

    def report(self, state: Sky) -> Mapping[str, Any]:
        return {} if state.cover is None else {COVER_SIGNAL: {"cover": state.cover}}

    def _draw(self, step: int) -> float:
        """Return a number from 0 to 1 that seed and step fix."""
        return int.from_bytes(sha256(f"{self._seed} {step}".encode())[:6]) / (1 << 48)


class FileFeed(Feed):
    """A feed that says what a file holds: a number from 0 to 100, looked at anew for every report."""

    def __init__(self, path: Path) -> None:
        """Read ``path``."""
        super().__init__()
        self._path = path

    def initial(self, now: float) -> Sky:
        return Sky(None, now)

    def pass_time(self, state: Sky, now: float) -> Sky:  # noqa: ARG002 - the file alone counts
        """Return what the file says; :class:`MissingFile`, :class:`BadPayload`."""
        data = read_file(self._path, bound=_FILE_BYTES)
        try:
            value = read_json(data)
        except BadPayload:
            value = None
        if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= ALL:
            raise BadPayload(f"{self._path} does not hold a number from 0 to {ALL:g}")
        return Sky(round(float(value), 1), now)
