"""AuthZEN 1.0 (OpenID): API gateways and other policy engines ask this agent, in their own words, for decisions.

    POST /access/v1/evaluation {"subject": {"type": "entity", "id": "bob"}, "action": {"name": "predict"},
                                "resource": {"type": "wave", "id": "home/models/alpha"}, "context": {"rows": 5}}

An entity is written as an id or a name; a resource as ``namespace/path``, an action as ``permission`` or
``set:permission``. Numbers in ``context`` are the values that conditions ask about. That the caller *is* the subject,
whoever asks has to know: nothing is signed here. What only a guard can count (a ``rate``) is answered with a no.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from wave.agent import wire
from wave.errors import BadRequest, NotFound, RateExceeded, TooLarge, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
METADATA: Final = "/.well-known/authzen-configuration"
_PARTS: Final = ("subject", "action", "resource", "context")
_STOPS_AT: Final = {"execute_all": None, "deny_on_first_deny": False, "permit_on_first_permit": True}
_REQUEST_ID: Final = "X-Request-ID"

Asks = Callable[[wire.Call[Any]], Awaitable[Any]]


def routes(ask: Asks) -> Iterable[web.RouteDef]:
    """Return the routes of an agent that answers by ``ask``."""

    async def evaluation(request: web.Request) -> web.Response:
        return _json(request, await evaluate(ask, _object(await request.read())))

    async def evaluations(request: web.Request) -> web.Response:
        return _json(request, await evaluate_all(ask, _object(await request.read())))

    async def metadata(request: web.Request) -> web.Response:
        here = f"{request.scheme}://{request.host}"
        return _json(
            request,
            {
                "policy_decision_point": here,
                "access_evaluation_endpoint": here + EVALUATION,
                "access_evaluations_endpoint": here + EVALUATIONS,
            },
        )

    return web.post(EVALUATION, evaluation), web.post(EVALUATIONS, evaluations), web.get(METADATA, metadata)


async def evaluate(ask: Asks, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decision on one question; :class:`InputError` when it is none, :class:`Unavailable`."""
    kind, name = _text(asked, "action", "name").rpartition(":")[::2]
    namespace, _, pattern = _text(asked, "resource", "id").partition("/")
    subject = _text(asked, "subject", "id")
    _text(asked, "subject", "type")
    _text(asked, "resource", "type")
    wanted = Pattern(pattern)
    try:
        question = wire.Ask(
            subject=await _identity(ask, subject),
            namespace=await _identity(ask, namespace),
            statements=(
                wire.Wanted(
                    permission=name, pattern=wanted, permission_set=await _identity(ask, kind) if kind else None
                ),
            ),
            context=_values(asked.get("context", {})),
        )
    except NotFound as error:
        return _no(error)
    found: wire.ExplanationReply = await ask(wire.Why(ask=question))
    if found.allowed and found.detail.get("rates"):
        return _no(RateExceeded("the grant has a rate, which only a guard that every request passes can count"))
    return {
        "decision": found.allowed,
        "context": {
            "id": found.decision,
            "code": found.code,
            "reason_admin": {"en": found.message},
            **({"hint": found.hint} if found.hint else {}),
        },
    }


async def evaluate_all(ask: Asks, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decisions on several questions, of which each may leave out what they have in common."""
    several = asked.get("evaluations")
    if several is None:
        return await evaluate(ask, asked)
    options = asked.get("options", {})
    semantic = options.get("evaluations_semantic", "execute_all") if isinstance(options, dict) else None
    if not isinstance(several, list) or not isinstance(semantic, str) or semantic not in _STOPS_AT:
        raise BadRequest(f"evaluations is a list, and its semantic one of {', '.join(_STOPS_AT)}")
    if len(several) > LIMITS.statements_per_request:
        raise TooLarge(f"{len(several)} evaluations; at most {LIMITS.statements_per_request} are accepted")
    common = {name: asked[name] for name in _PARTS if name in asked}
    found: list[dict[str, Any]] = []
    for one in several:
        try:
            if not isinstance(one, dict):
                raise BadRequest("an evaluation is an object")
            answer = await evaluate(ask, {**common, **one})
        except WaveError as error:
            answer = _no(error)
        found.append(answer)
        if answer["decision"] is _STOPS_AT[semantic]:
            break
    return {"evaluations": found}


def described(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return the routes' OpenAPI descriptions."""

    def post(name: str, summary: str) -> dict[str, Any]:
        content = {"application/json": {"schema": {"type": "object"}}}
        return {
            "post": {
                "operationId": name,
                "summary": summary,
                "requestBody": {"required": True, "content": content},
                "responses": {
                    "200": {"description": "decided, yes or no", "content": content},
                    "default": {"description": "not decided, and why", "content": problem},
                },
            }
        }

    told = {"description": "where to ask", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        EVALUATION: post("evaluation", "Decide one question in the form of AuthZEN 1.0"),
        EVALUATIONS: post("evaluations", "Decide several questions in the form of AuthZEN 1.0"),
        METADATA: {"get": {"operationId": "authzen", "summary": "Say where to ask", "responses": {"200": told}}},
    }


async def _identity(ask: Asks, name: str) -> str:
    reply: wire.ResolveReply = await ask(wire.Resolve(name=name))
    return reply.id


def _no(error: WaveError) -> dict[str, Any]:
    context: dict[str, Any] = {"code": error.code, "reason_admin": {"en": error.message}}
    if not isinstance(error, NotFound | RateExceeded):
        context["error"] = {"status": error.http_status, "message": error.message}
    return {"decision": False, "context": context}


def _values(context: object) -> dict[str, int | float]:
    if not isinstance(context, dict):
        raise BadRequest("context is an object")
    numbers = {name: value for name, value in context.items() if isinstance(value, int | float)}
    return {name: value for name, value in numbers.items() if not isinstance(value, bool)}


def _text(asked: Mapping[str, Any], part: str, name: str) -> str:
    found = asked.get(part)
    text = found.get(name) if isinstance(found, dict) else None
    if not isinstance(text, str) or not text:
        raise BadRequest(f"{part}.{name} is missing", hint="ask for subject, action and resource as AuthZEN 1.0 has it")
    return text


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRequest("the body is no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _json(request: web.Request, answer: Mapping[str, Any]) -> web.Response:
    named = request.headers.get(_REQUEST_ID)
    headers = {} if named is None or not named.isprintable() else {_REQUEST_ID: named[:256]}
    return web.json_response(answer, headers=headers)
