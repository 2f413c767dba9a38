"""How the gateway's HTTP interfaces say no, and how they ask the guard for a further right."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from wave.errors import NoProof, WaveError
from wave.guard.aiohttp import CALLER
from wave.guard.guard import Guard
from wave.guard.refusal import PROBLEM

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MODELS_HEADER: Final = "Wave-Models"
"""Names the models and versions that an answer comes from."""


def answer(value: Any, **more: str) -> web.Response:
    """Return a JSON answer."""
    headers = {name.replace("_", "-"): text for name, text in more.items()}
    return web.Response(text=json.dumps(value), content_type="application/json", headers=headers)


def problem(error: WaveError) -> web.Response:
    """Return RFC 9457 problem details, which clients of the Open Inference Protocol can read too."""
    told = {**error.problem(), "error": error.message}
    return web.Response(status=error.http_status, text=json.dumps(told), content_type=PROBLEM)


@web.middleware
async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell an error of ours as a problem."""
    try:
        return await handler(request)
    except WaveError as error:
        return problem(error)


async def check_also(request: web.Request, guard: Guard | None, permission: str, resource: str) -> None:
    """Raise unless the caller of a request may also do this; without a guard everybody may."""
    if guard is None:
        return
    caller = request[CALLER]
    if caller is None and not guard.dry_run:
        raise NoProof(f"{permission} on {resource} is asked of somebody unknown")
    if caller is not None:
        await guard.may(caller, permission, resource)
