"""The WebSocket carrier (RFC 6455), a frame for each binary message. The only part of the bus that opens sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, WSMsgType, web
from aiohttp.http import WSMessage

from wave.bus.router import Link, Router
from wave.chain.listen import address_of, listen_tcp
from wave.errors import BadSetting, RouterUnavailable
from wave.limits import LIMITS

PATH: Final = "/v1/bus"
DEFAULT_PORT: Final = 4410
_HEARTBEAT: Final = 20.0
_CONNECT: Final = 5.0


class _WebSocket(Protocol):
    async def send_bytes(self, data: bytes) -> None: ...

    async def receive(self) -> WSMessage: ...


class WebSocketLink:
    """One WebSocket as a :class:`wave.bus.router.Link`."""

    def __init__(self, websocket: _WebSocket) -> None:
        """Speak over ``websocket``."""
        self._websocket = websocket

    async def send(self, frame: bytes) -> None:
        """Send one frame."""
        try:
            await self._websocket.send_bytes(frame)
        except (ClientError, OSError, RuntimeError) as error:
            raise RouterUnavailable(f"the connection is gone: {error}") from None

    async def receive(self) -> bytes | None:
        """Return the next frame; None when the other side closes, is silent too long or sends something else."""
        message = await self._websocket.receive()
        return message.data if message.type is WSMsgType.BINARY else None


@asynccontextmanager
async def serving(
    router: Router, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, anywhere: bool = False
) -> AsyncIterator[str]:
    """Serve ``router`` (port 0: any free one) while the body runs; give its URL.

    Only on loopback unless ``anywhere``. :class:`PortInUse`, :class:`BadSetting`.
    """
    listener = listen_tcp(host, port, anywhere=anywhere)

    async def attend(request: web.Request) -> web.WebSocketResponse:
        if "Origin" in request.headers:  # a web site, in the browser of somebody who is let in where it is not
            raise web.HTTPForbidden(text="a router is not for web pages\n")
        websocket = web.WebSocketResponse(max_msg_size=LIMITS.frame_bytes, heartbeat=_HEARTBEAT, compress=False)
        await websocket.prepare(request)
        open_ones.add(websocket)
        try:
            await router.attend(WebSocketLink(websocket))
        finally:
            open_ones.discard(websocket)
            await websocket.close()
        return websocket

    async def close_all(_: web.Application) -> None:
        await asyncio.gather(*[websocket.close(code=1001) for websocket in tuple(open_ones)])

    open_ones: set[web.WebSocketResponse] = set()
    application = web.Application()
    application.router.add_get(PATH, attend)
    application.on_shutdown.append(close_all)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        async with router.reviewing():
            yield address_of(listener, "ws") + PATH
    finally:
        await runner.cleanup()


def check_url(url: str) -> None:
    """Raise :class:`BadSetting` unless ``url`` could be a router's: ws:// or wss:// and a host."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise BadSetting(
            f"{url[:80]!r} is no router's address", hint=f"write it as ws://127.0.0.1:{DEFAULT_PORT}{PATH}"
        )


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Link]:
    """Connect to the router at ``url`` (ws:// or wss://) while the body runs; :class:`RouterUnavailable`."""
    check_url(url)
    async with ClientSession(timeout=ClientTimeout(total=None, sock_connect=_CONNECT)) as session:
        try:
            async with asyncio.timeout(_CONNECT):
                websocket = await session.ws_connect(url, max_msg_size=LIMITS.frame_bytes, heartbeat=_HEARTBEAT)
        except (ClientError, OSError, TimeoutError, socket.gaierror) as error:
            raise RouterUnavailable(
                f"the router at {url} does not answer: {str(error) or 'it took too long'}",
                hint="start one with 'wave router run'",
            ) from None
        try:
            yield WebSocketLink(websocket)
        finally:
            await websocket.close()
