"""How long a request waits when a node asks for fewer: doubling pauses with jitter, and a bound on their sum."""

import random
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import sleep, time
from typing import Any, Final

from wave.errors import ChainUnavailable

RATE_WAIT: Final = 10.0  # seconds that one request waits altogether for a node that limits how often it is asked
FIRST_PAUSE: Final = 0.25  # seconds; each next one is up to twice as long
STATUSES: Final = frozenset({429, 503})  # of HTTP; 503 only with a Retry-After
_TOO_OFTEN: Final = 429
_WORDS: Final = (  # there is no common code: -32005 also means a range that is too long, -32000 means anything
    "rate limit",
    "rate-limit",
    "ratelimit",
    "rate exceeded",
    "too many requests",
    "request count",
    "requests per",
    "per second",
)


class RateLimited(Exception):
    """A node wants to be asked again later: in ``after`` seconds, or None when it does not say."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__("asked too often")
        self.after = after


class Patience:
    """The waiting of one request of the node called ``name``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = RATE_WAIT
        self._pause = FIRST_PAUSE

    def wait(self, after: float | None = None) -> None:
        """Sleep before the next try, at least ``after`` seconds; ChainUnavailable when that is past the bound."""
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads those who were sent away together
        pause = pause if after is None else after + pause / 10
        if pause > self._left:
            raise ChainUnavailable(
                f"{self._name} limits how often it may be asked",
                hint="ask less often, or name an endpoint that allows more",
            )
        self._left -= pause
        self._pause *= 2
        sleep(pause)


def retry_after(status: int, headers: Mapping[str, str]) -> RateLimited | None:
    """Return what the HTTP ``status`` and its Retry-After header (seconds or a date) ask for; None: no limit."""
    said = headers.get("Retry-After")
    if status not in STATUSES or (said is None and status != _TOO_OFTEN):
        return None
    if said is None:
        return RateLimited()
    try:
        return RateLimited(max(0.0, float(int(said))))
    except (ValueError, OverflowError):
        pass
    try:
        return RateLimited(max(0.0, parsedate_to_datetime(said).timestamp() - time()))
    except (ValueError, TypeError, OverflowError):
        return RateLimited()


def is_limited(answer: Any) -> bool:
    """Tell whether a JSON-RPC answer is an error that asks for fewer requests."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return False
    words = str(error.get("message", "")).lower()
    return error.get("code") == _TOO_OFTEN or any(word in words for word in _WORDS)
