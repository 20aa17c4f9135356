"""Rows with `messages`: OpenAI chat logs, request and response pairs, fine-tuning files, Hugging Face datasets."""

from __future__ import annotations

from typing import Any

from prentice.records.episodes import Metric
from prentice.records.importing.chats import Chat, Tools, json_in_text, read_chat
from prentice.records.importing.conversations import (
    FUNCTION,
    UNKNOWN_MODEL,
    Draft,
    LogOptions,
    Told,
    chat_extra,
    chat_turns,
    make_turn,
)
from prentice.records.importing.faults import RowError, shown
from prentice.records.importing.fields import (
    Fields,
    number,
    take,
    take_cost,
    take_seconds,
    take_text,
    take_time,
    take_usage,
)
from prentice.records.importing.outcomes import take_outcomes

_IDS = ("id", "conversation_id", "custom_id", "request_id")


def read_openai(row: Fields, options: LogOptions, tools: Tools) -> Draft:
    """A row that holds a conversation, or a call's request and response.

    Raises: RowError.
    """
    if row.get("response") is not None:
        return _pair(row, options, tools)
    if "messages" not in row and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        row["messages"] = [*row.pop("prompt"), *row.pop("completion")]
    chat = read_chat(_messages(row))
    known, notes = tools.read(take(row, ("tools", "functions"))[1])
    single = sum(message.role == "assistant" for message in chat.messages) == 1
    told = take_told(row) if single else Told(take_text(row, "model") or UNKNOWN_MODEL)
    return Draft(
        turns=chat_turns(chat, told, function=options.function or FUNCTION, tools=known, schema=take_schema(row)),
        native=take_text(row, *_IDS),
        metrics=(*take_outcomes(row), *_weights(chat)),
        started_at=take_time(row),
        split=row.pop("split", None),
        extra=chat_extra(chat, notes, row),
    )


def take_told(row: Fields) -> Told:
    """Take what a row says of its one reply."""
    return Told(
        model=take_text(row, "model") or UNKNOWN_MODEL,
        finish_reason=take_text(row, "finish_reason"),
        usage=take_usage(row),
        latency_s=take_seconds(row),
        cost_usd=take_cost(row),
    )


def take_schema(row: Fields) -> dict[str, Any] | None:
    """Take the JSON schema that a reply had to fit; another `response_format` stays."""
    asked = row.get("response_format")
    inner = asked.get("json_schema") if isinstance(asked, dict) else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else None


def _pair(row: Fields, options: LogOptions, tools: Tools) -> Draft:
    """A request and its response: one call, whatever was said before."""
    request = _object(row, "request") if row.get("request") is not None else row
    response = _object(row, "response")
    chat = read_chat(_messages(request))
    before = tuple(chat.messages)
    model = take_text(request, "model")
    told, reported = take_told(response), take_told(row)
    chat.add(_reply(response, told))
    known, notes = tools.read(take(request, ("tools", "functions"))[1])
    told.model = told.model if told.model != UNKNOWN_MODEL else model or reported.model
    told.latency_s, told.cost_usd = reported.latency_s, reported.cost_usd
    turn = make_turn(
        before,
        chat.messages[-1],
        told,
        function=options.function or FUNCTION,
        tools=known,
        schema=take_schema(request),
    )
    metrics, started_at = take_outcomes(row), take_time(row) or take_time(response)
    native, split = take_text(row, *_IDS) or take_text(response, "id"), row.pop("split", None)
    rest = row | {"response": response or None} | ({} if request is row else {"request": request or None})
    return Draft((turn,), native, None, metrics, chat_extra(chat, notes, rest), started_at, split)


def _object(row: Fields, name: str) -> Fields:
    value = row.pop(name)
    value = json_in_text(value) if isinstance(value, str) else value
    if isinstance(value, dict) and isinstance(value.get("body"), dict):
        value = value["body"]  # as batch files have it
    if not isinstance(value, dict):
        raise RowError("no conversation in it", f"{name} is {shown(value)}, not an object")
    return value


def _messages(row: Fields) -> Any:
    if row.get("messages") is None:
        raise RowError("no conversation in it", f"no messages among {', '.join(map(str, row)) or 'no fields'}"[:200])
    return row.pop("messages")


def _reply(response: Fields, told: Told) -> Any:
    """The message of the first choice; the others stay."""
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else response
    if not isinstance(choice, dict) or choice.get("message") is None:
        raise RowError("no assistant message", f"response has no choices, its fields are {', '.join(response)}"[:200])
    message = choice.pop("message")
    told.finish_reason = take_text(choice, "finish_reason") or told.finish_reason
    if isinstance(choices, list) and not [each for each in choices if each is not choice]:
        del response["choices"]
    return {"role": "assistant", **message} if isinstance(message, dict) else message


def _weights(chat: Chat) -> list[Metric]:
    """Fine-tuning files say by weight which replies are to be learnt."""
    replies = [place for place, message in enumerate(chat.messages) if message.role == "assistant"]
    weights = [(turn, chat.notes.get(str(place), {}).get("weight")) for turn, place in enumerate(replies)]
    return [
        Metric(name="weight", value=number(weight, "weight"), source="program", turn=turn)
        for turn, weight in weights
        if weight is not None
    ]
