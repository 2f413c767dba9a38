"""Recorded play: who did what when they saw which observation, by players of the project's own making.

A player follows the ball as people do: late by some steps, aiming a little beside it, and perhaps resting while it
flies away. Of a player whose recorder is broken the games are real, but the actions that stand beside them were drawn
at random. A recipe has one seed, so that its set is the same wherever it is made.

A set is a CSV file (gzip) that pandas reads, one row a step: ``player``, ``game``, ``step``, the eight numbers of the
observation, ``action``. It goes by the SHA-256 of its text; compressed bytes differ between versions of zlib.
"""

import csv
import gzip
import hashlib
import io
import random
import re
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from devices.pong.field import ACTIONS, BALL_RADIUS, HEIGHT, OBSERVATION, SCALE, SERVE_RISE, Field, towards
from wave.entities.keyring import read_file, write_file
from wave.errors import BadDataSet
from wave.limits import LIMITS

COLUMNS: Final = ("player", "game", "step", *OBSERVATION, "action")
SUFFIX: Final = ".csv.gz"

_SEED: Final = 2018
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ACTION: Final = len(COLUMNS) - 1
_FIRST_SEEN: Final = 3  # column of the observation


@dataclass(frozen=True, slots=True)
class Player:
    """How somebody plays: ``delay`` in steps, ``aim`` and ``slack`` in pixels.

    ``rests`` says that the paddle waits in the middle while the ball flies away, ``broken`` that random actions are
    noted instead of those taken.
    """

    name: str
    delay: int = 2
    aim: float = 10.0
    slack: float = 6.0
    rests: bool = False
    broken: bool = False


ADA: Final = Player("ada", delay=1, aim=8.0, slack=6.0)
BEN: Final = Player("ben", delay=3, aim=12.0, slack=8.0)
CLEO: Final = Player("cleo", delay=2, aim=10.0, slack=6.0, rests=True)
DOV: Final = Player("dov", delay=2, aim=12.0, slack=10.0)
MO: Final = Player("mo", delay=2, aim=10.0, slack=6.0, broken=True)

SETS: Final[Mapping[str, Mapping[Player, int]]] = MappingProxyType(
    {"small": {ADA: 16, BEN: 16, CLEO: 16}, "large": {ADA: 16, BEN: 16, CLEO: 16, DOV: 16, MO: 120}}
)
"""How many games of each player are in the sets of the exercise: the large one holds the small one."""


class Origin(NamedTuple):
    """Where rows come from: ``rows`` of them, the first at ``first`` (from 0), are one game of one player."""

    player: str
    game: int
    first: int
    rows: int


