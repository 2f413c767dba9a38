"""The watch stream: what happens on the registry, told as Server-Sent Events while it happens.

One task follows the chain for all who watch; each of them takes what it has not seen in pages of its own, so that one
who reads slowly holds up nobody and costs no more than a page of memory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

from aiohttp import web

from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.history import Cursor
from wave.agent.settings import stays_here
from wave.errors import BadRequest, TooLarge, Unavailable, WaveError

R = TypeVar("R")

WATCHERS: Final = 64  # at once
NEAR: Final = 0.1  # seconds between two questions to a chain on this machine
FAR: Final = 1.0  # and to one elsewhere, which may count questions
ALIVE: Final = 15.0  # seconds of silence after which a comment shows both ends that the other is there
PATIENCE: Final = 60.0  # seconds within which a watcher has to take a page
SUMMARY: Final = (
    "Watch delegations, revocations, names, aliases and new blocks as Server-Sent Events. Each event's data is a"
    " Happening, its type the happening's kind, its id is where a stream goes on after it."
)


class Run(Protocol):
    """Carries out a function on the engine's thread."""

    def __call__(self, function: Callable[[], R]) -> Awaitable[R]: ...


class Watching:
    """Everybody who watches one agent."""

    def __init__(self, engine: Engine, run: Run) -> None:
        """Ask ``engine``, by way of ``run``."""
        self._engine = engine
        self._run = run
        self._pause = NEAR if stays_here(engine.settings.urls) else FAR
        self._watchers = 0
        self._version = 0
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def close(self) -> None:
        """End every stream, and stop following."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        async with self._changed:
            self._changed.notify_all()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer with the stream; :class:`BadRequest`, :class:`TooLarge` when too many watch already."""
        if unknown := set(request.query) - {"since", "namespace"}:
            raise BadRequest(f"a watcher says since and namespace, not {min(unknown)[:40]!r}")
        since = request.headers.get("Last-Event-ID") or request.query.get("since") or None
        text = request.query.get("namespace")
        namespace = None if text is None else wire.identity(text)
        if self._watchers >= WATCHERS:
            raise TooLarge(f"{WATCHERS} watchers are served at once", hint="let one of them go first")
        self._watchers += 1
        try:
            return await self._serve(request, since, namespace)
        finally:
            self._watchers -= 1
            if not self._watchers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _serve(self, request: web.Request, since: str | None, namespace: bytes | None) -> web.StreamResponse:
        cursor = await self._run(lambda: self._engine.watcher(since))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        with suppress(ConnectionError, TimeoutError):
            try:
                await self._tell(response, cursor, namespace)
            except WaveError as error:
                await response.write(b"event: problem\ndata: " + wire.encode(error.problem()) + b"\n\n")
        return response

    async def _tell(self, response: web.StreamResponse, cursor: Cursor, namespace: bytes | None) -> None:
        while not self._closed:
            version = self._version
            told, cursor, more = await self._run(partial(self._engine.watched, cursor, namespace))
            async with asyncio.timeout(PATIENCE):
                await response.write(b"".join(map(event, told)))
            if not more and not await self._wait(version):
                await response.write(b": nothing new\n\n")

    async def _wait(self, version: int) -> bool:
        """Wait until something changed since ``version``; False when nothing did for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ALIVE), self._changed:
                await self._changed.wait_for(lambda: self._version != version or self._closed)
                return True
        return False

    async def _follow(self) -> None:
        """Ask the chain again and again, and wake everybody when something changed."""
        seen: object = None
        while True:
            with suppress(Unavailable):  # it may come back; until then nothing is told but that we are here
                now = await self._run(self._engine.follow)
                if now != seen:
                    seen = now
                    async with self._changed:
                        self._version += 1
                        self._changed.notify_all()
            await asyncio.sleep(self._pause)


def event(one: wire.Happening) -> bytes:
    """Return a happening as a Server-Sent Event."""
    return f"event: {one.kind}\nid: {one.id}\ndata: ".encode() + wire.encode(one) + b"\n\n"
