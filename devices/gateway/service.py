"""The gateway's two HTTP applications, each behind its guard: questions at one port, administration at another."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from devices.gateway import admin, clipper, openinference
from devices.gateway.admin import Admin
from devices.gateway.answers import told
from devices.gateway.app import Engine
from devices.gateway.clipper import Clipper
from devices.gateway.model import package_bytes
from devices.gateway.openinference import OpenInference
from devices.gateway.origins import allowing
from wave.guard.aiohttp import middleware
from wave.guard.guard import Guard
from wave.guard.rules import Rules
from wave.limits import LIMITS


def query_rules() -> Rules:
    """Return what questions need."""
    return Rules([*openinference.RULES, *clipper.RULES], public=openinference.PUBLIC)


def admin_rules() -> Rules:
    """Return what changes need."""
    return Rules(admin.RULES)


def query_app(engine: Engine, guard: Guard | None, *, origins: Sequence[str] = ()) -> web.Application:
    """Return what answers questions: Clipper's contract and the Open Inference Protocol. None guards nothing.

    ``origins`` are those of the web pages that may ask from a browser.
    """
    app = _app(guard, LIMITS.http_body_bytes, origins)
    OpenInference(engine).add_to(app.router)
    Clipper(engine, guard).add_to(app.router)
    return app


def admin_app(engine: Engine, guard: Guard | None) -> web.Application:
    """Return the admin API; its guard is to take bodies of :func:`package_bytes`. None guards nothing."""
    app = _app(guard, package_bytes())
    Admin(engine, guard).add_to(app.router)
    return app


def _app(guard: Guard | None, body_bytes: int, origins: Sequence[str] = ()) -> web.Application:
    middlewares: Sequence[Middleware] = [told] if guard is None else [middleware(guard), told]
    if origins:
        middlewares = [allowing(origins), *middlewares]
    return web.Application(middlewares=middlewares, client_max_size=body_bytes)