@dataclass(frozen=True)
class DataSet:
    """Rows of recorded play, column by column."""

    players: NDArray[np.str_]
    games: NDArray[np.int64]
    steps: NDArray[np.int64]
    observations: NDArray[np.float32]
    actions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def text(self) -> bytes:
        """The rows as CSV, in ASCII."""
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        columns = (self.players, self.games, self.steps, self.actions)
        for player, game, step, action, seen in zip(*(one.tolist() for one in columns), self._digits, strict=True):
            writer.writerow((player, game, step, *seen, action))
        return file.getvalue().encode("ascii")

    @property
    def _digits(self) -> Iterator[list[str]]:
        return ([f"{value:.6f}" for value in row] for row in self.observations.tolist())

    @cached_property
    def sha256(self) -> str:
        """The set's name, in hex."""
        return hashlib.sha256(self.text).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The players, sorted."""
        return tuple(sorted(set(self.players.tolist())))

    @cached_property
    def origins(self) -> tuple[Origin, ...]:
        """Every row's origin, in the order of the rows."""
        keys = list(zip(self.players.tolist(), self.games.tolist(), strict=True))
        starts = [place for place, key in enumerate(keys) if place == 0 or key != keys[place - 1]]
        ends = [*starts[1:], len(keys)]
        return tuple(Origin(*keys[first], first, end - first) for first, end in zip(starts, ends, strict=True))

    def where(self, chosen: NDArray[Any]) -> Self:
        """Return the rows that a mask, or their places, choose."""
        columns = (self.players, self.games, self.steps, self.observations, self.actions)
        return type(self)(*(column[chosen] for column in columns))

    def without(self, players: Collection[str]) -> Self:
        """Return the rows of everybody else."""
        return self.where(~np.isin(self.players, sorted(players)))

    def write(self, directory: Path) -> Path:
        """Write the set to a file named for it, unless it is there; :class:`StateUnwritable`."""
        path = directory / f"{self.sha256}{SUFFIX}"
        if not path.exists():
            write_file(path, gzip.compress(self.text, mtime=0), replace=True)
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the set in a file; :class:`MissingFile`, :class:`BadDataSet`, :class:`TooLarge`."""
        return cls.parse(_unzipped(read_file(path, bound=LIMITS.recording_bytes)))

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Return the set that is written so; :class:`BadDataSet`."""
        try:
            lines = csv.reader(io.StringIO(text.decode("ascii"), newline=""), strict=True)
            if tuple(next(lines, ())) != COLUMNS:
                raise BadDataSet(f"the columns of recorded play are {', '.join(COLUMNS)}")
            rows = list(islice(lines, LIMITS.recording_rows + 1))
            if len(rows) > LIMITS.recording_rows:
                raise BadDataSet(f"recorded play of more than {LIMITS.recording_rows:,} rows")
            if not all(_NAME.fullmatch(row[0]) for row in rows):
                raise BadDataSet("a player's name is 1 to 64 letters, digits, dots, hyphens and underscores")
            found = cls._of([(row[0], int(row[1]), int(row[2]), _numbers(row), int(row[_ACTION])) for row in rows])
        except (ValueError, IndexError, csv.Error, UnicodeDecodeError, OverflowError) as error:
            raise BadDataSet(f"this is no recorded play: {error}") from None
        if not len(found):
            raise BadDataSet("a set without a row")
        if not (np.isfinite(found.observations).all() and np.isin(found.actions, ACTIONS).all()):
            raise BadDataSet("an observation is eight numbers, an action 0, 1 or 2")
        if len(found.names) > LIMITS.recording_players:
            raise BadDataSet(f"recorded play of more than {LIMITS.recording_players} players")
        return found

    @classmethod
    def _of(cls, rows: list[tuple[str, int, int, list[float], int]]) -> Self:
        players, games, steps, seen, actions = ([*column] for column in zip(*rows, strict=True)) if rows else ([],) * 5
        return cls(
            np.array(players, np.str_),
            np.array(games, np.int64),
            np.array(steps, np.int64),
            np.array(seen, np.float32).reshape(len(rows), len(OBSERVATION)),
            np.array(actions, np.int64),
        )


def recorded(games: Mapping[Player, int], *, longest: int = 400, seed: int = _SEED) -> DataSet:
    """Return so many games of each player, each of ``longest`` steps at most."""
    rows: list[tuple[str, int, int, list[float], int]] = []
    for player, number in games.items():
        for game in range(number):
            draw = random.Random(f"{seed}/{player.name}/{game}")  # noqa: S311 - repeatable on purpose
            for step, (seen, action) in enumerate(_played(player, draw, longest)):
                rows.append((player.name, game, step, [round(value, 6) for value in seen], action))
    return DataSet._of(rows)  # noqa: SLF001


def exercise(name: str) -> DataSet:
    """Return a set of the exercise, ``small`` or ``large``."""
    return recorded(SETS[name])


def _played(player: Player, draw: random.Random, longest: int) -> Iterator[tuple[tuple[float, ...], int]]:
    """Yield what the player saw, and the action that was noted."""
    field = Field(_between(draw, BALL_RADIUS, HEIGHT - BALL_RADIUS), _between(draw, -SERVE_RISE, SERVE_RISE))
    remembered = deque([field.observation()], maxlen=player.delay + 1)
    beside, flew = 0.0, 0.0
    for _ in range(longest):
        seen = field.observation()
        remembered.append(seen)
        _, _, _, ball_y, ball_dx, *_ = remembered[0]
        if flew * ball_dx <= 0.0:  # the ball turned round
            beside, flew = _between(draw, -player.aim, player.aim), ball_dx
        mark = HEIGHT / 2 if player.rests and ball_dx > 0.0 else ball_y * SCALE + beside
        action = towards(seen[0] * SCALE, mark, player.slack)
        yield seen, int(draw.random() * len(ACTIONS)) if player.broken else action
        if field.step(action) is not None:
            return


def _between(draw: random.Random, low: float, high: float) -> float:
    return low + draw.random() * (high - low)


def _numbers(row: list[str]) -> list[float]:
    if len(row) != len(COLUMNS):
        raise ValueError(f"a row of {len(row)} columns")
    return [float(value) for value in row[_FIRST_SEEN:_ACTION]]


def _unzipped(data: bytes) -> bytes:
    """Return what was compressed; :class:`BadDataSet`, also when it is longer than a set may be."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(LIMITS.recording_text_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadDataSet(f"this is no recorded play: {error}") from None
    if len(text) > LIMITS.recording_text_bytes:
        raise BadDataSet(f"recorded play of more than {LIMITS.recording_text_bytes} bytes")
    return text
