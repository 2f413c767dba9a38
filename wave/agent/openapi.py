"""The agent's HTTP API as an OpenAPI 3.1 document, made from the table of calls."""

from functools import cache
from typing import Any

from wave import __version__, errors
from wave.agent.wire import CALLS, reply_type, schemas_of


@cache
def document() -> dict[str, Any]:
    """Return the API's description as an OpenAPI 3.1 document."""
    schemas, components = schemas_of([*CALLS, *(reply_type(call) for call in CALLS)])
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
    return {
        "openapi": "3.1.0",
        "info": {"title": "WAVE agent", "version": __version__, "summary": "Ask the local agent"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "TCP only"}},
        },
    }
