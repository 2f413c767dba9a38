"""The guard before an aiohttp application: ``web.Application(middlewares=[middleware(guard)])``.

A handler finds who asks as ``request[CALLER]`` (None for what anybody may ask).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from wave.errors import BodyTooLarge, NotMapped, WaveError
from wave.guard.guard import SESSION_PATH, Caller, Guard
from wave.guard.refusal import Answer
from wave.guard.signature import SESSION_HEADER, HttpRequest

CALLER: Final[web.RequestKey[Caller | None]] = web.RequestKey("wave")
_LOOK_AGAIN: Final = 0.25  # seconds between looks whether an open websocket's right still holds

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def middleware(guard: Guard) -> Middleware:
    """Return the middleware that lets requests through when ``guard`` does, and ends websockets with their right."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers, place, caller = request.headers, None, None
        try:
            body = await request.read()
            session = headers.get(SESSION_HEADER)
            if session is not None:
                place = request.method, request.raw_path, request.rel_url.raw_path, headers.get(hdrs.HOST)
                caller = await guard.again(place, session, body)
            if caller is None:
                given = _request(request, body, guard.body_bytes)
                if given.path == SESSION_PATH and given.method == hdrs.METH_POST:
                    return _response(await guard.begin_session(given))
                caller = await guard.enter(given, place)
        except (WaveError, web.HTTPRequestEntityTooLarge) as error:
            refused = (
                error if isinstance(error, WaveError) else BodyTooLarge("the body is larger than this service takes")
            )
            return _response(guard.refusal(request.method, request.raw_path.partition("?")[0], refused))
        request[CALLER] = caller
        if hdrs.UPGRADE in headers and caller is not None:
            return await _while_allowed(guard, caller, handler(request))
        return await handler(request)

    return guarded


def _request(request: web.Request, body: bytes, bound: int) -> HttpRequest:
    path, mark, query = request.raw_path.partition("?")
    if not path.startswith("/") or request.rel_url.raw_path != path:
        raise NotMapped("a request whose target is not a plain path")
    if len(body) > bound:
        raise BodyTooLarge(f"a body of {len(body)} bytes; at most {bound} are accepted")
    headers = request.headers
    return HttpRequest(request.method, request.scheme, headers.get(hdrs.HOST, ""), path, mark + query, headers, body)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _while_allowed(guard: Guard, caller: Caller, handling: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """Return what a long-lived handler returns; cancel it when its caller's right ends."""
    task = asyncio.ensure_future(handling)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_AGAIN))[0]:
            await guard.still(caller)
    except WaveError:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        raise web.HTTPForbidden(text="the right to this has ended") from None
    except asyncio.CancelledError:
        task.cancel()
        raise
    return await task
