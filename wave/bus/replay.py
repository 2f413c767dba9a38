"""The replay window: which messages a receiver has accepted and must not accept again."""

import heapq
from collections import Counter

from wave.errors import MessageStale, Replayed, ReplayWindowFull
from wave.limits import LIMITS


class ReplayWindow:
    """The (sender, nonce) pairs of accepted messages, each until its message expires.

    It forgets nothing early: a full window refuses. No sender may fill more than its share; a handful of senders
    together still can, which shuts out whoever comes then, until messages expire. What a window of an earlier process
    knew is covered by ``since`` (older messages are refused), but for messages that a sender whose clock runs ahead
    dated later.
    """

    def __init__(
        self,
        *,
        since: int = 0,
        bound: int = LIMITS.replay_window,
        per_sender: int = LIMITS.replay_window_per_sender,
    ) -> None:
        """Remember at most ``bound`` messages; refuse those made before ``since`` (UTC seconds)."""
        self._since = since
        self._bound = bound
        self._per_sender = per_sender
        self._forgotten = 0  # the latest expiry among the messages forgotten
        self._order: list[tuple[int, bytes, bytes]] = []
        self._known: set[tuple[bytes, bytes]] = set()
        self._counts: Counter[bytes] = Counter()

    def __len__(self) -> int:
        """How many messages are remembered."""
        return len(self._known)

    def check(self, sender: bytes, nonce: bytes, *, created: int, expires: int, now: int) -> None:
        """Raise :class:`Replayed`, :class:`MessageStale` or :class:`ReplayWindowFull` unless the message is new.

        A clock that is set back does not open the window again: what may have been forgotten counts as seen.
        """
        if created < self._since:
            raise MessageStale("the message was made before its receiver started", hint="send it again")
        self._forget(now)
        if (sender, nonce) in self._known:
            raise Replayed("the message was accepted before", hint="sign a new one for every act")
        if expires <= self._forgotten:
            raise MessageStale("the message is older than what its receiver remembers")
        if len(self._known) >= self._bound:
            raise ReplayWindowFull(f"{len(self._known)} messages are remembered, and no more can be")
        if self._counts[sender] >= self._per_sender:
            raise ReplayWindowFull(f"{self._counts[sender]} messages of this sender are remembered, and no more can be")

    def remember(self, sender: bytes, nonce: bytes, *, expires: int) -> None:
        """Count a message as accepted, until it expires."""
        self._known.add((sender, nonce))
        self._counts[sender] += 1
        heapq.heappush(self._order, (expires, sender, nonce))

    def _forget(self, now: int) -> None:
        while self._order and self._order[0][0] <= now:
            expires, sender, nonce = heapq.heappop(self._order)
            self._forgotten = max(self._forgotten, expires)
            self._known.discard((sender, nonce))
            self._counts[sender] -= 1
            if not self._counts[sender]:
                del self._counts[sender]
