"""Prompts as configuration: what a function of a task shows of an episode so far, to the teacher and to the student."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from pydantic import Field, JsonValue, field_validator

from prentice.config import StageConfig
from prentice.records import Message, Request, Tool
from prentice.tasks.contract import Audience

PLAY = "play"
"""The function that plain text from an environment is put to."""
ASKED = "asked"
"""Key of a chat's entry that holds what the environment asked with; its text is made when it is shown."""
Entry = dict[str, JsonValue]
"""One entry of a chat: `{"asked": inputs}` from the environment, else the fields of a `Message`."""


class Ask:
    """What the environment wants to know next: the function that shall answer, and the inputs of its prompt."""

    def __init__(self, function: str, /, **inputs: Any) -> None:
        self.function, self.inputs = function, inputs


class Prompt(StageConfig):
    """What a policy is shown."""

    instructions: str = ""
    """The system prompt; it comes first and never changes, so that it can be cached."""
    student_instructions: str | None = None
    """The student's system prompt, where it differs: training can replace long instructions."""
    prompt: str = "{observation}"
    """The text of a user message, with {name} for each input of the environment's question."""
    history: int | None = Field(None, ge=0)
    """Past turns that are shown; default: all."""
    choices: tuple[str, ...] = ()
    """The legal replies; empty: any text."""

    @field_validator("prompt")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        return template(text)


def template(text: str) -> str:
    """`text`, which shows inputs as {name}.

    Raises: ValueError if a brace stands for nothing, or an input would be shown in a way that no text can be.
    """
    try:
        names = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"{error}; a brace that stands for itself is written twice") from error
    if wrong := [name for name in names if not name.isidentifier()]:
        raise ValueError(f"{{{wrong[0]}}} is not the name of an input; a brace that stands for itself is written twice")
    text.format_map(dict.fromkeys(names, "any text"))
    return text


class Function(Prompt):
    """One of several functions of a task, with a prompt of its own."""

    tools: tuple[str, ...] = ()
    """Names of the environment's tools that it may call."""
    response_schema: dict[str, JsonValue] | None = None
    """JSON schema that the reply must fit."""


def entry(message: Message) -> Entry:
    """A message as an entry of a chat, without its empty fields."""
    return message.model_dump(mode="json", exclude_defaults=True)


def shown(chat: Sequence[Entry], history: int | None) -> list[Entry]:
    """The end of a chat that holds the newest question and `history` turns before it; a turn is never cut in two."""
    if history is None:
        return list(chat)
    starts = [n for n, row in enumerate(chat) if _asks(row) and (n == 0 or not _asks(chat[n - 1]))]
    return list(chat[starts[-1 - history] :]) if len(starts) > history else list(chat)


def _asks(row: Entry) -> bool:
    return row.get("role") not in ("assistant", "tool")


def render(name: str, function: Function, tools: Sequence[Tool], chat: JsonValue, audience: Audience) -> Request:
    """The request of one turn.

    Args:
        tools: those that `function` may call.
        chat: entries as `shown` gives them; they become the request's inputs, from which it can be rendered again.
    Raises: TypeError if the prompt names an input that was not given.
    """
    for_student = audience == "student" and function.student_instructions is not None
    instructions = function.student_instructions if for_student else function.instructions
    rows = chat if isinstance(chat, list) else []
    messages = [_message(name, function, row) for row in rows if isinstance(row, dict)]
    return Request(
        function=name,
        inputs={"chat": chat},
        messages=(*([Message(role="system", content=instructions)] if instructions else []), *messages),
        tools=tuple(tools),
        choices=function.choices,
        response_schema=function.response_schema,
    )


def _message(name: str, function: Function, row: Mapping[str, JsonValue]) -> Message:
    asked = row.get(ASKED)
    if not isinstance(asked, dict):
        return Message.model_validate(row)
    values = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in asked.items()
    }
    try:
        return Message(role="user", content=function.prompt.format_map(values))
    except KeyError as error:
        given = ", ".join(values) or "nothing"
        raise TypeError(
            f"the prompt of {name!r} shows {{{error.args[0]}}}, and the environment gave {given}"
        ) from error
