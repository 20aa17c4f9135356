"""Which function of somebody's program a call belongs to; where the log has no name, by what calls share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import NamedTuple

from prentice.records import Request, digest

UNNAMED = ("", "chat")
"""Names that say nothing: what a reader of logs writes where the log names no function."""

FIRST_LINES = 3
"""Of the system prompt: below them stand the data of the call, more often than not."""

_LOOKED_AT = 1_000
"""Characters of a system prompt in which those lines are sought."""

_WORDS_OF_NAME = 4


class Function(NamedTuple):
    """A prompt of somebody's program."""

    key: str
    name: str


def function_of(request: Request) -> Function:
    """The function by its name, else by the beginning of the system prompt, the tools and the form of the reply.

    Numbers in the prompt do not count, so that a date does not make a new function every day.
    """
    if request.function not in UNNAMED:
        return Function(request.function, request.function)
    system = takewhile(lambda message: message.role == "system", request.messages)
    lines = [line.strip() for message in system for line in message.content[:_LOOKED_AT].splitlines() if line.strip()]
    first = [re.sub(r"\d+", "0", line) for line in lines[:FIRST_LINES]]
    form = sorted(_keys(request.response_schema)) or list(request.choices)
    key = digest([first, sorted(tool.name for tool in request.tools), form])
    words = re.findall(r"\w[\w'-]*", lines[0])[:_WORDS_OF_NAME] if lines else ["no", "system", "prompt"]
    return Function(key, f"{' '.join(words)} {key[:4]}")


def _keys(schema: Mapping[str, object] | None) -> list[str]:
    properties = (schema or {}).get("properties")
    return list(properties) if isinstance(properties, dict) else sorted(schema or ())
