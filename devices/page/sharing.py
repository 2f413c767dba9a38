"""What a person can be given of a home: verbs on devices, in words, and the rights that stand behind them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from devices.light import BRIGHTNESS_SLOT
from devices.motion import PACKAGE_SLOT
from devices.notifier import NOTE_SLOT
from devices.onoff import STATE_SLOT
from devices.thermostat import SETPOINT_SLOT
from wave.errors import BadRequest
from wave.namespace.condition import Condition, when
from wave.namespace.grant import Right, right

SEE: Final = "see"
USE: Final = "use"
SIGNALS: Final = "+/+/+/signal/+"
"""Every report of every device, as a pattern."""

_SLOTS: Final = "+/+/+/slot/+"
_PATH = re.compile(r"s\.[0-9A-Za-z_-]{1,40}/[0-9A-Za-z_.-]{1,64}")
_LONGEST_NAME: Final = 60
_WORDS: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "s.light": (("switch", "switch it on and off", STATE_SLOT), ("dim", "set its brightness", BRIGHTNESS_SLOT)),
    "s.switch": (("switch", "press it", STATE_SLOT),),
    "s.thermostat": (("set", "set its temperatures", SETPOINT_SLOT),),
    "s.motion": (("deliver", "tell it of a package", PACKAGE_SLOT),),
    "s.notifier": (("write", "leave a note", NOTE_SLOT),),
}


def is_device(path: str) -> bool:
    """Tell whether ``path`` could be a device's, such as ``s.light/light0``."""
    return _PATH.fullmatch(path) is not None


def in_order(path: str) -> tuple[int, str]:
    """Return what devices are sorted by: lights first, what is unknown last."""
    service = path.partition("/")[0]
    return (list(_WORDS).index(service) if service in _WORDS else len(_WORDS)), path


def slots(service: str) -> tuple[str, ...]:
    """Return the slots of a kind of device, by its service."""
    return tuple(slot for _, _, slot in _WORDS.get(service, ()))


def verbs(service: str) -> list[dict[str, str]]:
    """Return what can be given of a device of that service, as name and words; of the whole home for ''."""
    first = {"verb": SEE, "words": "see what it does" if service else "see everything"}
    last = {"verb": USE, "words": "do all that it can" if service else "use everything"}
    single = [{"verb": verb, "words": words} for verb, words, _ in _WORDS.get(service, ())]
    return [first, *single, last]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is shared: a device (or '' for the whole home), a verb, until when (UTC seconds), with whom, which hours.

    Whoever may do something with a device may see it too. ``hours`` is the text of a ``time`` condition, or ''.
    """

    device: str
    verb: str
    until: int
    name: str
    hours: str = ""

    @classmethod
    def read(cls, value: object) -> Self:
        """Return the terms in a value that came as JSON; :class:`InputError`."""
        match value:
            case {"device": str(device), "verb": str(verb), "until": int(until), "name": str(name), **rest}:
                hours = rest.get("hours", "")
                if isinstance(hours, str) and len(name) <= _LONGEST_NAME and type(until) is int:
                    terms = cls(device, verb, until, " ".join(name.split()), hours)
                    terms.rights()
                    return terms
        raise BadRequest("what is to be shared is not said: device, verb, until and name")

    def rights(self) -> tuple[Right, ...]:
        """Return the rights that this stands for; :class:`BadRequest` for a verb that the device does not have."""
        if self.device and not is_device(self.device):
            raise BadRequest("that is no device of a home")
        conditions: tuple[Condition, ...] = (when(self.hours),) if self.hours else ()
        seen = right(("subscribe",), f"{self.device}/+/signal/+" if self.device else SIGNALS, conditions)
        if self.verb == SEE:
            return (seen,)
        if self.verb == USE:
            return seen, right(("publish",), f"{self.device}/+/slot/+" if self.device else _SLOTS, conditions)
        for verb, _, slot in _WORDS.get(self.device.partition("/")[0], ()):
            if verb == self.verb:
                return seen, right(("publish",), f"{self.device}/{slot}", conditions)
        raise BadRequest(f"{self.device or 'a whole home'} has no verb {self.verb[:40]!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the terms as a plain dict."""
        return {"device": self.device, "verb": self.verb, "until": self.until, "name": self.name, "hours": self.hours}
