"""The guard before a gRPC server: ``grpc.aio.server(interceptors=[WaveInterceptor(guard, "models.example:443")])``.

A call is a request like any other: ``POST`` to ``/package.Service/Method``, its serialized message the body, and what
signs it in the metadata. A handler finds who asks with :func:`caller`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NoReturn

import grpc

from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import NotMapped, WaveError
from wave.guard.guard import Caller, Guard
from wave.guard.shown import whole
from wave.guard.signature import PROOF_HEADER, HttpRequest, sign

CARRIED: Final = ("content-digest", PROOF_HEADER, "signature", "signature-input")
_LIFETIME: Final = 60  # seconds for which a call is valid
_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

_caller: ContextVar[Caller | None] = ContextVar("wave_caller", default=None)


def caller() -> Caller | None:
    """Return who made the call that is being handled; None for what anybody may ask."""
    return _caller.get()


def signed_metadata(
    secret: EntitySecret, proof: Proof, authority: str, method: str, message: bytes, *, created: int, nonce: bytes
) -> list[tuple[str, str]]:
    """Return the metadata that sign one call of ``method`` (``/package.Service/Method``) as ``secret``.

    ``message`` is the request as it is sent, ``authority`` the server's name, ``created`` in UTC seconds, ``nonce`` 16
    bytes never used before.
    """
    request = HttpRequest("POST", "http", authority, method, "", {PROOF_HEADER: whole(proof)}, message)
    made = sign(secret, request, created=created, expires=created + _LIFETIME, nonce=nonce)
    return [(PROOF_HEADER, whole(proof)), *[(name.lower(), value) for name, value in made.items()]]


class WaveInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc] # it ships no types
    """Lets calls through when a guard does, and parts of an answer while the right holds.

    Streams of requests are refused: no signature covers what has not been said yet. The refusal's problem details
    travel in the trailing metadata ``wave-problem-bin``.
    """

    def __init__(self, guard: Guard, authority: str) -> None:
        """Stand before a server that clients name ``authority``, which is one of the guard's."""
        self._guard = guard
        self._authority = authority

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Return the handler that asks the guard first."""
        handler = await continuation(details)
        if handler is None:
            handler = grpc.unary_unary_rpc_method_handler(_nothing)
        head = self._head(details)
        if handler.request_streaming:
            return _refusing(handler)
        read = handler.request_deserializer

        def keep(data: bytes) -> tuple[bytes, Any]:
            return data, data if read is None else read(data)

        if handler.response_streaming:

            async def stream(given: tuple[bytes, Any], context: Any) -> AsyncIterator[Any]:
                found = await self._enter(head._replace(body=given[0]), context)
                async for part in handler.unary_stream(given[1], context):
                    if found is not None:
                        await self._still(found, context)
                    yield part

            return grpc.unary_stream_rpc_method_handler(stream, keep, handler.response_serializer)

        async def one(given: tuple[bytes, Any], context: Any) -> Any:
            await self._enter(head._replace(body=given[0]), context)
            return await handler.unary_unary(given[1], context)

        return grpc.unary_unary_rpc_method_handler(one, keep, handler.response_serializer)

    def _head(self, details: Any) -> HttpRequest:
        headers: dict[str, str] = {}
        for name, value in details.invocation_metadata or ():
            if name in CARRIED and isinstance(value, str):
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return HttpRequest("POST", "http", self._authority, details.method, "", headers)

    async def _enter(self, request: HttpRequest, context: Any) -> Caller | None:
        try:
            found = await self._guard.enter(request)
        except WaveError as error:
            await _abort(context, error)
        _caller.set(found)
        return found

    async def _still(self, found: Caller, context: Any) -> None:
        try:
            await self._guard.still(found)
        except WaveError as error:
            await _abort(context, error)


async def _nothing(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")


def _refusing(handler: Any) -> Any:
    """Return a handler of the same kind that refuses."""

    async def refuse(_: Any, context: Any) -> None:
        await _abort(context, NotMapped("a stream of requests cannot be signed as a whole"))

    if handler.response_streaming:

        async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
            await refuse(requests, context)
            yield None

        return grpc.stream_stream_rpc_method_handler(stream)
    return grpc.stream_unary_rpc_method_handler(refuse)


async def _abort(context: Any, error: WaveError) -> NoReturn:
    import json

    code = _CODES.get(error.http_status, grpc.StatusCode.PERMISSION_DENIED)
    problem = json.dumps(error.problem()).encode("ascii")
    await context.abort(code, f"{error.message} ({error.code})", (("wave-problem-bin", problem),))
    raise AssertionError("a call goes on after it was refused")
