"""Instants (whole UTC seconds) and durations (seconds) as text."""

import re
from datetime import UTC, datetime
from typing import Final

from wave.errors import BadTime
from wave.limits import LIMITS

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_DIGITS: Final = 20
_DURATION = re.compile(r"([1-9][0-9]{0,11})([smhdwy])")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z)?")


def parse_duration(text: str) -> int:
    """Return the seconds in a duration such as ``90m`` or ``30d`` (a year is 365 days); :class:`BadTime`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadTime(f"{text[:40]!r} is not a duration")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LIMITS.latest_time:
        raise BadTime(f"{text[:40]!r} is longer than WAVE counts")
    return seconds


def parse_instant(text: str) -> int:
    """Return the UTC second in ``text``: UNIX seconds, a date, or a date and time ending in Z; :class:`BadTime`."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        seconds = int(text)
    elif _INSTANT.fullmatch(text):
        try:
            seconds = int(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise BadTime(f"{text!r} is not a date") from None
    else:
        raise BadTime(f"{text[:40]!r} is not a time")
    if not 0 <= seconds <= LIMITS.latest_time:
        raise BadTime(f"{text[:40]!r} is out of range")
    return seconds


def parse_expiry(text: str, now: int) -> int:
    """Return the UTC second that ``text`` names, a duration counting from ``now``; :class:`BadTime`."""
    if _DURATION.fullmatch(text) is None:
        return parse_instant(text)
    seconds = now + parse_duration(text)
    if seconds > LIMITS.latest_time:
        raise BadTime(f"{text!r} from now is later than WAVE counts")
    return seconds


def instant_text(seconds: int) -> str:
    """Return an instant as text, such as ``2026-11-21T08:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span_text(seconds: int) -> str:
    """Return a duration in the words a person would use, such as ``2 days``; rounded down to its largest unit."""
    for name, length in (("year", 365 * 86_400), ("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {name}" + ("s" if count > 1 else "")
    return f"{seconds} second" + ("" if seconds == 1 else "s")
