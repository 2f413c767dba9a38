"""The guard before a gRPC server, and what signs a client's calls.

``grpc.aio.server(interceptors=[WaveInterceptor(guard, "models.example:443")])``, or for a server of threads
``grpc.server(pool, interceptors=[BlockingInterceptor(BlockingGuard(guard), "models.example:443")])``, asked over
``grpc.intercept_channel(channel, SigningInterceptor(secret, proof, "models.example:443"))``.

A call is a request like any other: ``POST`` to ``/package.Service/Method``, its serialized message the body, and what
signs it in the metadata. A handler finds who asks with :func:`caller`.
"""

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import grpc

from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import BadPayload, NotMapped, WaveError, from_problem
from wave.guard.blocking import BlockingGuard
from wave.guard.guard import Caller, Guard
from wave.guard.shown import whole
from wave.guard.signature import CARRIED, NONCE_BYTES, PROOF_HEADER, HttpRequest, sign

PROBLEM_KEY: Final = "wave-problem-bin"
_LIFETIME: Final = 60  # seconds for which a call is valid
_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

Metadata: TypeAlias = list[tuple[str, str]]

_caller: ContextVar[Caller | None] = ContextVar("wave_caller", default=None)


def caller() -> Caller | None:
    """Return who made the call that is being handled; None for what anybody may ask."""
    return _caller.get()


# Before a server ---------------------------------------------------------------------------------------------------


class WaveInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc] # it ships no types
    """Lets calls through when a guard does, and parts of an answer while the right holds.

    Streams of requests are refused: no signature covers what has not been said yet. The refusal's problem details
    travel in the trailing metadata ``wave-problem-bin``. A message is parsed when its sender was let through.
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
        if handler.request_streaming:
            return _refusing(handler)
        head = _head(self._authority, details)

        async def stream(data: bytes, context: Any) -> AsyncIterator[Any]:
            found = await self._enter(head._replace(body=data), context)
            async for part in handler.unary_stream(await _message(handler, data, context), context):
                if found is not None:
                    await self._still(found, context)
                yield part

        async def one(data: bytes, context: Any) -> Any:
            await self._enter(head._replace(body=data), context)
            return await handler.unary_unary(await _message(handler, data, context), context)

        return _wrapped(handler, stream if handler.response_streaming else one)

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


class BlockingInterceptor(grpc.ServerInterceptor):  # type: ignore[misc] # it ships no types
    """The same before a server whose handlers are plain functions, each call in a thread of the server's pool."""

    def __init__(self, guard: BlockingGuard, authority: str) -> None:
        """Stand before a server that clients name ``authority``, which is one of the guard's."""
        self._guard = guard
        self._authority = authority

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Return the handler that asks the guard first."""
        handler = continuation(details)
        if handler is None:
            handler = grpc.unary_unary_rpc_method_handler(_nothing_blocking)
        if handler.request_streaming:
            return _refusing_blocking(handler)
        head = _head(self._authority, details)

        def stream(data: bytes, context: Any) -> Iterator[Any]:
            found = self._enter(head._replace(body=data), context)
            for part in handler.unary_stream(_message_blocking(handler, data, context), context):
                if found is not None:
                    self._still(found, context)
                yield part

        def one(data: bytes, context: Any) -> Any:
            self._enter(head._replace(body=data), context)
            return handler.unary_unary(_message_blocking(handler, data, context), context)

        return _wrapped(handler, stream if handler.response_streaming else one)

    def _enter(self, request: HttpRequest, context: Any) -> Caller | None:
        try:
            found = self._guard.enter(request)
        except WaveError as error:
            _abort_blocking(context, error)
        _caller.set(found)  # each call runs in a context of its own
        return found

    def _still(self, found: Caller, context: Any) -> None:
        try:
            self._guard.still(found)
        except WaveError as error:
            _abort_blocking(context, error)


def _head(authority: str, details: Any) -> HttpRequest:
    """Return a call without its message, as a guard sees it."""
    headers: dict[str, str] = {}
    for name, value in details.invocation_metadata or ():
        if name in CARRIED and isinstance(value, str):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return HttpRequest("POST", "http", authority, details.method, "", headers)


def _wrapped(handler: Any, behaviour: Callable[..., Any]) -> Any:
    """Return a handler of the same kind that is given messages as bytes."""
    kind = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return kind(behaviour, None, handler.response_serializer)


def _parsed(handler: Any, data: bytes) -> Any:
    """Return the message in ``data``; :class:`BadPayload`."""
    read = handler.request_deserializer
    if read is None:
        return data
    try:
        return read(data)
    except Exception as error:  # whatever a deserializer raises of what it cannot read
        raise BadPayload("the call's message cannot be read") from error


def _refusal(error: WaveError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return status, words and trailing metadata that tell a refusal."""
    code = _CODES.get(error.http_status, grpc.StatusCode.PERMISSION_DENIED)
    problem = json.dumps(error.problem()).encode("ascii")
    return code, f"{error.message} ({error.code})", ((PROBLEM_KEY, problem),)


