"""For an application's own tests: does anything answer without a proof? Side doors are found by walking every route.

assert await open_routes(app, public=["/healthz"]) == []           # ASGI: Starlette, FastAPI
assert await open_aiohttp_routes(app, public=["/healthz"]) == []   # aiohttp
assert unguarded_methods(Deployment) == []                         # a Ray Serve deployment or actor, asked by handle
"""

import inspect
import json
import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from wave.guard.asgi import App, Message, Scope
from wave.guard.decorator import is_guarded
from wave.guard.refusal import PROBLEM

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_NOWHERE: Final = "/no/such/route"
_REFUSALS: Final = (401, 403)
_BY_KIND: Final = {"int": "1", "float": "1.0", "uuid": "00000000-0000-0000-0000-000000000000"}
_PARAMETER = re.compile(r"\{\w+(?::([^{}]+))?\}")


async def open_routes(app: App, *, public: Collection[str] = ()) -> list[str]:
    """Return ``METHOD /path`` of each route of an ASGI application that answers without a proof, ``public`` ones aside.

    ``app`` is what a server would be given; its routes are found behind the middlewares in it.
    """
    found = []
    routes = [("http", _NOWHERE), *_routes(app)]
    for kind, path in routes:
        if path in public:
            continue
        methods = METHODS if kind == "http" else ("WEBSOCKET",)
        found += [f"{method} {path}" for method in methods if not await _refuses(app, kind, method, path)]
    return found


async def open_aiohttp_routes(app: web.Application, *, public: Collection[str] = ()) -> list[str]:
    """Return ``METHOD /path`` of every route of an aiohttp application that answers without a proof, as above."""
    found = []
    async with TestClient(TestServer(app)) as client:
        resources = [_filled(one.canonical) for one in app.router.resources()]
        nested = [_filled(one.resource.canonical) for one in app.router.routes() if one.resource is not None]
        for path in dict.fromkeys([_NOWHERE, *resources, *nested]):
            for method in METHODS if path not in public else ():
                async with client.request(method, path, allow_redirects=False) as answer:
                    body = b"" if method == "HEAD" else await answer.read()
                    if not _is_refusal(answer.status, answer.content_type, body, head=method == "HEAD"):
                        found.append(f"{method} {path}")
    return found


def unguarded_methods(deployment: type) -> list[str]:
    """Return the names of a class's methods that others can call and that take no ticket.

    ``@serve.ingress`` guards HTTP alone: a handle calls methods directly.
    """
    whole = inspect.unwrap(getattr(deployment, "func_or_class", deployment))
    return [
        name
        for name, method in inspect.getmembers(whole, callable)
        if (name == "__call__" or not name.startswith("_")) and inspect.isroutine(method) and not is_guarded(method)
        if not (name == "__call__" and method.__class__.__name__ == "method-wrapper")
    ]


def _routes(app: Any) -> Iterator[tuple[str, str]]:
    while not hasattr(app, "routes"):
        app = getattr(app, "app", None)
        if app is None:
            raise LookupError("no routes were found behind the application's middlewares")
    yield from _walk(app.routes, "")


def _walk(routes: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for route in routes:
        path = prefix + _filled(getattr(route, "path", ""))
        inner = getattr(route, "routes", None)
        if inner:
            yield from _walk(inner, path)
        elif inner is not None or (hasattr(route, "app") and not hasattr(route, "endpoint")):
            yield "http", f"{path}/x"
        else:
            yield ("http" if hasattr(route, "methods") else "websocket"), path or "/"


def _filled(path: str) -> str:
    """Return a route's path with something that fits in the place of each parameter."""
    return _PARAMETER.sub(lambda found: _BY_KIND.get(found[1] or "", "x"), path)


async def _refuses(app: App, kind: str, method: str, path: str) -> bool:
    """Tell whether a request without a signature is refused by a guard."""
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "extensions": {"websocket.http.response": {}},
    }
    sent: list[Message] = []

    async def receive() -> Message:
        if kind == "websocket":
            return {"type": "websocket.connect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
    except Exception:  # noqa: BLE001 - it got as far as the application
        return False
    start = next((one for one in sent if one["type"].endswith("response.start")), None)
    if start is None:
        return False
    headers = {name.lower(): value for name, value in start["headers"]}
    body = b"".join([one.get("body", b"") for one in sent if one["type"].endswith("response.body")])
    return _is_refusal(start["status"], headers.get(b"content-type", b"").decode("latin-1"), body, head=False)


def _is_refusal(status: int, content_type: str, body: bytes, *, head: bool) -> bool:
    """Tell whether an answer is a guard's refusal, not an application's own."""
    if status not in _REFUSALS or not content_type.startswith(PROBLEM):
        return False
    return head or "decision" in json.loads(body)
