"""Conditions on a grant: weekly hours, bounds on a named value, and rates. They only narrow.

Arguments are whole numbers and text, because canonical bytes hold no floats; bounds are decimal text.
A condition of a kind that is not known here still parses, and refuses.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wave.codec import ConditionArguments, Record
from wave.errors import BadCondition, ConditionFailed, ConditionMissing, ConditionUnknown
from wave.limits import LIMITS
from wave.times import parse_duration

Number: TypeAlias = int | float | Decimal
Context: TypeAlias = Mapping[str, Number]

TIME: Final = "time"
VALUE: Final = "value"
RATE: Final = "rate"

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_LAST_DAY: Final = LIMITS.latest_time - 3 * 86_400  # windows run on into the next day, elsewhere
_ALL_DAYS: Final = 0b111_1111

_DECIMAL = re.compile(r"(?!-0$)-?(0|[1-9][0-9]{0,14})(\.[0-9]{0,8}[1-9])?")
_COUNT = re.compile(r"[1-9][0-9]{0,9}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WINDOW = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
# Not what a machine calls its own time, nor clocks that count leap seconds: another machine would read another time.
_ZONE = re.compile(
    r"(?!(?:localtime|posixrules|Factory)$|(?:right|posix)/)[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}"
)


class Condition(Record, frozen=True):
    """One condition: its kind and its arguments.

    ``time``: zone, then three numbers a window: days (bit 0 is Monday), first minute, minute after the last; a window
    that ends before it begins runs past midnight. ``value``: name, lower bound or nil, upper bound or nil (inclusive).
    ``rate``: count, seconds.
    """

    kind: str
    arguments: ConditionArguments

    def __str__(self) -> str:
        """Return the condition as a person would write it."""
        try:
            if self.kind == TIME:
                return f"when {_when_text(self)}"
            if self.kind == VALUE:
                name, low, high = _value_parts(self)
                return f"where {name} {low or ''}..{high or ''}"
            if self.kind == RATE:
                count, seconds = _rate_parts(self)
                return f"rate {count}/{seconds}s"
        except ConditionUnknown:
            pass
        return f"{self.kind[:40]!r} {self.arguments!r}"


def when(text: str) -> Condition:
    """Return the ``time`` condition in text such as ``mon-fri 08:00-22:00, sat 10:00-12:00 Europe/Berlin``."""
    hours, _, zone = text.strip().rpartition(" ")
    arguments: list[int | str | None] = [zone]
    if _zone(zone) is None:
        raise BadCondition(f"{zone!r} is not a time zone", hint="end it with an IANA zone such as Europe/Berlin or UTC")
    for window in hours.split(","):
        arguments.extend(_parse_window(window.strip()))
    return Condition(TIME, tuple(arguments))


def _parse_window(text: str) -> tuple[int, int, int]:
    match = _WINDOW.fullmatch(text)
    hint = "write it as 'mon-fri 08:00-22:00 Europe/Berlin'"
    if match is None or match[1] not in DAYS or (match[2] or match[1]) not in DAYS:
        raise BadCondition(f"{text!r} is not a weekly window", hint=hint)
    first, last = DAYS.index(match[1]), DAYS.index(match[2] or match[1])
    mask, day = 1 << first, first
    while day != last:
        day = (day + 1) % len(DAYS)
        mask |= 1 << day
    start, end = int(match[3]) * 60 + int(match[4]), int(match[5]) * 60 + int(match[6])
    if int(match[4]) > 59 or int(match[6]) > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES or start == end:
        raise BadCondition(f"{text!r} holds an impossible time of day", hint=hint)
    return mask, start, end


def where(text: str) -> Condition:
    """Return the ``value`` condition in text such as ``set_point 66..74``; either bound may be left out."""
    name, _, bounds = text.strip().partition(" ")
    low, dots, high = bounds.strip().partition("..")
    hint = "write it as 'set_point 66..74', 'brightness ..50' or 'set_point 18.5..'"
    if not _NAME.fullmatch(name) or not dots or not (low or high):
        raise BadCondition(f"{text!r} is not a bound on a value", hint=hint)
    for bound in (low, high):
        if bound and not _DECIMAL.fullmatch(bound):
            raise BadCondition(f"{bound!r} is not a decimal number", hint=hint)
    if low and high and Decimal(low) > Decimal(high):
        raise BadCondition(f"{text!r} leaves no value that could pass", hint=hint)
    return Condition(VALUE, (name, low or None, high or None))


def rate(text: str) -> Condition:
    """Return the ``rate`` condition in text such as ``10/60s``: so many per so many seconds."""
    count, _, span = text.strip().partition("/")
    if not _COUNT.fullmatch(count) or int(count) >= 2**31:
        raise BadCondition(f"{text!r} is not a rate", hint="write it as 10/60s")
    return Condition(RATE, (int(count), parse_duration(span)))


def check(condition: Condition, now: int, context: Context) -> int | None:
    """Raise :class:`ConditionFailed` unless the condition holds; return the UTC second until which it does, if it ends.

    A ``rate`` always passes here: who guards the action counts it.
    """
    if condition.kind == VALUE:
        _check_value(condition, context)
        return None
    if condition.kind == TIME:
        return _check_time(condition, now)
    if condition.kind == RATE:
        _rate_parts(condition)
        return None
    raise ConditionUnknown(f"a condition of kind {condition.kind[:40]!r} is not known here")


def _check_value(condition: Condition, context: Context) -> None:
    name, low, high = _value_parts(condition)
    given = context.get(name)
    if given is None:
        raise ConditionMissing(f"the grant bounds {name}, and the request does not say what {name} is")
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal):
        raise ConditionFailed(f"{name} is not a number")
    number = Decimal(str(given)) if isinstance(given, float) else Decimal(given)
    if not number.is_finite():
        raise ConditionFailed(f"{name} is not a finite number")
    if (low is not None and number < Decimal(low)) or (high is not None and number > Decimal(high)):
        raise ConditionFailed(f"{name} is {number:.17g}, and the grant allows {low or ''}..{high or ''}")


def _value_parts(condition: Condition) -> tuple[str, str | None, str | None]:
    match condition.arguments:
        case (str(name), (None | str()) as low, (None | str()) as high) if _NAME.fullmatch(name):
            if all(bound is None or _DECIMAL.fullmatch(bound) for bound in (low, high)):
                return name, low, high
    raise ConditionUnknown("a value condition that cannot be read")


def _rate_parts(condition: Condition) -> tuple[int, int]:
    match condition.arguments:
        case (int(count), int(seconds)) if count > 0 and seconds > 0:
            return count, seconds
    raise ConditionUnknown("a rate condition that cannot be read")


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo | None:
    """Return the IANA zone of that name, from the platform's data or the tzdata package; None when there is none."""
    if _ZONE.fullmatch(name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return None


def _zone_of(condition: Condition) -> ZoneInfo:
    name = condition.arguments[0] if condition.arguments else None
    zone = _zone(name) if isinstance(name, str) else None
    if zone is None:
        raise ConditionUnknown(f"the time zone {name!r} is not known here")
    return zone


def _windows(condition: Condition) -> Iterator[tuple[int, int, int]]:
    numbers = condition.arguments[1:]
    if not numbers or len(numbers) % 3:
        raise ConditionUnknown("a time condition that cannot be read")
    for start in range(0, len(numbers), 3):
        mask, first, end = numbers[start : start + 3]
        if not (isinstance(mask, int) and isinstance(first, int) and isinstance(end, int)):
            raise ConditionUnknown("a time condition that cannot be read")
        if not (0 < mask <= _ALL_DAYS and 0 <= first < _DAY_MINUTES and 0 <= end <= _DAY_MINUTES and first != end):
            raise ConditionUnknown("a time condition that cannot be read")
        yield mask, first, end


def _check_time(condition: Condition, now: int) -> int:
    zone = _zone_of(condition)
    windows = list(_windows(condition))
    if not 0 <= now <= _LAST_DAY:
        raise ConditionFailed("the calendar ends before this time")
    today = datetime.fromtimestamp(now, zone).date()
    for mask, first, end in windows:
        for day in (today - timedelta(days=1), today):
            if mask >> day.weekday() & 1:
                midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the zone is put on below
                length = end if end > first else end + _DAY_MINUTES
                begins = _instant(midnight + timedelta(minutes=first), zone)
                ends = _instant(midnight + timedelta(minutes=length), zone)
                if begins <= now < ends:
                    return ends
    raise ConditionFailed(f"the grant holds {_when_text(condition)}, and it is another time now")


def _instant(wall: datetime, zone: ZoneInfo) -> int:
    """Return the UTC second of a wall-clock time (its first, where clocks are set back)."""
    return int(wall.replace(tzinfo=zone).astimezone(UTC).timestamp())


def _when_text(condition: Condition) -> str:
    windows = []
    for mask, first, end in _windows(condition):
        days = [DAYS[day] for day in range(len(DAYS)) if mask >> day & 1]
        run = len(days) > 1 and DAYS.index(days[-1]) - DAYS.index(days[0]) == len(days) - 1
        named = f"{days[0]}-{days[-1]}" if run else "+".join(days)
        windows.append(f"{named} {first // 60:02}:{first % 60:02}-{end // 60:02}:{end % 60:02}")
    return f"{', '.join(windows)} {_zone_of(condition)}"
