"""Words for clocks that disagree: a refusal that rests on the time says what the time is here, and how far off."""

from typing import Final

from wave.bus.message import Message
from wave.errors import MessageStale, StaleFacts, WaveError
from wave.limits import LIMITS
from wave.times import instant_text, span_text

_NOTABLE: Final = LIMITS.message_lifetime + LIMITS.clock_skew  # seconds; less than that is a slow way or a slow chain


def off_by(error: WaveError, message: Message | None, now: float) -> str:
    """Return what to add to ``error``, which ``message`` met if there was one; empty unless it is about the time."""
    here = f"the clock here says {instant_text(int(now))}"
    if message is None:
        return f"; is the time right? {here}" if isinstance(error, MessageStale | StaleFacts) else ""
    if isinstance(error, StaleFacts):
        return f"; {here}: either it runs ahead, or the chain has stopped"
    ahead = int(message.created - now)
    if not isinstance(error, MessageStale) or (abs(ahead) < _NOTABLE and ahead <= LIMITS.clock_skew):
        return ""
    which = "ahead of" if ahead > 0 else "behind"
    return f"; its sender's clock is {span_text(abs(ahead))} {which} this one: {here}, and one of the two is wrong"
