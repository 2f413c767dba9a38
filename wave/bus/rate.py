"""Rates counted: the conditions that a verdict leaves to whoever guards the action."""

from collections import deque

from wave.dots.verify import Grant, Rate
from wave.entities.entity import EVERYBODY
from wave.errors import ConditionUnknown, RateExceeded, Unavailable
from wave.limits import LIMITS
from wave.namespace.condition import Condition

Key = tuple[bytes, Condition, bytes]


class RateCounter:
    """Uses of each DoT that carries a rate, over the seconds that the rate speaks of.

    Whoever hands a right on shares its rate with all who receive it: were subjects counted apart, a receiver could hand
    it on to any number of entities of its own. What everybody may do is counted for each subject.
    Exact while a counter's uses fall into at most ``LIMITS.rate_counter_entries`` different seconds; past that the
    oldest are counted as if they were younger, which refuses sooner.
    """

    def __init__(self, *, bound: int = LIMITS.rate_counters) -> None:
        """Keep at most ``bound`` counters."""
        self._bound = bound
        self._uses: dict[Key, deque[tuple[int, int]]] = {}

    def count(self, grant: Grant, now: int) -> None:
        """Count one use of ``grant`` at ``now``, or raise :class:`RateExceeded` and count nothing."""
        common = {dot.id for path in grant.paths for dot in path if dot.receiver == EVERYBODY} if grant.rates else ()
        subject = grant.request.subject
        due = [
            ((rate.dot, rate.condition, subject if rate.dot in common else b""), *_parts(rate)) for rate in grant.rates
        ]
        for key, most, seconds in due:
            uses = self._uses.get(key)
            if uses is not None and _used(uses, now, seconds) >= most:
                raise RateExceeded(f"the grant allows {most} in {seconds} s, and they are used up")
        for key, _, _ in due:
            self._add(key, now)

    def _add(self, key: Key, now: int) -> None:
        if key not in self._uses and len(self._uses) >= self._bound:
            self._sweep(now)
            if len(self._uses) >= self._bound:
                raise Unavailable("too many rates are being counted to count one more")
        uses = self._uses.setdefault(key, deque())
        if uses and uses[-1][0] >= now:
            uses[-1] = (uses[-1][0], uses[-1][1] + 1)
        else:
            uses.append((now, 1))
        if len(uses) > LIMITS.rate_counter_entries:
            (_, oldest), (second, number) = uses.popleft(), uses.popleft()
            uses.appendleft((second, oldest + number))

    def _sweep(self, now: int) -> None:
        for key in [key for key, uses in self._uses.items() if not _used(uses, now, _seconds(key[1]))]:
            del self._uses[key]


def _used(uses: deque[tuple[int, int]], now: int, seconds: int) -> int:
    while uses and uses[0][0] <= now - seconds:
        uses.popleft()
    return sum(number for _, number in uses)


def _seconds(condition: Condition) -> int:
    return _parts(Rate(b"", condition))[1]


def _parts(rate: Rate) -> tuple[int, int]:
    match rate.condition.arguments:
        case (int(most), int(seconds)):
            return most, seconds
    raise ConditionUnknown("a rate condition that cannot be read")
