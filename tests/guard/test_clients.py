"""Clients and servers together: httpx and aiohttp, against ASGI in memory and aiohttp on loopback."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import BaseTestServer, TestServer
from aiohttp.typedefs import Middleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.guard.gate import HOST, INFER, Gate
from tests.ports import free_port
from wave.codec import id_text
from wave.dots.proof import Proof
from wave.errors import BadSetting, NotMapped, Revoked, StateUnwritable
from wave.guard.aiohttp import CALLER, Handler, middleware
from wave.guard.asgi import WaveMiddleware
from wave.guard.client import signing
from wave.guard.httpx import WaveAuth
from wave.guard.session import SESSION_PATH
from wave.guard.signer import Challenge
from wave.limits import LIMITS

URL = f"http://{HOST}{INFER}"


# ASGI with httpx ---------------------------------------------------------------------------------------------------


async def infer(request: Request) -> JSONResponse:
    body, caller = await request.body(), request.scope["wave"]
    return JSONResponse({"who": caller and caller.id, "body": body.decode()})


async def healthz(request: Request) -> JSONResponse:
    assert request.scope["wave"] is None
    return JSONResponse({})


async def feed(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(f"you said {await socket.receive_text()}")
    except WebSocketDisconnect:
        pass


def asgi(gate: Gate) -> WaveMiddleware:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        gate.world.revoke(gate.path[0])
        yield b"two"

    async def model(request: Request) -> StreamingResponse:
        assert request.scope["wave"]
        return StreamingResponse(parts())

    routes = [
        Route("/models/{model}/infer", infer, methods=["POST"]),
        Route("/models/{model}", model),
        Route("/healthz", healthz),
        WebSocketRoute("/feed", feed),
    ]
    return WaveMiddleware(Starlette(routes=routes), gate.guard)


def client(gate: Gate, auth: httpx.Auth | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(asgi(gate)), auth=auth)


def bob(gate: Gate, proof: Any = None, **settings: Any) -> WaveAuth:
    given = gate.proof if proof is None else proof
    return WaveAuth(gate.world.entity("bob"), given, clock=lambda: gate.world.now, **settings)


@pytest.mark.parametrize("sessions", [True, False])
async def test_an_application_reads_the_body_and_who_asks(*, sessions: bool) -> None:
    gate = Gate()
    async with client(gate, bob(gate, sessions=sessions)) as http:
        for text in ("first", "second", "third"):
            answer = await http.post(URL, content=text, params={"n": "1 2", "m": "é"})
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"who": gate.entries[-1]["sender"], "body": text}
    assert len(gate.guard.sessions) == sessions
    assert all(entry["code"] == "ok" for entry in gate.entries)


async def test_a_request_without_a_signature_gets_a_challenge_and_the_application_none_of_it() -> None:
    async with client(Gate(), None) as http:
        answer = await http.post(URL, content=b"x")
        assert (answer.status_code, answer.json()["code"]) == (401, "http.not_signed")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("WAVE ")
        assert (await http.get(f"http://{HOST}/healthz")).status_code == 200
        assert (await http.get(f"http://{HOST}/nowhere")).json()["code"] == "guard.not_mapped"


async def test_a_body_is_taken_up_to_its_bound() -> None:
    gate = Gate(body_bytes=10)

    async def parts(number: int) -> AsyncIterator[bytes]:
        for _ in range(number):
            yield b"x"

    async with client(gate, bob(gate, sessions=False)) as http:
        assert (await http.post(URL, content=bytes(10))).status_code == 200
        assert (await http.post(URL, content=bytes(11))).json()["code"] == "http.body_too_large"
        assert (await http.post(URL, content=parts(10))).status_code == 200
        assert (await http.post(URL, content=parts(11))).status_code == 413


@pytest.mark.parametrize(
    ("sent", "read"), [(INFER, "/models/beta/infer"), ("/models/%61lpha/infer", "/models/%61lpha/infer")]
)
async def test_a_path_that_the_application_reads_otherwise_is_refused(sent: str, read: str) -> None:
    gate = Gate()
    app = asgi(gate)

    async def rewriting(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "path": read, "raw_path": sent.encode()}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(rewriting), auth=bob(gate, sessions=False)) as http:
        assert (await http.post(f"http://{HOST}{sent}")).json()["code"] == "guard.not_mapped"


def counted(gate: Gate) -> list[bool]:
    """Have it written down of each request of a session whether it was let through by comparing alone."""
    known, found = gate.guard.again, []

    async def again(*given: Any) -> Any:
        caller = await known(*given)
        found.append(caller is not None)
        return caller

    gate.guard.again = again  # type: ignore[assignment, method-assign]
    return found


async def test_what_is_like_a_request_that_was_let_through_is_compared_and_no_more() -> None:
    gate = Gate(record=None)
    compared, app, change = counted(gate), asgi(gate), dict[str, Any]()

    async def changing(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, **change}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(changing), auth=bob(gate)) as http:
        for text in ("first", "second", "third"):
            answer = await http.post(URL, content=text)
            assert answer.json() == {"who": id_text(gate.world.id("bob")), "body": text}
        assert compared == [False, True, True]
        assert (await http.post(URL, content=b"x", params={"n": "1"})).status_code == 200
        assert (await http.post(URL, content=b"x", headers=[("x", "1"), ("x", "2")])).status_code == 200
        assert compared == [False, True, True, False]
        for rewritten in ({"path": "/models/beta/infer"}, {"raw_path": b"/models/beta/infer"}):
            change |= rewritten
            assert (await http.post(URL, content=b"x")).json()["code"] == "guard.not_mapped"
            change.clear()
        change["query_string"] = b"n=2"
        assert (await http.post(URL, content=b"x")).json()["code"] == "signature.bad"
        change |= {"method": "GET", "query_string": b"", "path": "/models/alpha", "raw_path": b"/models/alpha"}
        assert (await http.post(URL, content=b"x")).json()["code"] == "signature.bad"
        change.clear()
        too_long = await http.post(URL, content=bytes(LIMITS.http_body_bytes + 1))
        assert too_long.json()["code"] == "http.body_too_large"
        assert (await http.post(URL, content=b"x")).status_code == 200
        gate.world.revoke(gate.path[1])
        assert (await http.post(URL, content=b"x")).json()["code"] == "dot.revoked"


@pytest.mark.parametrize("dry_run", [True, False])
async def test_without_the_chain_a_session_may_still_do_what_anybody_may(*, dry_run: bool) -> None:
    gate = Gate(record=None)
    async with client(gate, bob(gate)) as http:
        assert [(await http.post(URL, content=b"x")).status_code for _ in range(2)] == [200, 200]
        gate.down, gate.guard.dry_run = True, dry_run
        assert (await http.get(f"http://{HOST}/healthz")).status_code == 200
        assert (await http.post(URL, content=b"x")).status_code == (200 if dry_run else 503)


async def test_aiohttp_without_the_chain_lets_a_session_do_what_anybody_may() -> None:
    gate = Gate()
    async with served(gate, record=None) as server:
        mine = signing(gate.world.entity("bob"), gate.proof, clock=lambda: gate.world.now)
        async with ClientSession(middlewares=[mine]) as http:
            async with http.post(server.make_url(INFER), data=b"x") as answer:
                assert answer.status == 200
            gate.down = True
            async with http.get(server.make_url("/healthz")) as answer:
                assert answer.status == 200
            async with http.post(server.make_url(INFER), data=b"x") as answer:
                assert answer.status == 503


async def test_what_is_refused_on_its_way_to_the_guard_is_noted_too() -> None:
    gate = Gate(body_bytes=10)
    async with client(gate, None) as http:
        answer = await http.post(URL, content=bytes(11))
    assert [(one["code"], one["decision"]) for one in gate.entries] == [
        ("http.body_too_large", answer.json()["decision"])
    ]


async def test_who_cannot_write_down_lets_nobody_in() -> None:
    def full(_: Any) -> None:
        raise StateUnwritable("the disk is full")

    gate = Gate(record=full)
    async with client(gate, bob(gate, sessions=False)) as http:
        answer = await http.post(URL, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (503, "state.unwritable")


async def test_a_long_answer_ends_with_the_right() -> None:
    gate = Gate()
    proof = gate.world.proof(gate.world.chain("home alice ann bob", "list@home/*"))
    gate.path = proof.paths[0]
    async with client(gate, bob(gate, proof, sessions=False)) as http:
        with pytest.raises(Revoked):
            await http.get(f"http://{HOST}/models/alpha")


async def test_a_source_of_proofs_is_asked_for_what_the_service_wants_and_again_when_it_was_revoked() -> None:
    gate = Gate()
    asked: list[Challenge] = []
    proofs = [gate.proof, gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/alpha"))]

    async def prove(challenge: Challenge) -> Proof | None:
        asked.append(challenge)
        return proofs[min(len(asked), 2) - 1]

    async with client(gate, bob(gate, prove)) as http:
        assert (await http.post(URL)).status_code == 200
        assert (await http.post(URL)).status_code == 200
        assert len(asked) == 1
        gate.world.revoke(gate.path[2])
        assert (await http.post(URL)).status_code == 200
        assert [(one.permission, one.resource) for one in asked] == [("predict", "models/alpha")] * 2
        gate.world.revoke(proofs[1].paths[0][0])
        answer = await http.post(URL)
        assert (answer.status_code, answer.json()["code"]) == (403, "dot.revoked")


async def test_who_has_no_proof_gets_the_refusal() -> None:
    gate = Gate()
    async with client(gate, bob(gate, lambda _: None)) as http:
        assert (await http.post(URL)).json()["code"] == "http.not_signed"


class Blocking(httpx.BaseTransport):
    """Lets a blocking client ask an ASGI application."""

    def __init__(self, gate: Gate) -> None:
        self._transport = httpx.ASGITransport(asgi(gate))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            answer = await self._transport.handle_async_request(request)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return asyncio.run(ask())


def test_a_client_that_is_not_asynchronous_signs_as_well() -> None:
    gate = Gate()
    with httpx.Client(transport=Blocking(gate)) as http:
        assert http.post(URL, auth=bob(gate), content=b"x").json()["body"] == "x"
        assert http.post(URL, auth=bob(gate, lambda _: gate.proof), content=b"x").status_code == 200

        with pytest.raises(BadSetting):
            http.post(URL, auth=bob(gate, lambda _: Later()))


class Later:
    """Something that has to be awaited."""

    def __await__(self) -> Iterator[None]:
        yield None


class Socket:
    """The server's side of a websocket, as an ASGI server would drive the application."""

    def __init__(self, gate: Gate, headers: Mapping[str, str], extensions: dict[str, Any] | None = None) -> None:
        self.scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/feed",
            "raw_path": b"/feed",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()],
            "extensions": extensions or {},
        }
        self.given: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.given.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(asgi(gate)(self.scope, self.given.get, self.sent.put))

    async def say(self, text: str) -> Any:
        await self.given.put({"type": "websocket.receive", "text": text})
        return await self.sent.get()


