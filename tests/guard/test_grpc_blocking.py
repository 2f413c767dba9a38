"""gRPC with threads on both sides: the same guard, asked from many threads, and a client that signs by itself."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from itertools import count
from typing import Any

import grpc
import pytest

from tests.guard.gate import Gate
from wave.errors import BadSetting, GuardClosed
from wave.guard.blocking import BlockingGuard
from wave.guard.grpc import BlockingInterceptor, SigningInterceptor, caller, refusal_of
from wave.guard.guard import Guard
from wave.guard.rules import Rule, Rules

NUMBERS = count()
SERVICE = "models.Models"
HOST = "models.example:50051"
METHODS = ("Infer", "Read", "Watch", "Pour", "Chat")
RULES = Rules(
    [Rule("POST", f"/{SERVICE}/{method}", "predict", "models/alpha") for method in METHODS],
    public=[("POST", f"/{SERVICE}/Live")],
)
DENIED = grpc.StatusCode.PERMISSION_DENIED


def infer(request: bytes, _: Any) -> bytes:
    found = caller()
    return request + b" for " + (found.id.encode() if found else b"anybody")


@contextmanager
def served(gate: Gate, parsed: list[bytes] | None = None) -> Iterator[tuple[grpc.Channel, BlockingGuard]]:
    """A server of threads behind the gate's guard: a channel to it, and the guard."""

    def read(data: bytes) -> bytes:
        if parsed is not None:
            parsed.append(data)
        return data.decode("ascii").encode()

    def watch(request: bytes, _: Any) -> Iterator[bytes]:
        yield infer(request, _)
        gate.world.revoke(gate.path[1])
        yield b"never"

    def pour(requests: Iterator[bytes], _: Any) -> bytes:
        return b"".join(requests)

    handlers = {
        "Infer": grpc.unary_unary_rpc_method_handler(infer),
        "Live": grpc.unary_unary_rpc_method_handler(infer),
        "Unmapped": grpc.unary_unary_rpc_method_handler(infer),
        "Read": grpc.unary_unary_rpc_method_handler(infer, request_deserializer=read),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Pour": grpc.stream_unary_rpc_method_handler(pour),
        "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
    }
    with BlockingGuard(gate.guard) as guard, ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=[BlockingInterceptor(guard, HOST)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, guard
        server.stop(None).wait()


def bobs(gate: Gate, channel: grpc.Channel, host: str = HOST, **changed: Any) -> grpc.Channel:
    """The channel as bob uses it, or somebody who says other things."""
    said = {"clock": lambda: gate.world.now, "draw": lambda size: next(NUMBERS).to_bytes(size), **changed}
    return grpc.intercept_channel(channel, SigningInterceptor(gate.world.entity("bob"), gate.proof, host, **said))


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    why = refusal_of(caught.value)
    return caught.value.code(), None if why is None else why.code


def blocking_gate() -> Gate:
    return Gate(rules=RULES, authorities=[HOST])


def test_signed_calls_are_carried_out_for_their_sender_from_many_threads() -> None:
    gate = blocking_gate()
    with served(gate) as (channel, _), ThreadPoolExecutor(8) as pool:
        call = bobs(gate, channel).unary_unary(f"/{SERVICE}/Infer")
        answers = list(pool.map(lambda n: call(b"%d" % n), range(40)))
        bob = gate.entries[-1]["sender"].encode()
        assert answers == [b"%d for %s" % (n, bob) for n in range(40)]
        assert channel.unary_unary(f"/{SERVICE}/Live")(b"?") == b"? for anybody"
    assert [entry["code"] for entry in gate.entries] == ["ok"] * 40


def test_a_call_of_a_message_class_is_signed_over_its_bytes() -> None:
    messages = import_module("google.protobuf.struct_pb2")
    gate = blocking_gate()
    asked = messages.Struct()
    asked.update({f"row {n}": n for n in range(50)})
    with served(gate) as (channel, _):
        call = bobs(gate, channel).unary_unary(
            f"/{SERVICE}/Infer", request_serializer=messages.Struct.SerializeToString
        )
        assert call(asked).endswith(gate.entries[-1]["sender"].encode())


def test_a_call_that_is_not_its_senders_own_is_refused_and_its_message_not_read() -> None:
    gate = blocking_gate()
    parsed: list[bytes] = []
    with served(gate, parsed) as (channel, guard):
        path = f"/{SERVICE}/Read"
        assert refused(lambda: channel.unary_unary(path)(b"x")) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "http.not_signed",
        )
        once = bobs(gate, channel, draw=bytes).unary_unary(path)
        assert refused(lambda: bobs(gate, channel, "other.example").unary_unary(path)(b"x")) == (
            DENIED,
            "signature.bad",
        )
        assert parsed == []
        assert once(b"x")
        assert refused(lambda: once(b"x")) == (DENIED, "message.replayed")
        assert parsed == [b"x"]
        assert refused(lambda: bobs(gate, channel).unary_unary(path)(b"\xff")) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "payload.bad",
        )
        for method in ("Unmapped", "Missing"):
            unmapped = bobs(gate, channel).unary_unary(f"/{SERVICE}/{method}")
            assert refused(lambda ask=unmapped: ask(b"")) == (DENIED, "guard.not_mapped")  # type: ignore[misc]
        gate.down = True
        assert refused(lambda: bobs(gate, channel).unary_unary(path)(b"x"))[0] is grpc.StatusCode.UNAVAILABLE
        gate.down = False
        guard.close()
        assert refused(lambda: bobs(gate, channel).unary_unary(path)(b"x")) == (
            grpc.StatusCode.UNAVAILABLE,
            "guard.closed",
        )


def test_a_stream_ends_with_the_right_and_streams_of_requests_are_refused() -> None:
    gate = blocking_gate()
    with served(gate) as (channel, _):
        mine = bobs(gate, channel)
        heard = mine.unary_stream(f"/{SERVICE}/Watch")(b"x")
        assert next(heard) == b"x for " + gate.entries[-1]["sender"].encode()
        assert refused(lambda: next(heard)) == (DENIED, "dot.revoked")
        assert refused(lambda: next(mine.unary_stream(f"/{SERVICE}/Watch")(b"x"))) == (DENIED, "dot.revoked")
        assert refused(lambda: mine.stream_unary(f"/{SERVICE}/Pour")(iter([b"x"]))) == (DENIED, "guard.not_mapped")
        assert refused(lambda: next(mine.stream_stream(f"/{SERVICE}/Chat")(iter([b"x"])))) == (
            DENIED,
            "guard.not_mapped",
        )


def test_what_a_guard_needs_is_opened_and_closed_in_its_thread() -> None:
    gate = blocking_gate()
    told: list[str] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Guard]:
        told.append("open")
        yield gate.guard
        told.append("closed")

    with BlockingGuard(opened()) as guard:
        request = gate.signed(path=f"/{SERVICE}/Infer", host=HOST)
        found = guard.enter(request)
        assert found is not None
        assert guard.still(found).until == found.grant.until
        assert guard.may(found, "subscribe", "models/alpha").until == found.grant.until
    assert told == ["open", "closed"]
    with pytest.raises(GuardClosed):
        guard.enter(gate.signed(path=f"/{SERVICE}/Infer", host=HOST))
    guard.close()


def test_a_guard_that_cannot_be_opened_says_so() -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[Guard]:
        raise BadSetting("no such agent")
        yield

    with pytest.raises(BadSetting):
        BlockingGuard(failing())