def _streamed() -> NotMapped:
    return NotMapped("a stream of requests cannot be signed as a whole")


# Both forms of what ends a call: gRPC gives each kind of server a context of its own -------------------------------


async def _message(handler: Any, data: bytes, context: Any) -> Any:
    try:
        return _parsed(handler, data)
    except BadPayload as error:
        await _abort(context, error)


async def _nothing(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")


def _refusing(handler: Any) -> Any:
    """Return a handler of the same kind that refuses."""

    async def refuse(_: Any, context: Any) -> None:
        await _abort(context, _streamed())

    if handler.response_streaming:

        async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
            await refuse(requests, context)
            yield None

        return grpc.stream_stream_rpc_method_handler(stream)
    return grpc.stream_unary_rpc_method_handler(refuse)


async def _abort(context: Any, error: WaveError) -> NoReturn:
    await context.abort(*_refusal(error))
    raise AssertionError("a call goes on after it was refused")


def _message_blocking(handler: Any, data: bytes, context: Any) -> Any:
    try:
        return _parsed(handler, data)
    except BadPayload as error:
        _abort_blocking(context, error)


def _nothing_blocking(_: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")


def _refusing_blocking(handler: Any) -> Any:
    """Return a handler of the same kind that refuses."""

    def refuse(_: Any, context: Any) -> Any:
        _abort_blocking(context, _streamed())

    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    return grpc.stream_unary_rpc_method_handler(refuse)


def _abort_blocking(context: Any, error: WaveError) -> NoReturn:
    code, words, metadata = _refusal(error)
    context.set_trailing_metadata(metadata)
    context.abort(code, words)
    raise AssertionError("a call goes on after it was refused")


# A client's side ---------------------------------------------------------------------------------------------------


def signed_metadata(
    secret: EntitySecret, proof: Proof, authority: str, method: str, message: bytes, *, created: int, nonce: bytes
) -> Metadata:
    """Return the metadata that sign one call of ``method`` (``/package.Service/Method``) as ``secret``.

    ``message`` is the request as it is sent, ``authority`` the server's name, ``created`` in UTC seconds, ``nonce`` 16
    bytes never used before.
    """
    request = HttpRequest("POST", "http", authority, method, "", {PROOF_HEADER: whole(proof)}, message)
    made = sign(secret, request, created=created, expires=created + _LIFETIME, nonce=nonce)
    return [(PROOF_HEADER, whole(proof)), *[(name.lower(), value) for name, value in made.items()]]


class _Details(NamedTuple):
    """A call's details, as gRPC asks for them."""

    method: str
    timeout: float | None
    metadata: Metadata
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class SigningInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Signs each call of a channel, with its message, as ``secret``, and shows ``proof``.

    A stream of requests goes out unsigned, and a guard refuses it. A refusal is a ``grpc.RpcError``; :func:`refusal_of`
    says why.
    """

    def __init__(
        self,
        secret: EntitySecret,
        proof: Proof,
        authority: str,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Call the server that its guard knows as ``authority``."""
        self._secret = secret
        self._proof = proof
        self._authority = authority
        self._clock = clock
        self._draw = draw

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        """Sign a call with one answer."""
        return continuation(self._signed(details, request), request)

    def intercept_unary_stream(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        """Sign a call that is answered in parts."""
        return continuation(self._signed(details, request), request)

    def _signed(self, details: Any, request: Any) -> _Details:
        # gRPC serializes the message again when it sends it: the same bytes, as nobody alters it in between.
        message: bytes = request if isinstance(request, bytes) else request.SerializeToString()
        created, nonce = int(self._clock()), self._draw(NONCE_BYTES)
        signature = signed_metadata(
            self._secret, self._proof, self._authority, details.method, message, created=created, nonce=nonce
        )
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), *signature],
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )


def refusal_of(error: Any) -> WaveError | None:
    """Return the error with which a guard refused a call, given the ``grpc.RpcError``; None if none did."""
    for name, value in error.trailing_metadata() or ():
        if name == PROBLEM_KEY:
            try:
                details = json.loads(value)
            except ValueError:
                return None
            return from_problem(details) if isinstance(details, dict) else None
    return None
