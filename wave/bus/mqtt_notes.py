"""Notes of denial: what a receiver tells the sender of a message that it refused, on the sender's own topic."""

import json
from collections import deque
from typing import Final

from wave.bus.message import Message
from wave.codec import id_text, parse_id
from wave.errors import WaveError, from_problem

NOTE: Final = "application/wave-denied+json"
"""The content type of a note: the problem (RFC 9457) and, as ``refused``, the id of the message that it is about."""

MOST: Final = 10  # a second, by one receiver


class Notes:
    """How many notes were written lately."""

    def __init__(self) -> None:
        """Begin with none."""
        self._written: deque[float] = deque(maxlen=MOST)

    def allowed(self, now: float) -> bool:
        """Tell whether one more may be written at ``now`` (seconds), and count it if so."""
        if len(self._written) == MOST and now - self._written[0] < 1:
            return False
        self._written.append(now)
        return True


def told(message: Message, error: WaveError) -> bytes:
    """Return the payload of a note about a message that was refused."""
    return json.dumps({**error.problem(), "refused": id_text(message.id)}).encode()


def about(note: Message) -> tuple[bytes, WaveError] | None:
    """Return which message a note is about and why it was refused; None for anything else than a note."""
    try:
        details = json.loads(note.payload) if note.content_type == NOTE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(details, dict):
        return None
    identity = parse_id(str(details.get("refused")))
    return None if identity is None else (identity, from_problem(details))
