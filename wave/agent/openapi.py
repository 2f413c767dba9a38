"""The agent's HTTP API as an OpenAPI 3.1 document, made from the table of calls."""

from functools import cache
from typing import Any

from wave import __version__, errors
from wave.agent import authzen
from wave.agent.batches import SERVED_AT
from wave.agent.wire import CALLS, Happening, reply_type, schemas_of


@cache
def document() -> dict[str, Any]:
    """Return the API's description as an OpenAPI 3.1 document."""
    schemas, components = schemas_of([*CALLS, *(reply_type(call) for call in CALLS), Happening])
    components["Problem"] = {
        "type": "object",
        "description": "RFC 9457 problem details; `code` never changes meaning.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": sorted(errors.codes())},
            "hint": {"type": "string"},
            "decision": {"type": "string"},
        },
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    paths: dict[str, Any] = {}
    for index, call in enumerate(CALLS):
        summary = (call.__doc__ or "").partition("\n")[0]
        paths[f"/v1/{call.path}"] = {
            "post": {
                "operationId": call.path,
                "summary": summary,
                "requestBody": {"required": True, "content": {"application/json": {"schema": schemas[index]}}},
                "responses": {
                    "200": {
                        "description": "done",
                        "content": {"application/json": {"schema": schemas[len(CALLS) + index]}},
                    },
                    "default": {"description": "not done, and why", "content": problem},
                },
            }
        }
    paths["/v1/watch"] = {"get": _watch(problem)}
    paths |= authzen.described(problem)
    paths[SERVED_AT + "{root}"] = {"get": _batch(problem)}
    paths["/openapi.json"] = {"get": _plain("describe", "Return this document", "application/json", "object")}
    paths["/healthz"] = {"get": _plain("health", "Say ok while the agent serves", "text/plain", "string")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "WAVE agent", "version": __version__, "summary": "Ask the local agent"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "TCP only"}},
        },
    }


def _watch(problem: dict[str, Any]) -> dict[str, Any]:
    """Return the description of the watch stream, which is no call."""
    place = {"type": "string", "description": "HEIGHT, or an event's id; everything after it is told"}
    return {
        "operationId": "watch",
        "summary": "Tell what happens on the registry as Server-Sent Events, each with a Happening as its data",
        "description": "An event's type is its happening's kind. Every event has an id, and a stream since it tells"
        " what was not told up to it, all of it and once, across restarts of the agent too; also objects of anchored"
        " batches that came late, for blocks that were told already. After `reorg`, what was told of blocks above its"
        " height is void and is told anew. One at height 0 comes when the agent has built its replica anew since, and"
        " cannot know what an id stands for. A `problem` event holds problem details and ends the stream.",
        "parameters": [
            {"name": "since", "in": "query", "schema": place},
            {
                "name": "namespace",
                "in": "query",
                "schema": {"type": "string", "description": "an id; leaves out what does not concern it"},
            },
            {"name": "Last-Event-ID", "in": "header", "schema": place},
        ],
        "responses": {
            "200": {
                "description": "the stream; each event's data is a Happening",
                "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/Happening"}}},
            },
            "default": {"description": "no stream, and why", "content": problem},
        },
    }


def _batch(problem: dict[str, Any]) -> dict[str, Any]:
    """Return the description of how an anchored batch is served, which is no call."""
    return {
        "operationId": "batch",
        "summary": "Return the bytes of an anchored batch, which hash to its Merkle root and never change",
        "parameters": [
            {
                "name": "root",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": r"^[0-9a-f]{64}(\.batch)?$", "description": "the Merkle root"},
            }
        ],
        "responses": {
            "200": {"description": "the batch", "content": {"application/octet-stream": {"schema": {}}}},
            "default": {"description": "no batch, and why", "content": problem},
        },
    }


def _plain(name: str, summary: str, content: str, kind: str) -> dict[str, Any]:
    """Return the description of a path that takes nothing and always answers."""
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": "done", "content": {content: {"schema": {"type": kind}}}}},
    }
