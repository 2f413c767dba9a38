"""The notifier: a message box that keeps what was left in it, with times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from devices.machine import Command, Machine, only
from wave.errors import BadPayload

NOTE_SLOT: Final = "i.notifier/slot/note"
BOX_SIGNAL: Final = "i.notifier/signal/box"
LONGEST_NOTE: Final = 1000  # characters
MOST_NOTES: Final = 100
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Note:
    """A note and when it came (UTC seconds)."""

    text: str
    at: int


class Notifier(Machine[tuple[Note, ...]]):
    """A box that keeps the newest notes."""

    kind = "notifier"
    service = "s.notifier"
    slots = (NOTE_SLOT,)
    signals = (BOX_SIGNAL,)

    def initial(self, now: float) -> tuple[Note, ...]:  # noqa: ARG002 - empty at any time
        return ()

    def handle(self, state: tuple[Note, ...], command: Command) -> tuple[tuple[Note, ...], str]:
        text = only(command.value, "text")["text"]
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_NOTE:
            raise BadPayload(f"a note is a text of 1 to {LONGEST_NOTE} characters")
        return (*state, Note(text, int(command.at)))[-MOST_NOTES:], f"note {text!r}"

    def report(self, state: tuple[Note, ...]) -> Mapping[str, Any]:
        newest = [{"text": note.text, "time": note.at} for note in state[-_SHOWN:]]
        return {BOX_SIGNAL: {"count": len(state), "notes": newest}}
