"""What a client asks for: checked, its labels taken off, and what of it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from prentice.serving.http_errors import HttpError
from prentice.serving.labels import FIELD, Labels


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a chat completion."""

    body: dict[str, Any]
    """Without our own field."""
    said: Any
    """Our own field."""
    passed_on: bytes
    """What goes to who answers: as the client sent it, where nothing of it is ours."""
    hide_counts: bool
    """Whether the number of tokens of a stream was asked for by us alone."""

    def labels(self, headers: Mapping[str, str]) -> Labels:
        """What is said of the call, in headers and in the field.

        Raises: HttpError naming what is wrong.
        """
        return Labels.read(headers, self.said)


def read_asked(body: bytes, *, count_tokens: bool) -> Asked:
    """Read a request.

    Args:
        count_tokens: ask for the number of tokens of a stream where the client did not.
    Raises: HttpError naming what is wrong.
    """
    asked = read_object(body)
    _check(asked)
    own = FIELD in asked
    said = asked.pop(FIELD, None)
    count = bool(asked.get("stream")) and count_tokens and asked.get("stream_options") is None
    passed = body
    if count:
        passed = to_json({**asked, "stream_options": {"include_usage": True}})
    elif own:
        passed = to_json(asked)
    return Asked(asked, said, passed, count)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises: HttpError if there is none.
    """
    try:
        found = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise HttpError(400, f"the body is not valid JSON: {str(error)[:200]}", code="invalid_json") from error
    if not isinstance(found, dict):
        raise HttpError(400, "the body is not a JSON object")
    return found


def _check(asked: dict[str, Any]) -> None:
    if not isinstance(asked.get("model"), str):
        raise HttpError(400, "model is missing, or no text", param="model")
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise HttpError(400, "messages is no list of messages, or empty", param="messages")
    wrong = next((n for n, message in enumerate(messages) if not isinstance(message, dict)), None)
    if wrong is not None:
        raise HttpError(400, f"messages[{wrong}] is not an object", param=f"messages[{wrong}]")
    if not isinstance(asked.get("stream", False), bool | None):
        raise HttpError(400, "stream is not true or false", param="stream")
