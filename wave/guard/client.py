"""Signed requests with aiohttp: ``ClientSession(middlewares=[signing(secret, proof)])``."""

import inspect
import time
from collections.abc import Callable
from typing import Final

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, ClientSession, hdrs
from yarl import URL

from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.guard.provers import AsyncProver, Prover
from wave.guard.signature import CARRIED, HttpRequest
from wave.guard.signer import Challenge, Conversation, Heard, Signer

_REFUSALS: Final = (401, 403)


def signing(
    secret: EntitySecret,
    proof: Proof | Prover | AsyncProver,
    *,
    sessions: bool = True,
    clock: Callable[[], float] = time.time,
) -> ClientMiddlewareType:
    """Return the middleware that signs each request as ``secret``, or gives it a session's MAC, and shows a proof.

    ``proof`` is the proof itself, or what is asked for one when a service says what it wants (:mod:`provers`).
    """
    fixed = proof if isinstance(proof, Proof) else None
    prover = None if isinstance(proof, Proof) else proof
    signer = Signer(secret, fixed, sessions=sessions, clock=clock)

    async def middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        plain = await _plain(request)
        conversation = signer.converse(plain)
        step: HttpRequest | Challenge | None = next(conversation)
        response: ClientResponse | None = None
        while step is not None:
            if isinstance(step, Challenge):
                found = None if prover is None else prover(step)
                step = _next(conversation, await found if inspect.isawaitable(found) else found)
            elif (step.method, step.path) != (plain.method, plain.path):
                step = _next(conversation, await _handshake(request.session, request.url, step))
            else:
                for name in CARRIED:
                    request.headers.pop(name, None)
                    if name in step.headers:
                        request.headers[name] = step.headers[name]
                response = await handler(request)
                step = _next(conversation, await _heard(response))
        assert response is not None
        return response

    return middleware


def _next(conversation: Conversation, answer: Heard | Proof | None) -> HttpRequest | Challenge | None:
    try:
        return conversation.send(answer)
    except StopIteration:
        return None


async def _plain(request: ClientRequest) -> HttpRequest:
    body = request.body if isinstance(request.body, bytes) else await request.body.as_bytes()
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() not in CARRIED}
    query = f"?{request.url.raw_query_string}" if request.url.raw_query_string else ""
    host = request.headers[hdrs.HOST]
    return HttpRequest(request.method, request.url.scheme, host, request.url.raw_path, query, headers, body)


async def _handshake(session: ClientSession, url: URL, step: HttpRequest) -> Heard:
    headers = {**step.headers, "Host": step.authority}
    where = url.origin().with_path(step.path)
    async with session.request(step.method, where, data=step.body, headers=headers, middlewares=()) as response:
        return Heard(response.status, _lower(response), await response.read())


async def _heard(response: ClientResponse) -> Heard:
    body = await response.read() if response.status in _REFUSALS else b""
    return Heard(response.status, _lower(response), body)


def _lower(response: ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
