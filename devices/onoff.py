"""What light and switch share: a state that is on or off."""

from typing import Any, Final

from devices.machine import only
from wave.errors import BadPayload

STATE_SLOT: Final = "i.boolean/slot/state"
STATE_SIGNAL: Final = "i.boolean/signal/state"


def switched(value: Any, *, on: bool) -> bool:
    """Return the state after a command ``{"state": "on"|"off"|"toggle"}``, or one of these words or booleans alone."""
    word = only(value, "state")["state"] if isinstance(value, dict) else value
    if isinstance(word, bool):
        return word
    if word == "toggle":
        return not on
    if word in ("on", "off"):
        return bool(word == "on")
    raise BadPayload('on, off or toggle is wanted, as in {"state": "on"}')


def word(*, on: bool) -> str:
    """Return the word for a state."""
    return "on" if on else "off"
