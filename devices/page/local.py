"""What every page of ours is served by: its files with strict headers, on this machine, and to itself alone.

Whoever asks must mean this machine (Host) and come from this very page (Origin); nothing is loaded from elsewhere.
"""

import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from devices.origin import check_origin
from wave.agent.wire import encode
from wave.chain.listen import LOCAL_NAMES, address_of
from wave.errors import BadRequest, TooLarge, WaveError, WrongOrigin

_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Files = dict[str, tuple[bytes, str]]
"""A page's files by name, with their types: all that will ever be served."""


def static_files(package: str, names: Iterable[str] | None = None) -> Files:
    """Return the files in a package's folder ``static``, or those named of them."""
    folder = resources.files(package) / "static"
    return {
        one.name: (one.read_bytes(), _TYPES[ending])
        for one in folder.iterdir()
        if (ending := os.path.splitext(one.name)[1]) in _TYPES  # noqa: PTH122 - a resource is no path
        and (names is None or one.name in names)
    }


class LocalPage:
    """A page served at ``listener``: ``url``, its ``origins``, and whether it is reached by https (``secure``).

    ``public`` is the origin by which a proxy before it is reached, ``connects`` further origins that its scripts ask.
    """

    def __init__(
        self, listener: socket.socket, files: Files, *, public: str | None = None, connects: Iterable[str] = ()
    ) -> None:
        """Serve ``files``, of which ``index.html`` stands for all; :class:`BadSetting` for what is no origin."""
        local = address_of(listener)
        self.port = urlsplit(local).port
        names = [f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}" for name in sorted(LOCAL_NAMES)]
        self.origins = {f"http://{name}" for name in (*names, urlsplit(local).netloc)}
        self.url = f"{local}/"
        self.secure = False
        if public is not None:
            public = check_origin(public)
            self.url = f"{public}/"
            self.origins.add(public)
            self.secure = public.startswith("https:")
        self._hosts = {urlsplit(one).netloc for one in self.origins}
        self._files = files
        self.headers = {
            "Content-Security-Policy": _POLICY.format(" ".join(["'self'", *map(check_origin, connects)])),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
            "Cache-Control": "no-store",
        }

    def application(self, *routes: web.RouteDef, longest_body: int) -> web.Application:
        """Return the application: the files, and ``routes`` beside them."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guarded(request, handler, longest_body)

        app = web.Application(client_max_size=longest_body, middlewares=[guard])
        app.add_routes([web.get("/", self._file), *routes, web.get("/{name}", self._file)])
        return app

    async def _guarded(self, request: web.Request, handler: Handler, longest_body: int) -> web.StreamResponse:
        try:
            if request.headers.get("Host", "").lower() not in self._hosts:
                raise WrongOrigin("the Host header does not name this page")
            response = await handler(request)
        except WaveError as error:
            response = _problem(error)
        except web.HTTPRequestEntityTooLarge:
            response = _problem(TooLarge(f"a body has at most {longest_body} bytes"))
        except web.HTTPException as error:
            response = _problem(BadRequest(f"{request.method} {request.path}: {error.reason}"), error.status)
        if not response.prepared:
            response.headers.update(self.headers)
        return response

    def same_origin(self, request: web.Request) -> None:
        """Raise :class:`WrongOrigin` unless a request comes from the page itself."""
        if request.headers.get("Origin") not in self.origins:
            raise WrongOrigin("the request comes from another page")

    async def own_object(self, request: web.Request) -> dict[str, Any]:
        """Return the JSON object that the page itself sent; :class:`WrongOrigin`, :class:`BadRequest`."""
        self.same_origin(request)
        if request.content_type != "application/json":
            raise BadRequest("the content type is application/json")
        found = json_object(await request.read())
        if found is None:
            raise BadRequest("a JSON object is wanted")
        return found

    async def _file(self, request: web.Request) -> web.StreamResponse:
        found = self._files.get(request.match_info.get("name", "index.html"))
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found[0], content_type=found[1], charset="utf-8")


def json_object(data: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object in ``data``; None when it holds none."""
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _problem(error: WaveError, status: int | None = None) -> web.Response:
    return web.Response(
        status=status or error.http_status, body=encode(error.problem()), content_type="application/problem+json"
    )
