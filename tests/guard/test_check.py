"""The checker: a route, method or handle that answers without a proof is found."""

from typing import Any

from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.guard.gate import Gate
from wave.guard.aiohttp import middleware
from wave.guard.asgi import WaveMiddleware
from wave.guard.check import METHODS, open_aiohttp_routes, open_routes, unguarded_methods
from wave.guard.decorator import guarded


async def answer(_: Request) -> Response:
    return PlainTextResponse("ok")


async def refusing(_: Request) -> Response:
    return PlainTextResponse("not for you", 403)


async def talk(socket: WebSocket) -> None:
    await socket.accept()


ROUTES = [
    Route("/models/{model}/infer", answer, methods=["POST"]),
    Route("/models/{number:int}", answer),
    Route("/own", refusing),
    Mount("/sub", routes=[Route("/deep", answer)]),
    WebSocketRoute("/feed", talk),
    Route("/healthz", answer),
]


async def test_an_application_behind_a_guard_has_no_open_route() -> None:
    guard = Gate().guard
    assert await open_routes(WaveMiddleware(Starlette(routes=ROUTES), guard), public=["/healthz"]) == []
    inside = Starlette(routes=ROUTES, middleware=[Middleware(WaveMiddleware, guard=guard)])
    assert await open_routes(inside, public=["/healthz"]) == []
    assert await open_routes(WaveMiddleware(Starlette(routes=ROUTES), guard)) == ["GET /healthz"]


async def test_every_open_route_and_method_is_found() -> None:
    found = await open_routes(Starlette(routes=ROUTES))
    assert {
        "POST /models/x/infer",
        "GET /models/1",
        "HEAD /models/1",
        "GET /own",
        "GET /sub/deep",
        "WEBSOCKET /feed",
        "GET /no/such/route",
    } <= set(found)
    assert len(found) == len(METHODS) * 6 + 1


async def test_a_route_beside_the_guard_is_found() -> None:
    guarded_app = WaveMiddleware(Starlette(routes=ROUTES[:2]), Gate().guard)
    api = FastAPI()
    api.mount("/v2", guarded_app)
    api.get("/admin")(lambda: "open")
    found = await open_routes(api)
    assert "GET /admin" in found
    assert "GET /docs" in found
    assert "GET /openapi.json" in found
    assert [one for one in found if "/v2/" in one] == []
    assert await open_routes(WaveMiddleware(api, Gate().guard)) == []


async def test_an_aiohttp_application_is_walked_as_well() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    def app(**settings: Any) -> web.Application:
        made = web.Application(**settings)
        made.router.add_post("/models/{model}/infer", handler)
        made.router.add_get("/healthz", handler)
        below = web.Application()
        below.router.add_get("/deep", handler)
        made.add_subapp("/sub/", below)
        return made

    guard = Gate().guard
    assert await open_aiohttp_routes(app(middlewares=[middleware(guard)]), public=["/healthz"]) == []
    found = await open_aiohttp_routes(app())
    assert {"POST /models/x/infer", "GET /healthz", "GET /sub/deep", "GET /no/such/route"} <= set(found)


def test_methods_that_a_handle_can_call_without_a_ticket_are_found() -> None:
    guard = Gate().guard

    class Model:
        @guarded(guard, permission="predict", resource="models/{model}")
        async def predict(self, model: str) -> str:
            return model

        @guarded(guard, permission="admin", resource="models")
        def __call__(self) -> None: ...

        def reload(self) -> None: ...

        def _inside(self) -> None: ...

    class Closed:
        @guarded(guard, permission="predict", resource="x")
        async def predict(self) -> None: ...

    assert unguarded_methods(Model) == ["reload"]
    assert unguarded_methods(Closed) == []


async def test_a_method_is_guarded_like_a_function() -> None:
    from tests.guard.test_decorator import ticket

    gate = Gate()

    class Model:
        @guarded(gate.guard, permission="predict", resource="models/{model}")
        async def predict(self, model: str) -> tuple[type, str]:
            return type(self), model

    assert await Model().predict(ticket(gate, Model.predict, "alpha"), "alpha") == (Model, "alpha")
