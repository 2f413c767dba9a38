"""The guard before any ASGI application (Starlette, FastAPI, a Ray Serve ingress): ``WaveMiddleware(app, guard)``.

The application finds who asks as ``scope["wave"]`` (None for what anybody may ask).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from wave.errors import BodyTooLarge, NotMapped, WaveError
from wave.guard.guard import SESSION_PATH, Caller, Guard
from wave.guard.refusal import Answer
from wave.guard.signature import HttpRequest

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER: Final = "wave"
_POLICY_VIOLATION: Final = 1008  # RFC 6455 §7.4.1
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
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise NotMapped(f"the guard knows no connections of type {scope['type']!r}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = ""
        try:
            given = _head(scope)
            path = given.path
            given = given._replace(body=await _body(receive, given, self.guard.body_bytes))
            if path == SESSION_PATH and given.method == "POST":
                await _answer(send, await self.guard.begin_session(given))
                return
            caller = await self.guard.enter(given)
        except WaveError as error:
            await _answer(send, self.guard.refusal(scope["method"], path, error))
            return
        scope[CALLER] = caller
        body: bytes | None = given.body

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        await self.app(scope, replay, send if caller is None else self._parts(caller, send))

    def _parts(self, caller: Caller, send: Send) -> Send:
        """Return what sends an answer, each part after the first only while the right holds; raises WaveError."""
        begun = False

        async def checked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.body":
                if begun:
                    await self.guard.still(caller)
                begun = True
            await send(message)

        return checked

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = ""
        try:
            given = _head(scope)
            path = given.path
            caller = await self.guard.enter(given)
        except WaveError as error:
            await receive()
            if "websocket.http.response" in scope.get("extensions", {}):
                await _answer(send, self.guard.refusal("GET", path, error), "websocket.http.response")
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


def _head(scope: Scope) -> HttpRequest:
    """Return a request without its body, its path as sent; :class:`NotMapped` where that is not what the app reads."""
    headers = _Headers(scope["headers"])
    raw_path = scope.get("raw_path")
    decoded = scope["path"]
    sent: str = quote(decoded) if raw_path is None else raw_path.decode("latin-1").partition("?")[0]
    same = sent == decoded and "%" not in sent
    if not same and unquote_to_bytes(sent) != decoded.encode("utf-8", "surrogateescape"):
        raise NotMapped("a request whose path was rewritten before the guard saw it")
    query = scope.get("query_string", b"").decode("latin-1")
    scheme: str = scope.get("scheme", "http")
    return HttpRequest(
        scope.get("method", "GET"),
        _SCHEMES.get(scheme, scheme),
        headers.get("host", ""),
        sent,
        f"?{query}" if query else "",
        headers,
    )


class _Headers(Mapping[str, str]):
    """Header fields by lower-case name, repeated ones joined; those that are asked for decoded."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields: dict[bytes, bytes] = {}
        for name, value in fields:
            lower = name.lower()
            before = self._fields.get(lower)
            self._fields[lower] = value if before is None else before + b", " + value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.encode("latin-1")].decode("latin-1")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, quicker than by way of an exception."""
        value = self._fields.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter([name.decode("latin-1") for name in self._fields])

    def __len__(self) -> int:
        return len(self._fields)


async def _body(receive: Receive, given: HttpRequest, bound: int) -> bytes:
    length = given.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > bound:
        raise BodyTooLarge(f"a body of {length[:20]} bytes; at most {bound} are accepted")
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
