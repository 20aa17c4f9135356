"""The endpoint's OpenAPI document."""

from __future__ import annotations

from typing import Any

from prentice import __version__
from prentice.serving.feedback import FeedbackBody
from prentice.serving.labels import FIELD, Labels

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "stream": {"type": ["boolean", "null"]},
        FIELD: {"$ref": "#/components/schemas/Labels"},
    },
}
_COMPLETION = {"type": "object", "required": ["choices"], "properties": {"choices": {"type": "array"}}}
_STORED = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {"id": {"type": "string"}, "status": {"enum": ["stored", "known"]}},
}
_HEALTH = {"type": "object", "required": ["status", "recorded", "waiting_bytes", "not_recorded", "refused"]}
_MEANINGS = {
    400: "the request is wrong; the message names the field",
    401: "no valid key",
    403: "the key is not allowed this, or the host is not localhost",
    404: "no such model, path, episode or turn",
    405: "no such method here",
    408: "the request did not come in time",
    409: "other feedback is stored under this id",
    413: "the request is too long",
    415: "the request is no JSON",
    429: "the upstream asks to wait",
    500: "a bug",
    502: "the upstream cannot be reached or failed",
    503: "the store or the model cannot answer now",
    504: "the upstream did not answer in time",
}


def document() -> dict[str, Any]:
    """The document, as JSON data."""
    template = "#/components/schemas/{model}"
    schemas = {"Error": _ERROR, "Chat": _CHAT}
    for model in (FeedbackBody, Labels):
        schema = model.model_json_schema(ref_template=template)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return {
        "openapi": "3.1.0",
        "info": {"title": "prentice record", "version": __version__},
        "paths": {
            "/v1/chat/completions": {"post": _operation("A chat completion, recorded", "Chat", _completion())},
            "/v1/feedback": {"post": _operation("Feedback on an episode or a turn", "FeedbackBody", _json(_STORED))},
            "/health": {"get": _operation("How the recording stands", None, _json(_HEALTH))},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(summary: str, body: str | None, good: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "done", "content": good},
            **{str(status): {"description": meaning, "content": error} for status, meaning in _MEANINGS.items()},
        },
    }
    if body is not None:
        schema = {"schema": {"$ref": f"#/components/schemas/{body}"}}
        found["requestBody"] = {"required": True, "content": {"application/json": schema}}
    return found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _completion() -> dict[str, Any]:
    return {**_json(_COMPLETION), "text/event-stream": {"schema": {"type": "string"}}}
