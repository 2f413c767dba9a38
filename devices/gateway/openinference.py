"""The Open Inference Protocol, version 2, over REST: the same models, each by ``predict`` on ``models/NAME``.

A version that is named in the path is a resource of its own, ``models/NAME/VERSION``.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from devices.gateway.answers import MODELS_HEADER, answer
from devices.gateway.app import Engine
from devices.gateway.inputs import check_input, integer, number, read_object
from wave import __version__
from wave.errors import BadQuery, UnknownModel
from wave.guard.rules import Rule
from wave.limits import LIMITS

_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = "/v2/models/{model}/versions/{version}"
RULES: Final = tuple(
    Rule(method, path + end, "predict", where)
    for path, where in ((_MODEL, "models/{model}"), (_VERSION, "models/{model}/{version}"))
    for method, end in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))
)
PUBLIC: Final = (("GET", "/v2"), ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"))

INPUT: Final = "input"
OUTPUT: Final = "output"
_DATATYPES: Final = {"integers": "INT64", "floats": "FP32", "doubles": "FP64", "strings": "BYTES", "bytes": "BYTES"}
_INTEGERS: Final = {
    f"{sign}INT{bits}": (0, 2**bits) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = ("FP32", "FP64")
_RANK: Final = 8


class OpenInference:
    """The protocol's routes, over an engine."""

    def __init__(self, engine: Engine) -> None:
        """Answer by ``engine``."""
        self._engine = engine

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/v2", self.server, allow_head=False)
        router.add_get("/v2/health/live", self.alive, allow_head=False)
        router.add_get("/v2/health/ready", self.ready, allow_head=False)
        for path in (_MODEL, _VERSION):
            router.add_get(path, self.model, allow_head=False)
            router.add_get(f"{path}/ready", self.model_ready, allow_head=False)
            router.add_post(f"{path}/infer", self.infer)

    async def server(self, _: web.Request) -> web.Response:
        """Say what this is."""
        return answer({"name": "wave", "version": __version__, "extensions": []})

    async def alive(self, _: web.Request) -> web.Response:
        """Say that it runs."""
        return answer({"live": True, "ready": True})

    async def ready(self, _: web.Request) -> web.Response:
        """Say whether every model that has a current version can answer."""
        pools = [self._engine.pool_of(model.name) for model in self._engine.models.values() if model.current]
        return _readiness(all(pool.processes for pool in pools))

    async def model(self, request: web.Request) -> web.Response:
        """Describe a model."""
        name, version = _names(request)
        manifest = self._engine.pool_of(name, version).manifest
        datatype = _DATATYPES[manifest.input_type]
        many = manifest.input_type in ("integers", "floats", "doubles")
        return answer(
            {
                "name": name,
                "versions": sorted(self._engine.model(name).versions),
                "platform": f"wave_{manifest.format}",
                "inputs": [{"name": INPUT, "datatype": datatype, "shape": [-1, -1] if many else [-1]}],
                "outputs": [{"name": OUTPUT, "datatype": "BYTES", "shape": [-1]}],
            }
        )

    async def model_ready(self, request: web.Request) -> web.Response:
        """Say whether a model can answer."""
        try:
            return _readiness(bool(self._engine.pool_of(*_names(request)).processes))
        except UnknownModel:
            return _readiness(ready=False)

    async def infer(self, request: web.Request) -> web.Response:
        """Answer the rows of a tensor."""
        name, version = _names(request)
        pool = self._engine.pool_of(name, version)
        given = read_object(await request.read())
        rows = _rows(given, pool.manifest.input_type)
        identity = given.get("id")
        if identity is not None and not isinstance(identity, str):
            raise BadQuery("id is a text")
        _check_outputs(given.get("outputs"))
        found = await self._engine.infer(pool, rows)
        told: dict[str, Any] = {"model_name": name, "model_version": pool.manifest.version}
        told |= {} if identity is None else {"id": identity}
        told["outputs"] = [_tensor(OUTPUT, [one.value for one in found])]
        return answer(told, **{MODELS_HEADER: f"{name}/{pool.manifest.version}"})


def _names(request: web.Request) -> tuple[str, str | None]:
    return request.match_info["model"], request.match_info.get("version")


def _readiness(ready: bool) -> web.Response:  # noqa: FBT001
    """Answer under both keys: the protocol's text has the one, servers in use the other."""
    response = answer({"live": ready, "ready": ready})
    response.set_status(200 if ready else 503)
    return response


# Tensors -----------------------------------------------------------------------------------------------------------


