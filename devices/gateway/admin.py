"""The admin API, guarded like everything else: ``admin`` on ``apps/APP`` and ``models/MODEL`` of the namespace.

Whoever links a model to an application lets those who may ask the one have answers of the other: it takes both rights.
"""

from typing import Any, Final

from aiohttp import web

from devices.gateway.answers import answer, check_also
from devices.gateway.app import Engine, Model, Terms
from devices.gateway.inputs import read_object
from devices.gateway.model import ADMIN, check_version, resource_of, unpacked
from wave.codec import id_text
from wave.errors import BadQuery
from wave.guard.guard import Guard
from wave.guard.rules import Rule

_APPS: Final = "/admin/v1/apps"
_APP: Final = "/admin/v1/apps/{app}"
_LINK: Final = "/admin/v1/apps/{app}/models/{model}"
_MODELS: Final = "/admin/v1/models"
_MODEL: Final = "/admin/v1/models/{model}"
_VERSION: Final = "/admin/v1/models/{model}/versions/{version}"
RULES: Final = (
    Rule("GET", _APPS, ADMIN, "apps"),
    *(Rule(method, _APP, ADMIN, "apps/{app}") for method in ("GET", "PUT", "DELETE")),
    *(Rule(method, _LINK, ADMIN, "apps/{app}") for method in ("PUT", "DELETE")),
    Rule("GET", _MODELS, ADMIN, "models"),
    Rule("GET", _MODEL, ADMIN, "models/{model}"),
    *(Rule(method, _VERSION, ADMIN, "models/{model}") for method in ("PUT", "DELETE")),
    Rule("POST", f"{_MODEL}/current", ADMIN, "models/{model}"),
    Rule("POST", f"{_MODEL}/replicas", ADMIN, "models/{model}"),
)


class Admin:
    """The admin API's routes, over an engine."""

    def __init__(self, engine: Engine, guard: Guard | None) -> None:
        """Change what ``engine`` serves; ``guard`` stands before, and is asked for the right to a linked model."""
        self._engine = engine
        self._guard = guard

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get(_APPS, self.apps, allow_head=False)
        router.add_get(_APP, self.app, allow_head=False)
        router.add_put(_APP, self.register)
        router.add_delete(_APP, self.remove)
        router.add_put(_LINK, self.link)
        router.add_delete(_LINK, self.unlink)
        router.add_get(_MODELS, self.models, allow_head=False)
        router.add_get(_MODEL, self.model, allow_head=False)
        router.add_put(_VERSION, self.deploy)
        router.add_delete(_VERSION, self.forget)
        router.add_post(f"{_MODEL}/current", self.use)
        router.add_post(f"{_MODEL}/replicas", self.scale)

    async def apps(self, _: web.Request) -> web.Response:
        """List the applications."""
        return answer({"applications": [self._app(name) for name in sorted(self._engine.applications)]})

    async def app(self, request: web.Request) -> web.Response:
        """Show an application."""
        return answer(self._app(request.match_info["app"]))

    async def register(self, request: web.Request) -> web.Response:
        """Serve an application, or change its terms."""
        name = request.match_info["app"]
        self._engine.register(name, Terms.parse(read_object(await request.read())))
        return answer(self._app(name))

    async def remove(self, request: web.Request) -> web.Response:
        """Serve an application no more."""
        self._engine.remove(request.match_info["app"])
        return answer({})

    async def link(self, request: web.Request) -> web.Response:
        """Let an application use a model."""
        name, model = request.match_info["app"], request.match_info["model"]
        await check_also(request, self._guard, ADMIN, resource_of(model))
        self._engine.link(name, model)
        return answer(self._app(name))

    async def unlink(self, request: web.Request) -> web.Response:
        """Let an application use a model no more."""
        name = request.match_info["app"]
        self._engine.unlink(name, request.match_info["model"])
        return answer(self._app(name))

    async def models(self, _: web.Request) -> web.Response:
        """List the models."""
        return answer({"models": [_told(model) for _, model in sorted(self._engine.models.items())]})

    async def model(self, request: web.Request) -> web.Response:
        """Show a model."""
        return answer(_told(self._engine.model(request.match_info["model"])))

    async def deploy(self, request: web.Request) -> web.Response:
        """Take a signed version and let it answer."""
        name, version = request.match_info["model"], check_version(request.match_info["version"])
        await self._engine.deploy(*unpacked(await request.read()), expected=(name, version))
        return answer(_told(self._engine.model(name)))

    async def forget(self, request: web.Request) -> web.Response:
        """Keep a version no more."""
        name = request.match_info["model"]
        await self._engine.forget(name, request.match_info["version"])
        return answer(_told(self._engine.model(name)))

    async def use(self, request: web.Request) -> web.Response:
        """Let another version answer: the one named, or the one before."""
        name = request.match_info["model"]
        given = read_object(await request.read())
        if not set(given) <= {"version"} or not isinstance(given.get("version"), str | None):
            raise BadQuery("the body is an object of a version's text, or empty for the version before")
        await self._engine.use(name, given.get("version"))
        return answer(_told(self._engine.model(name)))

    async def scale(self, request: web.Request) -> web.Response:
        """Let so many replicas answer."""
        name = request.match_info["model"]
        given = read_object(await request.read())
        if set(given) != {"number"}:
            raise BadQuery("the body is an object of a number")
        await self._engine.scale(name, given["number"])
        return answer(_told(self._engine.model(name)))

    def _app(self, name: str) -> dict[str, Any]:
        found = self._engine.application(name)
        shares = {model: found.policy.weights.get(model, 1.0) for model in found.models}
        return {"name": name, **found.terms.to_json(), "models": found.models, "weights": shares}


def _told(model: Model) -> dict[str, Any]:
    versions = {
        version: {
            "format": one.signed.manifest.format,
            "input_type": one.signed.manifest.input_type,
            "sha256": one.signed.manifest.sha256,
            "signer": id_text(one.signed.signer),
            "loaded": one.pool is not None,
            "processes": one.pool.processes if one.pool is not None else [],
            "batch_limits": one.pool.batch_limits if one.pool is not None else [],
        }
        for version, one in sorted(model.versions.items())
    }
    return {
        "name": model.name,
        "current": model.current,
        "previous": model.previous,
        "replicas": model.replicas,
        "versions": versions,
    }