async def test_a_websocket_opens_for_who_may_and_closes_with_the_right() -> None:
    gate = Gate()
    socket = Socket(gate, gate.signed("bob", method="GET", path="/feed", body=b"").headers)
    assert (await socket.sent.get())["type"] == "websocket.accept"
    assert (await socket.say("hello"))["text"] == "you said hello"
    gate.world.revoke(gate.path[1])
    closed = await socket.say("still there?")
    assert closed == {"type": "websocket.close", "code": 1008, "reason": "dot.revoked"}
    await socket.task
    assert socket.sent.empty()


async def test_a_websocket_without_a_signature_is_refused_as_far_as_the_server_can_say_it() -> None:
    plain = Socket(Gate(), {})
    assert await plain.sent.get() == {"type": "websocket.close", "code": 1008}
    talking = Socket(Gate(), {}, {"websocket.http.response": {}})
    start, body = await talking.sent.get(), await talking.sent.get()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert json.loads(body["body"])["code"] == "http.not_signed"
    await asyncio.gather(plain.task, talking.task)


async def test_start_and_end_of_the_application_pass() -> None:
    seen = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        return None

    guarded = WaveMiddleware(app, Gate().guard)
    await guarded({"type": "lifespan"}, nothing, nothing)
    with pytest.raises(NotMapped):
        await guarded({"type": "smtp"}, nothing, nothing)
    assert seen == ["lifespan"]


