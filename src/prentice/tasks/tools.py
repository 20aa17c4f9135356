"""Tools: Python functions with type hints become what a policy may call, and what it calls is run.

What is wrong with a call - an unknown tool, arguments that do not fit, a tool that raises - goes back to the policy as
that tool's message, as any observation would. Only a `PrenticeError`, such as that of a judge, ends the episode.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import to_json

from prentice.errors import ConfigError, PrenticeError
from prentice.records import Message, Tool, ToolCall

Function = Callable[..., Any]


def _adapter(function: Function) -> TypeAdapter[Any]:
    """Validates the arguments of a call and makes it."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    # pydantic would look up names of type hints here, not in the module that the function comes from
    stand_in.__annotations__ = get_type_hints(function, include_extras=True)
    stand_in.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return TypeAdapter(cast("Any", stand_in))


@dataclass(frozen=True)
class Done:
    """What a tool returns to end the episode."""

    reward: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict)
    observation: str = "done"


def describe(function: Function) -> Tool:
    """The tool that a function is: its name, its docstring, and the JSON schema of its arguments.

    Raises: ConfigError if an argument's type cannot be written as a JSON schema.
    """
    try:
        schema = _adapter(function).json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        raise ConfigError(
            f"tool {function.__name__}: its arguments have no JSON schema: {str(error).splitlines()[0]}",
            "give every argument a type hint such as str, float or list[str]",
        ) from error
    for about in schema.get("properties", {}).values():
        about.pop("title", None)  # pydantic writes the name a second time, which costs tokens in every request
    return Tool(name=function.__name__, description=inspect.getdoc(function) or "", parameters=schema)


class Toolbox:
    """The tools of one episode.

    Args:
        functions: plain or async functions (or bound methods); what they return goes back as text or as JSON.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        self._functions = {function.__name__: function for function in functions}
        self._run = {name: _adapter(function) for name, function in self._functions.items()}
        self.calls = self.errors = 0
        self.done: Done | None = None
        """What the last tool that ended the episode returned."""

    async def answer(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Run all calls of one reply, async functions at the same time; one message for each call, in their order."""
        self.calls += len(calls)
        texts = await asyncio.gather(*(self._answer(call) for call in calls))
        return [
            Message(role="tool", content=text, tool_call_id=call.id) for call, text in zip(calls, texts, strict=True)
        ]

    async def _answer(self, call: ToolCall) -> str:
        try:
            result = await self._result(call)
            as_json = to_json(result).decode()  # what no file can hold, such as half a surrogate pair, is an error here
            return result if isinstance(result, str) else as_json
        except PrenticeError:
            raise
        except _WrongCallError as error:
            problem = str(error)
        except Exception as error:  # what a tool raises is the policy's to deal with
            problem = f"{call.name} raised {type(error).__name__}: {error}"
        self.errors += 1
        return f"error: {problem}"

    async def _result(self, call: ToolCall) -> Any:
        if call.name not in self._run:
            raise _WrongCallError(f"there is no tool {call.name!r}; there are: {', '.join(self._functions) or 'none'}")
        try:
            result = self._run[call.name].validate_json(call.arguments or "{}")
        except ValidationError as error:
            raise _WrongCallError(f"{call.name}: {_explain(error)}") from error
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, Done):
            self.done = result
            return result.observation
        return result


class _WrongCallError(Exception):
    """A call that cannot be run as it is."""


def _explain(error: ValidationError) -> str:
    lines = []
    for row in error.errors(include_url=False):
        if row["type"] == "json_invalid":
            return f"the arguments are not valid JSON: {row['ctx']['error']}"
        place = ".".join(str(part) for part in row["loc"])
        lines.append(f"argument {place}: {row['msg']}" if place else str(row["msg"]))
    return "; ".join(lines)


def bind(functions: Sequence[Function], owner: Any) -> list[Function]:
    """The functions as `owner` (a class, or an object of it) has them: its methods are bound to it."""
    kind = owner if isinstance(owner, type) else type(owner)
    return [
        MethodType(function, owner) if getattr(kind, function.__name__, None) is function else function
        for function in functions
    ]
