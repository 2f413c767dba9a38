"""The guard before any ASGI application (Starlette, FastAPI, a Ray Serve ingress): ``WaveMiddleware(app, guard)``.

The application finds who asks as ``scope["wave"]`` (None for what anybody may ask).
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from wave.errors import BodyTooLarge, NotMapped, WaveError
from wave.guard.guard import SESSION_PATH, Caller, Guard
from wave.guard.refusal import Answer
from wave.guard.signature import SESSION_HEADER, HttpRequest

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER: Final = "wave"
_POLICY_VIOLATION: Final = 1008  # RFC 6455 §7.4.1
_SESSION: Final = SESSION_HEADER.encode("ascii")
_SCHEMES: Final = {"ws": "http", "wss": "https"}


class WaveMiddleware:
    """Lets a request or a websocket through when ``guard`` does.

    Each message of a websocket, and each part of an answer after its first, is let through while the right holds.
    """

    def __init__(self, app: App, guard: Guard) -> None:
        """Stand before ``app``."""
        self.app = app
        self.guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        try:
            fields = dict(scope["headers"])
            body = await _body(receive, fields.get(b"content-length", b""), self.guard.body_bytes)
            session, place, caller = fields.get(_SESSION), None, None
            if session is not None and len(fields) == len(scope["headers"]):  # repeated ones have to be joined
                get = scope.get
                place = scope["method"], scope["path"], get("raw_path"), get("query_string"), fields.get(b"host")
                caller = await self.guard.again(place, session.decode("latin-1"), body)
            if caller is None:
                given = _request(scope, body)
                if given.path == SESSION_PATH and given.method == "POST":
                    await _answer(send, await self.guard.begin_session(given))
                    return
                caller = await self.guard.enter(given, place)
        except WaveError as error:
            await _answer(send, self.guard.refusal(scope["method"], _sent(scope), error))
            return
        scope[CALLER] = caller
        unread = True

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, replay, send if caller is None else self._parts(caller, send))

    def _parts(self, caller: Caller, send: Send) -> Send:
        """Return what sends an answer, each part after the first only while the right holds; raises WaveError."""
        begun = False

        def checked(message: Message) -> Awaitable[None]:
            nonlocal begun
            if message["type"] == "http.response.body":
                if begun:
                    return self._while_allowed(caller, send, message)
                begun = True
            return send(message)

        return checked

    async def _while_allowed(self, caller: Caller, send: Send, message: Message) -> None:
        await self.guard.still(caller)
        await send(message)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            raise NotMapped(f"the guard knows no connections of type {scope['type']!r}")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            caller = await self.guard.enter(_request(scope))
        except WaveError as error:
            await receive()
            if "websocket.http.response" in scope.get("extensions", {}):
                await _answer(send, self.guard.refusal("GET", _sent(scope), error), "websocket.http.response")
            else:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        scope[CALLER] = caller
        if caller is None:
            await self.app(scope, receive, send)
        else:
            socket = _Socket(self.guard, caller, receive, send)
            await self.app(scope, socket.receive, socket.send)


class _Socket:
    """A websocket that is closed when its caller's right ends, and carries nothing more from then on."""

    def __init__(self, guard: Guard, caller: Caller, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._caller = caller
        self._receive = receive
        self._send = send
        self._over = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.receive" and not await self._allowed():
            return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}
        return message

    async def send(self, message: Message) -> None:
        if not self._over and (message["type"] != "websocket.send" or await self._allowed()):
            await self._send(message)

    async def _allowed(self) -> bool:
        if not self._over:
            try:
                await self._guard.still(self._caller)
            except WaveError as error:
                self._over = True
                await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.code})
        return not self._over


def _sent(scope: Scope) -> str:
    """Return a request's path as sent."""
    raw_path: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw_path is None else raw_path.decode("latin-1").partition("?")[0]


def _request(scope: Scope, body: bytes = b"") -> HttpRequest:
    """Return a request; :class:`NotMapped` where its path as sent is not what the application reads."""
    sent, decoded = _sent(scope), scope["path"]
    if (sent != decoded or "%" in sent) and unquote_to_bytes(sent) != decoded.encode("utf-8", "surrogateescape"):
        raise NotMapped("a request whose path was rewritten before the guard saw it")
    scheme: str = scope.get("scheme", "http")
    query: bytes = scope.get("query_string", b"")
    headers = _headers(scope)
    return HttpRequest(
        scope.get("method", "GET"),
        _SCHEMES.get(scheme, scheme),
        headers.get("host", ""),
        sent,
        f"?{query.decode('latin-1')}" if query else "",
        headers,
        body,
    )


def _headers(scope: Scope) -> dict[str, str]:
    """Return header fields by name, which servers give in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for given, value in scope["headers"]:
        name, text = given.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


async def _body(receive: Receive, length: bytes, bound: int) -> bytes:
    """Return a request's body, which says of itself to be so long; :class:`BodyTooLarge`."""
    if length.isdigit() and int(length[:20]) > bound:
        raise BodyTooLarge(f"a body of {int(length[:20])} bytes; at most {bound} are accepted")
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bound:
            raise BodyTooLarge(f"a body of more than {bound} bytes")
    return b"".join(parts)


async def _answer(send: Send, answer: Answer, kind: str = "http.response") -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})
