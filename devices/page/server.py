"""The page's sockets: its files, one WebSocket a visitor, and the exchange of the owner's link for a cookie."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import WSMsgType, web

from devices.origin import check_origin
from devices.page.local import LocalPage, json_object, static_files
from devices.page.page import Page
from devices.page.visitor import CHALLENGE_BYTES, Visitor, base64_text, check_alive, greet
from wave.chain.listen import listen_tcp
from wave.codec import id_text
from wave.errors import BadRequest, OwnerWanted, Unavailable, WaveError
from wave.limits import LIMITS

DEFAULT_PORT: Final = 4480
_log = logging.getLogger(__name__)
_MOST_VISITORS: Final = 256
_OWNERS_PLACES: Final = 16  # beside those
_MOST_LEAVING: Final = 64
_FAREWELL: Final = 1.0  # seconds for a browser to say goodbye as well
_GREETING: Final = 20.0  # seconds for a browser to show its key
_HEARTBEAT: Final = 20.0
_REFUSAL: Final = 0.05  # seconds that a refusal takes, so that nobody collects them by the thousand
_LONGEST_BODY: Final = 4096


class _Site:
    """The web application around one page."""

    def __init__(self, page: Page, listener: socket.socket, public: str | None) -> None:
        self.local = LocalPage(listener, static_files("devices.page"), public=public)
        self.page = page
        self.cookie = f"wave_owner_{self.local.port}"
        self.open: dict[web.WebSocketResponse, Visitor | None] = {}
        self.leaving: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """Return the application."""
        routes = (web.get("/live", self._live), web.post("/owner", self._owner))
        app = self.local.application(*routes, longest_body=_LONGEST_BODY)
        app.on_shutdown.append(self._close_all)
        return app

    async def _owner(self, request: web.Request) -> web.StreamResponse:
        """Exchange the token of the owner's link for a cookie."""
        value = await self.local.own_object(request)
        owner = self.page.owner
        if owner is None:
            raise OwnerWanted("this page was started without an owner", hint="start it with --from OWNER.ent")
        if not isinstance(value.get("token"), str):
            raise BadRequest("the owner's token is wanted")
        response = web.json_response({})
        response.set_cookie(
            self.cookie,
            owner.sessions.exchange(value["token"]),
            httponly=True,
            samesite="Strict",
            secure=self.local.secure,
            path="/",
        )
        return response

    # One WebSocket a visitor -----------------------------------------------------------------------------------------

    async def _live(self, request: web.Request) -> web.StreamResponse:
        self.local.same_origin(request)
        cookie = request.cookies.get(self.cookie)
        self._find_place(owner=self.page.owner is not None and self.page.owner.sessions.holds(cookie))
        websocket = web.WebSocketResponse(
            max_msg_size=LIMITS.frame_bytes, heartbeat=_HEARTBEAT, compress=False, timeout=_FAREWELL
        )
        headers = self.local.headers
        websocket.headers.update({name: headers[name] for name in ("Cache-Control", "X-Content-Type-Options")})
        await websocket.prepare(request)
        self.open[websocket] = None
        try:
            await self._attend(websocket, cookie)
        except (ConnectionError, RuntimeError, TimeoutError):  # the browser is gone
            pass
        finally:
            self.open.pop(websocket, None)
            await websocket.close()
        return websocket

    def _find_place(self, *, owner: bool) -> None:
        """Turn somebody out who has no grant here, where all places are taken; :class:`Unavailable`.

        First the oldest of those who showed a key, then of those who have not yet. Some places are the owner's alone.
        """
        if len(self.open) < _MOST_VISITORS + (_OWNERS_PLACES if owner else 0):
            return
        strangers = [one for one, visitor in self.open.items() if visitor and not self._stays(visitor)]
        silent = [one for one, visitor in self.open.items() if visitor is None]
        if not (strangers or silent) or len(self.leaving) >= _MOST_LEAVING:
            raise Unavailable("too many browsers are connected")
        found = (strangers or silent)[0]
        del self.open[found]
        task = asyncio.create_task(_turn_out(found))
        self.leaving.add(task)
        task.add_done_callback(self.leaving.discard)

    def _stays(self, visitor: Visitor) -> bool:
        return visitor.granted or self.page.owns(visitor)

    async def _attend(self, websocket: web.WebSocketResponse, cookie: str | None) -> None:
        page = self.page
        challenge = os.urandom(CHALLENGE_BYTES)
        owns = page.owner is not None and page.owner.sessions.holds(cookie)
        await websocket.send_json(
            {
                "type": "hello",
                "page": id_text(page.viewer.id),
                "namespace": id_text(page.view.namespace),
                "home": page.view.name(id_text(page.view.namespace)),
                "challenge": base64_text(challenge),
                "time": int(page.view.site.clock()),
                "owner": owns,
                "stale": cookie is not None and not owns,
            }
        )
        async with asyncio.timeout(_GREETING):
            asked = await _next(websocket)
        if asked is None:
            return
        try:
            visitor = greet(page.view, page.viewer.id, challenge, asked)
            await check_alive(page.view, visitor.entity)
        except WaveError as error:
            await websocket.send_json({"type": "turned_away", "problem": page.view.problem(error)})
            return
        sending = asyncio.create_task(_send_all(websocket, visitor))
        try:
            async with page.visited(visitor, cookie):
                if websocket in self.open:
                    self.open[websocket] = visitor
                while (asked := await _next(websocket)) is not None:
                    await self._answer(visitor, asked)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _answer(self, visitor: Visitor, asked: dict[str, Any]) -> None:
        number = asked.get("n")
        try:
            answer = await self.page.answer(visitor, asked)
        except WaveError as error:
            await asyncio.sleep(_REFUSAL)
            visitor.send("answer", n=number, problem=self.page.view.problem(error))
        except Exception:  # noqa: BLE001 - whatever it is, the browser gets one clear error and the log the rest
            _log.exception("a visitor's request failed")
            visitor.send("answer", n=number, problem=WaveError("the page failed inside; its log says more").problem())
        else:
            visitor.send("answer", n=number, ok=answer)

    async def _close_all(self, _: web.Application) -> None:
        await asyncio.gather(*[websocket.close(code=1001) for websocket in tuple(self.open)])


async def _turn_out(websocket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
        await websocket.close(code=1013)


async def _next(websocket: web.WebSocketResponse) -> dict[str, Any] | None:
    """Return what the browser says next; None when it is gone or says something that is no object."""
    message = await websocket.receive()
    return json_object(message.data) if message.type is WSMsgType.TEXT else None


async def _send_all(websocket: web.WebSocketResponse, visitor: Visitor) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        while (news := await visitor.waiting.get()) is not None:
            await websocket.send_json(news)
    await websocket.close()


@asynccontextmanager
async def serving(
    page: Page,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    anywhere: bool = False,
    public: str | None = None,
) -> AsyncIterator[str]:
    """Serve ``page`` (port 0: any free one) while the body runs; give its URL.

    Only on loopback unless ``anywhere``; ``public`` is the origin (https://…) by which a proxy before it is reached.
    :class:`PortInUse`, :class:`BadSetting`.
    """
    if public is not None:
        public = check_origin(public)
    listener = listen_tcp(host, port, anywhere=anywhere)
    site = _Site(page, listener, public)
    runner = web.AppRunner(site.application(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield site.local.url
    finally:
        await runner.cleanup()