# Sessions ----------------------------------------------------------------------------------------------------------


async def test_a_session_ends_with_the_grant_and_begins_anew_when_it_is_over() -> None:
    gate = Gate()
    async with client(gate, bob(gate)) as http:
        assert (await http.post(URL)).status_code == 200
        gate.world.pass_time(LIMITS.session_lifetime)
        assert (await http.post(URL)).status_code == 200
        assert len(gate.guard.sessions) == 2
        gate.world.revoke(gate.path[1])
        answer = await http.post(URL)
        assert (answer.status_code, answer.json()["code"]) == (403, "dot.revoked")


async def test_a_session_that_the_service_forgot_is_begun_again() -> None:
    gate = Gate()
    auth = bob(gate)
    async with client(gate, auth) as http:
        assert (await http.post(URL)).status_code == 200
    gate.guard = gate.another()
    async with client(gate, auth) as http:
        assert (await http.post(URL)).status_code == 200
    assert gate.entries[-3]["code"] == "session.unknown"
    assert [entry["code"] for entry in gate.entries[-2:]] == ["ok", "ok"]


async def test_a_request_from_before_a_restart_is_sent_again_with_the_services_own_nonce() -> None:
    gate = Gate()
    auth = WaveAuth(gate.world.entity("bob"), gate.proof, sessions=False, clock=lambda: gate.world.now - 10)
    async with client(gate, auth) as http:
        assert (await http.post(URL)).status_code == 200
    assert [entry["code"] for entry in gate.entries] == ["message.before_restart", "ok"]


