"""Small logs for the tests of `prentice estimate`, with sizes that can be added up by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prentice.estimation import Assumptions, Estimate, EstimateConfig, FunctionEstimate, estimate
from prentice.models.prices import Price
from prentice.records import Episode, Message, Reply, Request, ToolCall, Turn, Usage

NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = {"m": Price(input_usd=2.5, output_usd=10, cached_input_usd=1.25)}
LONG = "s" * 4_096
"""A system prompt of 1 024 estimated tokens: the shortest that a provider keeps."""


def said(text: str) -> Message:
    """A reply in words."""
    return Message(role="assistant", content=text)


def calling(name: str, arguments: str) -> Message:
    """A reply that calls a tool."""
    return Message(role="assistant", tool_calls=(ToolCall(id="drawn", name=name, arguments=arguments),))


def turn(asked: str | Sequence[Message], reply: str | Message = "ok", *, system: str = "", **fields: Any) -> Turn:
    """A call; `fields` are of the reply, or of the request (function, tools, choices, response_schema)."""
    first = (Message(role="system", content=system),) if system else ()
    messages = (*first, Message(role="user", content=asked)) if isinstance(asked, str) else tuple(asked)
    of_request = {k: fields.pop(k) for k in ("tools", "choices", "response_schema") if k in fields}
    request = Request(function=fields.pop("function", "chat"), messages=messages, **of_request)
    answer = said(reply) if isinstance(reply, str) else reply
    return Turn(request=request, reply=Reply(message=answer, model=fields.pop("model", "m"), **fields))


def episode(*turns: Turn, name: str = "e", day: float | None = None, **fields: Any) -> Episode:
    """An episode, begun so many days after the first of January 2026, or without a time."""
    begun = NO_TIME if day is None else FIRST + timedelta(days=day)
    defaults = {"id": name, "run": "import", "task": "t", "case": name, "split": "train", "policy": "m"}
    return Episode(turns=turns, started_at=begun, **(defaults | fields))


def single(asked: str, reply: str | Message = "ok", *, name: str = "e", day: float | None = None, **of: Any) -> Episode:
    """An episode of one call."""
    return episode(turn(asked, reply, **of), name=name, day=day)


def counted(input_tokens: int, output_tokens: int, cached: int | None = None) -> Usage:
    """Tokens as a log counts them."""
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached)


def reckon(*episodes: Episode, **config: Any) -> Estimate:
    """Estimate with the price of model `m`."""
    return estimate(episodes, EstimateConfig(**config), prices=PRICES)


def only(*episodes: Episode, **config: Any) -> FunctionEstimate:
    """The only function of these episodes."""
    (function,) = reckon(*episodes, **config).functions
    return function


def plain(**other: Any) -> Assumptions:
    """Assumptions that can be reckoned with by hand: a CPU-second costs 1e-5 dollars."""
    fields: dict[str, Any] = {
        "taken": (0.5, 1),
        "examples": (100, 100),
        "calls_per_example": (2, 1),
        "passes": (1, 1),
        "trained_tokens_per_s": (110, 110),
        "read_cpu_s": (0.01, 0.01),
        "write_cpu_s": (0.1, 0.1),
        "core_hour_usd": (0.036, 0.036),
        "busy": (0.5, 1),
        "always_on": (False, False),
        "cheaper_at_most": (1e9, 1e9),
    }
    return Assumptions(**(fields | other))
