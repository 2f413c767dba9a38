"""An open subscription from the reader's side: checked messages, as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from wave.bus.connection import OnRefused
from wave.bus.frame import Deliver
from wave.bus.message import Accepted, Message
from wave.bus.order import Succession
from wave.errors import WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers

Received: TypeAlias = Accepted
GiveUp: TypeAlias = Callable[["Reading"], Awaitable[None]]


class Reading:
    """An open subscription: ``async for received in reading``. Ends with the error that ended the right to it.

    ``serial`` is the carrier's number of the last message that was given to it, from which it can be resumed.
    ``began`` is the UTC second from which on a message may be shown to it as kept; None when it asked for history.
    """

    def __init__(
        self,
        number: int,
        namespace: bytes,
        pattern: Pattern,
        *,
        refused: OnRefused,
        give_up: GiveUp,
        began: int | None = None,
    ) -> None:
        """Be the reading of that ``number`` of a peer, which ``give_up`` tells that nobody reads any more."""
        self.number = number
        self.namespace = namespace
        self.pattern = pattern
        self.refused = refused
        self.began = began
        self.opened = False
        self.dropped = 0
        self.serial = 0
        self._order = Succession()
        self._give_up = give_up
        self._waiting: deque[Received] = deque()
        self._stirred = asyncio.Event()
        self._end: WaveError | None = None
        self._closed = False

    def wants(self, message: Message) -> bool:
        """Tell whether a message belongs here, whatever the router says."""
        return message.namespace == self.namespace and covers(self.pattern, message.resource)

    def had(self, frame: Deliver) -> bool:
        """Tell whether what comes again was here before."""
        return 0 < frame.serial <= self.serial

    def give(self, received: Received, *, again: bool) -> None:
        """Add a message that belongs here. One that comes ``again`` is left out if it was here before.

        One that was kept is refused when an older one takes the place of a newer.
        """
        if again and 0 < received.serial <= self.serial:
            return
        if received.message.persist:
            try:
                self._order.take(received.message.fields)
            except WaveError as error:
                self.refused(received.message, error)
                return
        self.serial = max(self.serial, received.serial)
        self.put(received)

    def put(self, received: Received) -> None:
        """Add a message; the oldest is dropped, and counted, when too many wait."""
        if len(self._waiting) >= LIMITS.queue_frames:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(received)
        self._stirred.set()

    def end(self, error: WaveError) -> None:
        """End it; whoever reads gets what waits, and then ``error``."""
        self._end = error
        self._stirred.set()

    async def close(self) -> None:
        """Give the subscription up."""
        self._closed = True
        self._stirred.set()
        await self._give_up(self)

    def __aiter__(self) -> AsyncIterator[Received]:
        return self

    async def __anext__(self) -> Received:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            self._stirred.clear()
            await self._stirred.wait()
        return self._waiting.popleft()