def _rows(given: Mapping[str, Any], input_type: str) -> list[Any]:
    """Return the questions in a request, one for each place along its tensor's first side; :class:`BadQuery`."""
    inputs = given.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadQuery("inputs is an array of one tensor, an object of name, shape, datatype and data")
    tensor = inputs[0]
    if not isinstance(tensor.get("name"), str):
        raise BadQuery("a tensor has a name")
    shape = _shape(tensor.get("shape"))
    read = _reader(tensor.get("datatype"), input_type)
    if not isinstance(tensor.get("data"), list):
        raise BadQuery("data is an array")
    values = [read(one) for one in _flat(tensor["data"], len(shape))]
    if len(values) != math.prod(shape):
        raise BadQuery(f"a tensor of shape {shape} has {math.prod(shape)} values, and data has {len(values)}")
    if input_type in ("strings", "bytes"):
        if math.prod(shape[1:]) != 1:
            raise BadQuery("the model takes one text a row")
        return [check_input(one, input_type) for one in values]
    nested = values
    for size in reversed(shape[1:]):
        nested = [nested[start : start + size] for start in range(0, len(nested), size)]
    return [[one] for one in nested] if len(shape) == 1 else nested


def _shape(shape: Any) -> list[int]:
    if not isinstance(shape, list) or not 0 < len(shape) <= _RANK or any(type(one) is not int for one in shape):
        raise BadQuery(f"a shape is an array of 1 to {_RANK} whole numbers")
    if min(shape) < 1 or shape[0] > LIMITS.questions_per_request:
        raise BadQuery(f"every side of a shape is at least 1, and the first at most {LIMITS.questions_per_request}")
    return shape


def _reader(datatype: Any, input_type: str) -> Callable[[Any], Any]:
    """Return what reads one value of a datatype, given what the model takes; :class:`BadQuery`."""
    if not isinstance(datatype, str) or datatype not in (*_INTEGERS, *_FLOATS, "BOOL", "BYTES", "FP16"):
        raise BadQuery(f"there is no datatype {str(datatype)[:40]!r}")
    if datatype == "FP16":
        raise BadQuery("FP16 has no form in JSON")
    if (datatype == "BYTES") != (input_type in ("strings", "bytes")):
        raise BadQuery(f"the model takes {_DATATYPES[input_type]}, and not {datatype}")
    if input_type == "integers" and datatype in _FLOATS:
        raise BadQuery(f"the model takes whole numbers, and not {datatype}")
    if datatype in _INTEGERS:
        return lambda value: _within(value, *_INTEGERS[datatype])
    return {"BOOL": _truth, "BYTES": _text}.get(datatype, number)


def _within(value: Any, least: int, beyond: int) -> int:
    if type(value) is not int or not least <= value < beyond:
        raise BadQuery(f"a whole number from {least} to {beyond - 1} is wanted")
    return integer(value)


def _truth(value: Any) -> int:
    if type(value) is not bool:
        raise BadQuery("true or false is wanted")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadQuery("a text is wanted")
    return value


def _flat(data: Sequence[Any], rank: int) -> list[Any]:
    """Return the values of a tensor, whose data may be nested in its shape's way."""
    values = list(data)
    for _ in range(rank - 1):
        if not values or not all(isinstance(one, list) for one in values):
            break
        values = [value for one in values for value in one]
    return values


def _check_outputs(outputs: Any) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, list) or any(not isinstance(one, dict) or one.get("name") != OUTPUT for one in outputs):
        raise BadQuery(f"the model has one output, {OUTPUT!r}")


def _tensor(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return outputs as a tensor: numbers and rows of as many numbers as they are, all else as texts."""
    rows = [one if isinstance(one, list) else [one] for one in values]
    flat = [one for row in rows for one in row]
    kinds = {type(one) for one in flat}
    even = len({len(row) for row in rows}) == 1 and len({isinstance(one, list) for one in values}) == 1
    if even and (kinds <= {int, float} or kinds in ({bool}, {str})):
        shape = [len(values), len(rows[0])] if isinstance(values[0], list) else [len(values)]
        if kinds == {int} and not all(-(2**63) <= one < 2**63 for one in flat):
            kinds = {float}
        datatype = {frozenset({bool}): "BOOL", frozenset({str}): "BYTES", frozenset({int}): "INT64"}.get(
            frozenset(kinds), "FP64"
        )
        return {"name": name, "shape": shape, "datatype": datatype, "data": flat}
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": [json.dumps(one) for one in values]}
