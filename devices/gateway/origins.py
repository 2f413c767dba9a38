"""Which web pages may ask the gateway from a browser (CORS): those of the origins named. What they may is the guard's.

Nothing is allowed by a wildcard and no cookie counts; a page signs its requests with a key of its own.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from devices.gateway.answers import MODELS_HEADER
from devices.origin import check_origin
from wave.guard.signature import CARRIED

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PREFLIGHT: Final = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(("content-type", *CARRIED)),
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
    hdrs.CACHE_CONTROL: "no-store",
}
_READABLE: Final = f"{hdrs.WWW_AUTHENTICATE}, {MODELS_HEADER}"


def allowing(origins: Iterable[str]) -> Middleware:
    """Return the middleware that lets pages of these origins read what the gateway answers, refusals too.

    It answers their preflights by itself, whatever the path: those say what a page may send, and nothing of what is
    here. All else goes on to the guard.
    """
    known = frozenset(map(check_origin, origins))

    def mark(response: web.StreamResponse, origin: str) -> None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if origin in known:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _READABLE

    @web.middleware
    async def allowed(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN, "")
        asks_first = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        try:
            preflight = asks_first and origin in known
            response = web.Response(status=204, headers=_PREFLIGHT) if preflight else await handler(request)
        except web.HTTPException as error:
            mark(error, origin)
            raise
        mark(response, origin)
        return response

    return allowed
