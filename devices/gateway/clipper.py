"""Clipper's contract: ``POST /APP/predict`` and ``POST /APP/update``.

Who predicts needs ``predict`` on ``apps/APP``; who names a version, on that version of the model too; who gives
feedback, which changes what others are answered, ``publish`` on ``apps/APP/feedback``.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from devices.gateway.answers import MODELS_HEADER, answer, check_also
from devices.gateway.app import Application, Engine, Prediction
from devices.gateway.inputs import check_input, read_object
from devices.gateway.model import check_version, resource_of
from wave.errors import BadModel, BadQuery, UnknownApplication, WaveError
from wave.guard.guard import Guard
from wave.guard.rules import Rule
from wave.limits import LIMITS

RULES: Final = (
    Rule("POST", "/{app}/predict", "predict", "apps/{app}"),
    Rule("POST", "/{app}/update", "publish", "apps/{app}/feedback"),
)
JSON_ERROR: Final = "Json error"
QUERY_ERROR: Final = "Query processing error"
_SCHEMA: Final = '{"input" := [double] | [int] | [string] | [byte] | [float]}'
_UPDATE_SCHEMA: Final = (
    '{"uid" := string, "input" := [double] | [int] | [string] | [byte] | [float], "label" := double}'
)


class Clipper:
    """The two routes, over an engine."""

    def __init__(self, engine: Engine, guard: Guard | None) -> None:
        """Answer by ``engine``; ``guard`` stands before, and is asked for the right to a version."""
        self._engine = engine
        self._guard = guard

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_post("/{app}/predict", self.predict)
        router.add_post("/{app}/update", self.update)

    async def predict(self, request: web.Request) -> web.Response:
        """Answer one input, or a batch of them."""
        try:
            application = self._engine.application(request.match_info["app"])
            given = _parsed(await request.read(), _SCHEMA)
            rows, single = _rows(given, application)
            version = given.get("version")
            if version is not None:
                version = await self._version(request, application, version)
        except UnknownApplication as error:
            return _failed(404, QUERY_ERROR, error.message)
        except BadQuery as error:
            return _failed(400, JSON_ERROR, error.message)
        except BadModel as error:
            return _failed(400, QUERY_ERROR, error.message)
        try:
            asked = [self._engine.predict(application.name, row, version) for row in rows]
            predictions = await asyncio.gather(*asked)
        except WaveError as error:
            return _failed(error.http_status, QUERY_ERROR, error.message)
        models = ", ".join(dict.fromkeys(model for one in predictions for model in one.models))
        told = [_told(one) for one in predictions]
        return answer(told[0] if single else {"batch_predictions": told}, **{MODELS_HEADER: models})

    async def update(self, request: web.Request) -> web.Response:
        """Learn what the right output was."""
        try:
            application = self._engine.application(request.match_info["app"])
            given = _parsed(await request.read(), _UPDATE_SCHEMA)
            row, label = _feedback(given, application)
            await self._engine.learn(application.name, row, label)
        except UnknownApplication as error:
            return _failed(404, QUERY_ERROR, error.message)
        except BadQuery as error:
            return _failed(400, JSON_ERROR, error.message)
        return web.Response(text="Feedback received? 1", content_type="application/json")

    async def _version(self, request: web.Request, application: Application, version: Any) -> str:
        """Return the version asked for, if the caller may ask it."""
        wanted = check_version(str(version) if type(version) is int else version)
        if len(application.models) > 1:
            raise BadModel(f"{application.name} has several models: a version names none of them")
        for model in application.models:
            await check_also(request, self._guard, "predict", resource_of(model, wanted))
        return wanted


def _parsed(body: bytes, schema: str) -> Mapping[str, Any]:
    try:
        return read_object(body)
    except BadQuery as error:
        raise BadQuery(_expected(error.message, schema)) from None


def _rows(given: Mapping[str, Any], application: Application) -> tuple[list[Any], bool]:
    """Return the questions, and whether they were asked as one."""
    if ("input" in given) == ("input_batch" in given):
        raise BadQuery(_expected("one of input and input_batch is wanted", _SCHEMA))
    if "input" in given:
        return [_row(given["input"], application, _SCHEMA)], True
    batch = given["input_batch"]
    if not isinstance(batch, list) or not 0 < len(batch) <= LIMITS.questions_per_request:
        most = LIMITS.questions_per_request
        raise BadQuery(_expected(f"input_batch is an array of 1 to {most} inputs", _SCHEMA))
    return [_row(one, application, _SCHEMA) for one in batch], False


def _feedback(given: Mapping[str, Any], application: Application) -> tuple[Any, Any]:
    if "label" not in given or "input" not in given:
        raise BadQuery(_expected("input and label are wanted", _UPDATE_SCHEMA))
    return _row(given["input"], application, _UPDATE_SCHEMA), given["label"]


def _row(value: Any, application: Application, schema: str) -> Any:
    try:
        return check_input(value, application.terms.input_type)
    except BadQuery as error:
        raise BadQuery(_expected(error.message, schema)) from None


def _expected(what: str, schema: str) -> str:
    return f"Error parsing JSON: {what}. Expected JSON schema: {schema}"


def _told(prediction: Prediction) -> dict[str, Any]:
    found = {
        "query_id": prediction.query_id,
        "output": _json(prediction.output),
        "default": prediction.default,
    }
    return found | ({"default_explanation": prediction.explanation} if prediction.default else {})


def _json(output: Any) -> Any:
    """Return an output as the contract shows it: a text that is JSON, as the value that it is."""
    if isinstance(output, str):
        try:
            return json.loads(output, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return output
    return output


def _no_constant(text: str) -> None:
    raise ValueError(text)


def _failed(status: int, error: str, cause: str) -> web.Response:
    return web.json_response({"error": error, "cause": cause}, status=status)
