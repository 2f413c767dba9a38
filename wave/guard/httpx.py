"""Signed requests with httpx: ``httpx.Client(auth=WaveAuth(secret, proof))``, and the same for ``AsyncClient``."""

import inspect
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Final

import httpx

from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import BadSetting
from wave.guard.provers import AsyncProver, Prover
from wave.guard.signature import CARRIED, HttpRequest
from wave.guard.signer import Challenge, Conversation, Heard, Signer

_REFUSALS: Final = (401, 403)


class WaveAuth(httpx.Auth):
    """Signs each request as ``secret``, or gives it a session's MAC, and shows a proof.

    ``proof`` is the proof itself, or what is asked for one when a service says what it wants (a
    :mod:`wave.guard.provers`; one that has to be awaited is good for ``AsyncClient`` alone).
    """

    def __init__(
        self,
        secret: EntitySecret,
        proof: Proof | Prover | AsyncProver,
        *,
        sessions: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Act as ``secret``."""
        fixed = proof if isinstance(proof, Proof) else None
        self._prover = None if isinstance(proof, Proof) else proof
        self._signer = Signer(secret, fixed, sessions=sessions, clock=clock)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Drive the conversation for ``httpx.Client``."""
        request.read()
        conversation = self._signer.converse(_plain(request))
        step: HttpRequest | Challenge | None = next(conversation)
        while step is not None:
            if isinstance(step, Challenge):
                found = None if self._prover is None else self._prover(step)
                if inspect.isawaitable(found):
                    raise BadSetting("this source of proofs has to be awaited", hint="use it with httpx.AsyncClient")
                step = _next(conversation, found)
            else:
                response = yield _outgoing(request, step)
                if response.status_code in _REFUSALS or _is_other(request, step):
                    response.read()
                step = _next(conversation, _heard(response))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Drive the conversation for ``httpx.AsyncClient``."""
        await request.aread()
        conversation = self._signer.converse(_plain(request))
        step: HttpRequest | Challenge | None = next(conversation)
        while step is not None:
            if isinstance(step, Challenge):
                found = None if self._prover is None else self._prover(step)
                step = _next(conversation, await found if inspect.isawaitable(found) else found)
            else:
                response = yield _outgoing(request, step)
                if response.status_code in _REFUSALS or _is_other(request, step):
                    await response.aread()
                step = _next(conversation, _heard(response))


def _next(conversation: Conversation, answer: Heard | Proof | None) -> HttpRequest | Challenge | None:
    try:
        return conversation.send(answer)
    except StopIteration:
        return None


def _plain(request: httpx.Request) -> HttpRequest:
    path, mark, query = request.url.raw_path.decode("ascii").partition("?")
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() not in CARRIED}
    host = request.headers["host"]
    return HttpRequest(request.method, request.url.scheme, host, path, mark + query, headers, request.content)


def _is_other(request: httpx.Request, step: HttpRequest) -> bool:
    """Tell whether a step is a handshake, not the request itself."""
    return (step.method, step.path) != (request.method, request.url.raw_path.decode("ascii").partition("?")[0])


def _outgoing(request: httpx.Request, step: HttpRequest) -> httpx.Request:
    if _is_other(request, step):
        url = request.url.copy_with(raw_path=step.path.encode("ascii"))
        headers = {**step.headers, "host": step.authority}
        return httpx.Request(step.method, url, headers=headers, content=step.body, extensions=request.extensions)
    for name in CARRIED:
        request.headers.pop(name, None)
        if name in step.headers:
            request.headers[name] = step.headers[name]
    return request


def _heard(response: httpx.Response) -> Heard:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Heard(response.status_code, headers, response.content if response.is_stream_consumed else b"")
