"""Why a set makes a worse player than it might: whose rows are at fault, and which. Computed from the rows alone.

Two things have to come together before a player is named. What was noted of them is contradicted by policies learnt
from each of the others, far more than is usual; and a policy learnt without all who are contradicted survives clearly
longer than one that learns from this player as well. Of two players that contradict each other none is named, nor of
many when most note nonsense.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np

from devices.pong.data import DataSet, Origin
from devices.pong.evaluate import Evaluation, evaluate
from devices.pong.imitate import Imitation, as_policy, imitate

EPISODES: Final = 100
SEEDS: Final = (1, 2)
CLEARLY: Final = 3.0  # standard errors of a difference that is one
FAR: Final = 0.5  # of the usual agreement, below which a player's rows are contradicted


@dataclass(frozen=True, slots=True)
class Suspect:
    """A player's rows, judged by everybody else.

    ``agreement`` is Cohen's kappa between what was noted and what a policy learnt from another player would do, the
    median over the others: 1 when both are always the same, 0 when no more often than by chance. ``without`` is how
    long a policy survives that was learnt without these rows.
    """

    player: str
    rows: int
    agreement: float
    without: Evaluation


@dataclass(frozen=True, slots=True)
class SpoiltGame:
    """A game of a named player, and how many of its rows those who are not named would contradict."""

    origin: Origin
    contradicted: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found: ``suspects`` are all players, ``games`` all games of those ``named``.

    ``whole`` is how long a policy survives that was learnt from all rows, ``restored`` from those of the others.
    """

    suspects: tuple[Suspect, ...]
    named: tuple[str, ...]
    games: tuple[SpoiltGame, ...]
    whole: Evaluation
    restored: Evaluation


def why(
    data: DataSet,
    how: Imitation = Imitation(),  # noqa: B008 - frozen
    *,
    episodes: int = EPISODES,
    seeds: Sequence[int] = SEEDS,
    report: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Find whose rows are at fault, by learning again without each player; ``report`` hears what is looked at."""

    def survives(policy: Any) -> Evaluation:
        return evaluate(as_policy(policy), episodes=episodes, seeds=seeds)

    report("all rows")
    whole = survives(imitate(data, how))
    suspects = []
    for player, agreement in _agreements(data, how).items():
        report(f"without {player}")
        without = survives(imitate(data.without([player]), how))
        suspects.append(Suspect(player, int(np.count_nonzero(data.players == player)), agreement, without))
    doubtful = _contradicted(suspects)
    if not doubtful:
        return Answer(tuple(suspects), (), (), whole, whole)

    named, trusted = [], next(one.without for one in suspects if one.player == doubtful[0])
    if len(doubtful) > 1:
        report(f"without {', '.join(doubtful)}")
        trusted = survives(imitate(data.without(doubtful), how))
    for player in doubtful:
        others = [one for one in doubtful if one != player]
        if others:
            report(f"without {', '.join(others)}")
        if _clearly_longer(trusted, survives(imitate(data.without(others), how)) if others else whole):
            named.append(player)
    if not named:
        return Answer(tuple(suspects), (), (), whole, whole)
    policy = imitate(data.without(named), how)
    restored = trusted if named == doubtful else survives(policy)
    return Answer(tuple(suspects), tuple(named), _games(data, named, policy), whole, restored)


def _contradicted(suspects: Sequence[Suspect]) -> list[str]:
    """Return those with whom the others agree far less than is usual."""
    usual = median(one.agreement for one in suspects) if suspects else 0.0
    return [one.player for one in suspects if one.agreement < FAR * usual]


def _clearly_longer(one: Evaluation, other: Evaluation) -> bool:
    return one.mean - other.mean > CLEARLY * math.hypot(one.error, other.error)


def _agreements(data: DataSet, how: Imitation) -> dict[str, float]:
    """Return each player's agreement with the others, if there are others."""
    from sklearn.metrics import cohen_kappa_score

    rows = {player: data.where(data.players == player) for player in data.names}
    found: dict[str, list[float]] = {player: [] for player in rows}
    for judge, theirs in rows.items():
        policy = imitate(theirs, how)
        for player, judged in rows.items():
            if player != judge:
                same = policy.predict(judged.observations)
                alike = len({*same.tolist(), *judged.actions.tolist()}) == 1  # kappa is not defined
                found[player].append(1.0 if alike else float(cohen_kappa_score(same, judged.actions)))
    return {player: median(one) for player, one in found.items() if one}


def _games(data: DataSet, named: Sequence[str], others: Any) -> tuple[SpoiltGame, ...]:
    wrong = others.predict(data.observations) != data.actions
    return tuple(
        SpoiltGame(one, int(np.count_nonzero(wrong[one.first : one.first + one.rows])))
        for one in data.origins
        if one.player in named
    )
