"""gRPC: a call is let through when it is signed, over its very message."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import pytest

from tests.guard.gate import Gate
from wave.guard.grpc import WaveInterceptor, caller, signed_metadata
from wave.guard.rules import Rule, Rules

NUMBERS = count()
SERVICE = "models.Models"
HOST = "models.example:50051"
RULES = Rules(
    [Rule("POST", f"/{SERVICE}/{method}", "predict", "models/alpha") for method in ("Infer", "Watch", "Pour", "Chat")],
    public=[("POST", f"/{SERVICE}/Live")],
)


async def infer(request: bytes, _: Any) -> bytes:
    found = caller()
    return request + b" for " + (found.id.encode() if found else b"anybody")


@asynccontextmanager
async def channel(gate: Gate) -> AsyncIterator[grpc.aio.Channel]:
    async def watch(request: bytes, _: Any) -> AsyncIterator[bytes]:
        yield request
        gate.world.revoke(gate.path[1])
        yield b"never"

    async def pour(requests: AsyncIterator[bytes], _: Any) -> bytes:
        return b"".join([one async for one in requests])

    async def chat(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for one in requests:
            yield one

    handlers = {
        "Infer": grpc.unary_unary_rpc_method_handler(infer),
        "Live": grpc.unary_unary_rpc_method_handler(infer),
        "Unmapped": grpc.unary_unary_rpc_method_handler(infer),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Pour": grpc.stream_unary_rpc_method_handler(pour),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.aio.server(interceptors=[WaveInterceptor(gate.guard, HOST)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


def signed(gate: Gate, method: str, message: bytes, host: str = HOST) -> Any:
    nonce = next(NUMBERS).to_bytes(16)
    bob = gate.world.entity("bob")
    path = f"/{SERVICE}/{method}"
    return signed_metadata(bob, gate.proof, host, path, message, created=gate.world.now, nonce=nonce)


async def refused(call: Callable[[], Awaitable[Any]]) -> tuple[grpc.StatusCode, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call()
    problem = dict(caught.value.trailing_metadata() or ()).get("wave-problem-bin")
    return caught.value.code(), json.loads(problem)["code"] if problem else None


async def test_a_signed_call_is_carried_out_for_its_sender() -> None:
    gate = Gate(rules=RULES, authorities=[HOST])
    async with channel(gate) as opened:
        call = opened.unary_unary(f"/{SERVICE}/Infer")
        found = await call(b"rows", metadata=signed(gate, "Infer", b"rows"))
        assert found == b"rows for " + gate.entries[-1]["sender"].encode()
        assert await opened.unary_unary(f"/{SERVICE}/Live")(b"?") == b"? for anybody"


async def test_a_call_that_is_not_its_senders_own_is_refused() -> None:
    gate = Gate(rules=RULES, authorities=[HOST])
    denied = grpc.StatusCode.PERMISSION_DENIED
    async with channel(gate) as opened:
        call = opened.unary_unary(f"/{SERVICE}/Infer")
        assert await refused(lambda: call(b"rows")) == (grpc.StatusCode.UNAUTHENTICATED, "http.not_signed")
        once = signed(gate, "Infer", b"rows")
        assert await refused(lambda: call(b"other", metadata=once)) == (denied, "http.digest")
        assert await call(b"rows", metadata=once)
        assert await refused(lambda: call(b"rows", metadata=once)) == (denied, "message.replayed")
        other = signed(gate, "Watch", b"rows")
        assert await refused(lambda: call(b"rows", metadata=other)) == (denied, "signature.bad")
        away = signed(gate, "Infer", b"rows", "other.example")
        assert await refused(lambda: call(b"rows", metadata=away)) == (denied, "signature.bad")
        for method in ("Unmapped", "Missing"):
            unmapped = opened.unary_unary(f"/{SERVICE}/{method}")
            made = signed(gate, method, b"")
            assert await refused(lambda made=made, ask=unmapped: ask(b"", metadata=made)) == (  # type: ignore[misc]
                denied,
                "guard.not_mapped",
            )
        gate.down = True
        last = signed(gate, "Infer", b"rows")
        assert (await refused(lambda: call(b"rows", metadata=last)))[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_ends_with_the_right_and_streams_of_requests_are_refused() -> None:
    gate = Gate(rules=RULES, authorities=[HOST])
    async with channel(gate) as opened:
        heard: list[bytes] = []

        async def watch() -> None:
            call = opened.unary_stream(f"/{SERVICE}/Watch")(b"x", metadata=signed(gate, "Watch", b"x"))
            heard.append(await call.read())
            heard.append(await call.read())

        assert await refused(watch) == (grpc.StatusCode.PERMISSION_DENIED, "dot.revoked")
        assert heard == [b"x"]
        for kind, method in ((opened.stream_unary, "Pour"), (opened.stream_stream, "Chat")):

            async def pour(kind: Any = kind, method: str = method) -> None:
                call = kind(f"/{SERVICE}/{method}")(iter([b"x"]), metadata=signed(gate, method, b"x"))
                await (call if method == "Pour" else call.read())

            assert await refused(pour) == (grpc.StatusCode.PERMISSION_DENIED, "guard.not_mapped")
