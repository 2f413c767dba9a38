"""The guard for code that is not asynchronous: in a thread of its own, where any other thread asks it.

with BlockingGuard(guard) as asked:  # or an async context manager that gives one, opened in that thread
    caller = asked.enter(request)
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, Self, TypeVar

from wave.dots.verify import Grant
from wave.errors import GuardClosed
from wave.guard.guard import Caller, Guard
from wave.guard.signature import HttpRequest

R = TypeVar("R")

_CLOSING: Final = 5.0  # seconds within which what the guard was opened with has to close


class BlockingGuard:
    """A guard that any thread may ask, and that answers them one after the other, as it does on an event loop.

    Whatever the guard needs of that loop, such as a client of the agent, is opened by the context manager.
    """

    def __init__(self, guard: Guard | AbstractAsyncContextManager[Guard]) -> None:
        """Open ``guard``; raises what opening it raises."""
        opening = nullcontext(guard) if isinstance(guard, Guard) else guard
        ready: Future[Guard] = Future()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(opening, ready)), name="wave-guard", daemon=True
        )
        self._thread.start()
        self.guard = ready.result()

    async def _main(self, opening: AbstractAsyncContextManager[Guard], ready: "Future[Guard]") -> None:
        try:
            async with opening as guard:
                self._loop = asyncio.get_running_loop()
                ready.set_result(guard)
                await self._stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def enter(self, request: HttpRequest) -> Caller | None:
        """Return who asks, or raise, as :meth:`Guard.enter` does."""
        return self._ask(lambda: self.guard.enter(request))

    def still(self, caller: Caller) -> Grant:
        """Return what still lets ``caller`` do what it was let through for, or raise."""
        return self._ask(lambda: self.guard.still(caller))

    def may(self, caller: Caller, permission: str, where: str, permission_set: bytes | None = None) -> Grant:
        """Return what lets ``caller`` do a further thing by the same proof, or raise."""
        return self._ask(lambda: self.guard.may(caller, permission, where, permission_set))

    def _ask(self, question: Callable[[], Coroutine[Any, Any, R]]) -> R:
        with self._lock:
            if self._loop is None:
                raise GuardClosed("the guard was closed")
            asked = asyncio.run_coroutine_threadsafe(question(), self._loop)
        try:
            return asked.result()
        except CancelledError:
            raise GuardClosed("the guard was closed over the question") from None

    def close(self) -> None:
        """Close what was opened; whoever asks from now on is refused with :class:`GuardClosed`."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSING)

    def __enter__(self) -> Self:
        """Return the guard."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
