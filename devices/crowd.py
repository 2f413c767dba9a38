"""Many contexts at once: entered in lots, and left in lots, the last one first."""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Crowd(Generic[T]):
    """``async with Crowd() as crowd: await crowd.enter(contexts)``: each context lives in a task of its own.

    An exit stack would leave them one after the other, which for a thousand devices takes minutes. What breaks one of
    them breaks the body too.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.members: list[T] = []
        self._group = asyncio.TaskGroup()
        self._lots: list[tuple[asyncio.Event, list[asyncio.Task[None]]]] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._group.__aenter__()
        return self

    async def enter(self, contexts: Iterable[AbstractAsyncContextManager[T]]) -> list[T]:
        """Enter a lot of contexts together; return what they give, in order."""
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        found: list[asyncio.Future[T]] = []
        tasks = []
        for context in contexts:
            future: asyncio.Future[T] = loop.create_future()
            found.append(future)
            tasks.append(self._group.create_task(_live(context, future, leave)))
        self._lots.append((leave, tasks))
        members = [await future for future in found]
        self.members += members
        return members

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have all leave in order; raise the first error that one of them ended with."""
        try:
            while self._lots:
                leave, tasks = self._lots.pop()
                leave.set()
                if tasks:
                    await asyncio.wait(tasks)
        finally:
            try:
                await self._group.__aexit__(kind, error, trace)
            except BaseExceptionGroup as errors:  # one is enough to tell
                raise errors.exceptions[0] from None


async def _live(context: AbstractAsyncContextManager[T], found: asyncio.Future[T], leave: asyncio.Event) -> None:
    async with context as member:
        if not found.cancelled():
            found.set_result(member)
        await leave.wait()
