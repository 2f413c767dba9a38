"""What a receiver remembers of the order of messages: the newest at each resource, and whether one sender is two."""

import logging
from typing import Final

from wave.bus.fields import MessageFields
from wave.codec import id_text
from wave.dots.cache import LeastRecent
from wave.errors import Replayed, RolledBack
from wave.limits import LIMITS

_log = logging.getLogger(__name__)
_TURNS: Final = 3  # between two sequences, within a minute
_WITHIN: Final = 60
_GAP: Final = 16  # numbers of one sequence that a receiver may not have been shown


class Newest:
    """The second in which the newest message of each sender at each resource was made, of those last seen."""

    def __init__(self, bound: int = LIMITS.newest_known) -> None:
        """Remember that many."""
        self._made: LeastRecent[tuple[bytes, bytes, str], int] = LeastRecent(bound)

    def check(self, message: MessageFields) -> None:
        """Raise :class:`RolledBack` for a message from before the newest one seen."""
        newest = self._made.get((message.sender, message.namespace, message.resource))
        if newest is not None and message.created < newest:
            raise RolledBack(f"the message is {newest - message.created} s older than one seen before it")

    def remember(self, message: MessageFields) -> None:
        """Remember a message, if it is the newest."""
        key = (message.sender, message.namespace, message.resource)
        if message.created >= self._made.get(key, 0):
            self._made[key] = message.created


class Succession:
    """The kept messages that one reader was given: of each sender at each resource never an older one, none twice."""

    def __init__(self, bound: int = LIMITS.newest_known) -> None:
        """Remember the newest second's messages of that many."""
        self._taken: LeastRecent[tuple[bytes, bytes, str], tuple[int, set[bytes]]] = LeastRecent(bound)

    def take(self, message: MessageFields) -> None:
        """Remember a message that the reader is given; :class:`RolledBack`, :class:`Replayed`."""
        key = (message.sender, message.namespace, message.resource)
        second, nonces = self._taken.get(key, (-1, set()))
        if message.created < second:
            raise RolledBack(f"the message is {second - message.created} s older than one that came before it")
        if message.created > second:
            nonces = set()
        elif message.nonce in nonces:
            raise Replayed("the message was given before")
        nonces.add(message.nonce)
        self._taken[key] = message.created, nonces


class Twins:
    """Notices two devices that act as one entity, by sequences that go on in turns, and says so in the log.

    A sequence that begins anew is a restart, or the next command of a person: only who goes on where the other one was
    between is somebody else.
    """

    def __init__(self, bound: int = LIMITS.senders_watched) -> None:
        """Watch that many senders."""
        self._last: LeastRecent[bytes, tuple[int, int, int, int]] = LeastRecent(bound)

    def watch(self, message: MessageFields, now: int) -> bool:
        """Look at a message that was accepted; True when its sender was noticed just now."""
        sequence = message.sequence
        last, other, turns, since = self._last.get(message.sender, (sequence, sequence, 0, now))
        noticed = False
        if not _goes_on(last, sequence):
            if _goes_on(other, sequence):
                turns, since = (turns + 1, since) if now - since < _WITHIN else (1, now)
                noticed = turns == _TURNS
            other = last
        if noticed:
            _log.warning(
                "two devices seem to act as entity %s: its sequence numbers go back and forth; give each its own",
                id_text(message.sender),
            )
        self._last[message.sender] = sequence, other, turns, since
        return noticed


def _goes_on(before: int, sequence: int) -> bool:
    """Tell whether a sequence goes on from one of its numbers, with gaps for what others were told."""
    return 0 < sequence - before <= _GAP
