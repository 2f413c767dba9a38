"""The replay window: which messages a receiver has accepted and must not accept again."""

from dataclasses import dataclass, field

from wave.bus.fields import MessageFields
from wave.bus.marks import Marks
from wave.errors import BeforeRestart, MessageStale, Replayed, ReplayWindowFull
from wave.limits import LIMITS

_WORTH_IT = 16  # nonces that a sender must hold for its oldest to be worth looking for


@dataclass(slots=True)
class _Second:
    """The nonces of one sender's messages made in one second, and when the last of them expires."""

    expires: int
    nonces: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Sender:
    """One sender's messages in one namespace. What was made up to ``floor`` counts as seen until ``until``."""

    floor: int = -1
    until: int = 0
    size: int = 0
    seconds: dict[int, _Second] = field(default_factory=dict)

    def give_way(self, least: int) -> int:
        """Forget whole seconds, the oldest first, until ``least`` nonces are gone; return how many are."""
        gone = 0
        for created in sorted(self.seconds):
            if gone >= least:
                break
            gone += len(self.seconds.pop(created).nonces)
            self.floor = max(self.floor, created)
        self.size -= gone
        return gone


@dataclass(slots=True)
class _Namespace:
    floor: int = -1
    until: int = 0
    size: int = 0  # nonces and senders
    senders: dict[bytes, _Sender] = field(default_factory=dict)


class ReplayWindow:
    """The nonces of accepted messages, by namespace, sender and second, each until its message expires.

    Nothing is forgotten early without counting as seen. A sender with more messages than its share forgets its own
    oldest seconds: up to the newest forgotten, all that it signed is refused. When the window is full, the namespace
    with most in it gives way in the same manner, its busiest sender first. So whoever floods a namespace takes from
    that namespace, and nobody else is refused while fewer than ``LIMITS.replay_namespaces`` are busy.

    What a window of an earlier process knew, ``marks`` tell; without them, all made before ``since`` counts as seen.
    """

    def __init__(
        self,
        *,
        since: int = 0,
        marks: Marks | None = None,
        bound: int = LIMITS.replay_window,
        per_sender: int = LIMITS.replay_window_per_sender,
        namespaces: int = LIMITS.replay_namespaces,
    ) -> None:
        """Remember at most ``bound`` nonces and senders."""
        self._since = since if marks is None else 0
        self._marks = marks
        self._bound = bound
        self._per_sender = per_sender
        self._sure = bound // namespaces
        self._forgotten = 0  # the latest expiry among the messages forgotten in their time
        self._swept = 0
        self._size = 0
        self._namespaces: dict[bytes, _Namespace] = {}

    def __len__(self) -> int:
        """How many nonces and senders are remembered."""
        return self._size

    def check(self, message: MessageFields, now: int, *, challenged: bool = False) -> None:
        """Raise :class:`Replayed`, :class:`MessageStale` or :class:`ReplayWindowFull` unless the message is new.

        A clock that is set back does not open the window again: what may have been forgotten counts as seen.
        ``challenged``: no earlier process can have accepted it.
        """
        if now != self._swept:
            self._sweep(now)
        if not challenged:
            self.of_this_life(message)
        namespace = self._namespaces.get(message.namespace)
        sender = None if namespace is None else namespace.senders.get(message.sender)
        if sender is not None:
            second = sender.seconds.get(message.created)
            if second is not None and message.nonce in second.nonces:
                raise Replayed("the message was accepted before", hint="sign a new one for every act")
        floor = max(-1 if namespace is None else namespace.floor, -1 if sender is None else sender.floor)
        if _remembered_until(message) <= self._forgotten or message.created <= floor:
            raise MessageStale("the message is older than what its receiver remembers", hint="send it again")
        if self._size + (2 if sender is None else 1) > self._bound:
            self._make_room()

    def remember(self, message: MessageFields, *, marked: bool = True) -> None:
        """Count a message as accepted, until it expires; it is on the disk when this returns."""
        if self._marks is not None and marked:
            self._marks.note(message.sender, message.created)
        expires = _remembered_until(message)
        namespace = self._namespaces.get(message.namespace)
        if namespace is None:
            namespace = self._namespaces[message.namespace] = _Namespace()
        sender = namespace.senders.get(message.sender)
        if sender is None:
            sender = namespace.senders[message.sender] = _Sender()
            self._grow(namespace, 1)
        second = sender.seconds.get(message.created)
        if second is None:
            second = sender.seconds[message.created] = _Second(expires)
        second.nonces.add(message.nonce)
        second.expires = max(second.expires, expires)
        sender.until = max(sender.until, expires)
        namespace.until = max(namespace.until, expires)
        sender.size += 1
        self._grow(namespace, 1)
        if sender.size > self._per_sender:
            self._grow(namespace, -sender.give_way(1))

    def of_this_life(self, message: MessageFields) -> None:
        """Raise :class:`BeforeRestart` for a message that an earlier process may have accepted."""
        if message.created < self._since:
            raise BeforeRestart("the message was made before its receiver started")
        if self._marks is not None and message.created <= self._marks.earlier(message.sender):
            raise BeforeRestart("its receiver started anew, and may have accepted the message before that")

    def _grow(self, namespace: _Namespace, by: int) -> None:
        namespace.size += by
        self._size += by

    def _make_room(self) -> None:
        """Let the namespace with most in it give way; :class:`ReplayWindowFull` when it has no more than its part."""
        largest = max(self._namespaces.values(), key=lambda one: one.size)
        if largest.size <= self._sure:
            raise ReplayWindowFull(f"{self._size} messages are remembered, and no more can be")
        busiest = max(largest.senders.values(), key=lambda one: one.size)
        if busiest.size >= _WORTH_IT:
            self._grow(largest, -busiest.give_way(busiest.size // 2))
            return
        largest.floor = max([largest.floor, *[max(one.seconds, default=one.floor) for one in largest.senders.values()]])
        self._grow(largest, -largest.size)
        largest.senders.clear()

    def _sweep(self, now: int) -> None:
        """Forget what has expired."""
        self._swept = now
        for identity, namespace in tuple(self._namespaces.items()):
            for name, sender in tuple(namespace.senders.items()):
                for created, second in tuple(sender.seconds.items()):
                    if second.expires <= now:
                        self._forgotten = max(self._forgotten, second.expires)
                        sender.size -= len(second.nonces)
                        self._grow(namespace, -len(second.nonces))
                        del sender.seconds[created]
                if sender.until <= now:
                    self._forgotten = max(self._forgotten, sender.until)
                    del namespace.senders[name]
                    self._grow(namespace, -1)
            if namespace.until <= now:
                self._forgotten = max(self._forgotten, namespace.until)
                del self._namespaces[identity]


def _remembered_until(message: MessageFields) -> int:
    """Return when a message cannot be accepted any more: it has expired, or is not new (one to be kept lives long)."""
    return min(message.expires, message.created + LIMITS.message_lifetime + 1)