async def test_a_proof_too_long_for_a_header_is_shown_when_a_session_begins() -> None:
    gate = Gate()
    walks = [gate.world.chain(f"home friend{n} bob", "predict@home/*") for n in range(20)]
    proof = gate.world.proof(*walks)
    assert len(proof.to_bytes()) > 8192
    async with client(gate, bob(gate, proof, sessions=False)) as http:
        assert (await http.post(URL)).status_code == 200
    assert [(entry["path"], entry["code"]) for entry in gate.entries] == [(SESSION_PATH, "ok"), (INFER, "ok")]


async def test_a_service_that_begins_no_session_gets_signatures() -> None:
    gate = Gate()
    app = asgi(gate)

    async def without(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == SESSION_PATH:
            await JSONResponse({}, 404)(scope, receive, send)
        else:
            await app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(without), auth=bob(gate)) as http:
        assert (await http.post(URL)).status_code == 200
    assert len(gate.guard.sessions) == 0


# aiohttp on both sides ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(gate: Gate, *before: Middleware, **settings: Any) -> AsyncIterator[BaseTestServer]:
    async def answer(request: web.Request) -> web.Response:
        caller = request[CALLER]
        return web.json_response({"who": caller and caller.id, "body": await request.text()})

    async def socket(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(f"you said {message.data}")
        return ws

    port = free_port()
    gate.guard = gate.another(authorities=[f"127.0.0.1:{port}"], **settings)
    app = web.Application(middlewares=[*before, middleware(gate.guard)])
    app.router.add_post("/models/{model}/infer", answer)
    app.router.add_get("/healthz", answer)
    app.router.add_get("/feed", socket)
    async with TestServer(app, port=port) as server:
        yield server


@pytest.mark.parametrize("sessions", [True, False])
async def test_aiohttp_serves_and_asks(*, sessions: bool) -> None:
    gate = Gate()
    async with served(gate) as server:
        mine = signing(gate.world.entity("bob"), gate.proof, sessions=sessions, clock=lambda: gate.world.now)
        async with ClientSession(middlewares=[mine]) as http:
            for text in ("first", "second"):
                async with http.post(server.make_url(INFER), data=text.encode(), params={"q": "a b"}) as answer:
                    assert await answer.json() == {"who": gate.entries[-1]["sender"], "body": text}
            async with http.post(server.make_url(INFER), json={"a": 1}) as answer:
                assert json.loads((await answer.json())["body"]) == {"a": 1}
    assert len(gate.guard.sessions) == sessions


async def test_aiohttp_compares_what_is_like_a_request_that_was_let_through() -> None:
    gate = Gate(record=None)

    @web.middleware
    async def rewriting(request: web.Request, handler: Handler) -> web.StreamResponse:
        to = request.headers.get("x-rewrite")
        return await handler(request if to is None else request.clone(rel_url=to))

    async with served(gate, rewriting, record=None) as server:
        compared = counted(gate)
        mine = signing(gate.world.entity("bob"), gate.proof, clock=lambda: gate.world.now)
        async with ClientSession(middlewares=[mine]) as http:

            async def post(headers: Any = None, **parts: Any) -> Any:
                async with http.post(server.make_url(INFER), data=b"x", headers=headers, **parts) as answer:
                    return await answer.json(content_type=None)

            for _ in range(3):
                assert (await post())["who"] == id_text(gate.world.id("bob"))
            assert compared == [False, True, True]
            assert (await post({"x-rewrite": "/models/beta/infer"}))["code"] == "signature.bad"
            assert (await post({"Host": "elsewhere.example"}))["code"] == "http.authority"
            assert (await post(params={"n": "1"}))["who"]
            gate.world.revoke(gate.path[1])
            assert (await post())["code"] == "dot.revoked"


async def test_aiohttp_refuses_with_a_problem() -> None:
    gate = Gate()
    async with served(gate) as server, ClientSession() as http:
        async with http.post(server.make_url(INFER)) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (401, "http.not_signed")
            assert answer.headers["WWW-Authenticate"].startswith("WAVE ")
        async with http.get(server.make_url("/healthz")) as answer:
            assert (await answer.json())["who"] is None
        for path in ("/", "/nowhere", "/models/alpha/infer/"):
            async with http.get(server.make_url(path)) as answer:
                assert answer.status == 403
        async with http.post(server.make_url(INFER), data=io.BytesIO(bytes(LIMITS.http_body_bytes + 1))) as answer:
            assert answer.status == 413


async def test_aiohttp_asks_a_source_of_proofs() -> None:
    gate = Gate()

    async def prove(challenge: Challenge) -> Proof | None:
        assert challenge.resource == "models/alpha"
        return gate.proof

    async with served(gate) as server:
        mine = signing(gate.world.entity("bob"), prove, clock=lambda: gate.world.now)
        async with ClientSession(middlewares=[mine]) as http, http.post(server.make_url(INFER)) as answer:
            assert answer.status == 200


async def test_a_websocket_of_aiohttps_is_closed_with_the_right() -> None:
    gate = Gate()
    async with served(gate) as server:
        mine = signing(gate.world.entity("bob"), gate.proof, clock=lambda: gate.world.now)
        async with ClientSession(middlewares=[mine]) as http:
            socket = await http.ws_connect(server.make_url("/feed"))
            await socket.send_str("hello")
            assert await socket.receive_str() == "you said hello"
            gate.world.revoke(gate.path[1])
            async with asyncio.timeout(5):
                assert (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)
            with pytest.raises(WSServerHandshakeError):
                await http.ws_connect(server.make_url("/feed"))
