"""Episodes as conversations for other tools: OpenAI chats, Hugging Face `messages` datasets, ShareGPT.

An episode whose turns are one growing conversation is one row; else every turn is one. What a source said beyond our
fields (`extra`) stands where it stood, so that what was imported reads back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from prentice.errors import DataError, UnknownNameError
from prentice.records.chats import Message, Request, Tool
from prentice.records.episodes import Episode, Turn, imported_id
from prentice.records.importing.fields import UNKNOWN_TIME
from prentice.records.jsonl import write_episodes, write_lines
from prentice.records.tables import write_rows, write_table

Row = dict[str, Any]
_OURS = {"messages", "tools", "trailing", "request", "response"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that are one conversation."""

    name: str
    episode: Episode
    turns: Sequence[Turn]

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its episode."""
        return len(self.turns) == len(self.episode.turns)

    @property
    def extra(self) -> Row:
        """What a source said of it beyond our fields."""
        return dict(self.episode.extra) if self.is_whole else {}

    @property
    def messages(self) -> list[Row]:
        """All that was said, as OpenAI writes it."""
        request, reply = self.turns[-1].request, self.turns[-1].reply.message
        trailing = self.extra.get("trailing") or []
        said = [*request.messages, reply, *(Message.model_validate(message) for message in trailing)]
        notes = _notes(self.extra, "messages")
        return [_message(message, _notes(notes, str(place))) for place, message in enumerate(said)]

    @property
    def tools(self) -> list[Row]:
        """Its tools, as OpenAI writes them."""
        notes = _notes(self.extra, "tools")
        return [_tool(tool, _notes(notes, str(place))) for place, tool in enumerate(self.turns[-1].request.tools)]


def conversations(episode: Episode) -> Iterator[Conversation]:
    """All turns together where each shows all that was said before and goes on from it, else every turn alone."""
    turns = episode.turns
    # what was imported under an id of its own goes out under it, and comes in again as the same episode
    name = episode.case if episode.id == imported_id(episode.run, episode.case) else episode.id
    begins = len(turns) == 1 or (turns and not _replies(turns[0].request.messages))
    if begins and all(_goes_on(before, after) for before, after in pairwise(turns)):
        yield Conversation(name, episode, turns)
    else:
        yield from (Conversation(f"{name}#{place}", episode, [turn]) for place, turn in enumerate(turns))


def _goes_on(before: Turn, after: Turn) -> bool:
    said = (*before.request.messages, before.reply.message)
    then = after.request.messages
    return (
        then[: len(said)] == said
        and not _replies(then[len(said) :])
        and before.request.tools == after.request.tools
        and before.request.response_schema == after.request.response_schema
    )


def _replies(messages: Iterable[Message]) -> bool:
    return any(message.role == "assistant" for message in messages)


def openai_row(conversation: Conversation) -> Row:
    """A chat; a call whose request holds replies that are no turns of ours is a request and its response."""
    last = conversation.turns[-1]
    asked = _optional(
        model=last.reply.model,
        messages=conversation.messages,
        tools=conversation.tools,
        response_format=_response_format(last.request),
    )
    if len(conversation.turns) == 1 and _replies(last.request.messages):
        reply = asked["messages"][len(last.request.messages)]
        asked["messages"] = asked["messages"][: len(last.request.messages)]
        asked = _notes(conversation.extra, "request") | asked
        response = _notes(conversation.extra, "response") | {
            "model": last.reply.model,
            "choices": [{"message": reply, "finish_reason": last.reply.finish_reason}],
        }
        return _about(conversation) | {"request": asked, "response": response | _optional(usage=_usage(last))}
    told = _optional(usage=_usage(last), finish_reason=last.reply.finish_reason) if len(conversation.turns) == 1 else {}
    return _about(conversation) | asked | told


def _about(conversation: Conversation) -> Row:
    """What is known of a conversation beside what was said."""
    episode, extra = conversation.episode, conversation.extra
    rest = {key: value for key, value in extra.items() if key not in _OURS}
    metrics = {metric.name: metric.value for metric in episode.metrics if metric.turn is None}
    single = conversation.turns[0].reply if len(conversation.turns) == 1 else None
    return (
        rest
        | {"id": conversation.name}
        | _optional(
            split=episode.split,
            created_at=None if episode.started_at == UNKNOWN_TIME else episode.started_at.isoformat(),
            latency_s=single and single.latency_s,
            cost_usd=single and single.cost_usd,
            metrics=metrics if conversation.is_whole else {},
        )
    )


def messages_row(conversation: Conversation) -> Row:
    """A row of a Hugging Face dataset: the same fields in every row, and so what may have any shape as JSON text."""
    about = _about(conversation)
    keys = ("role", "content", "tool_calls", "tool_call_id")
    return {
        "id": conversation.name,
        "messages": [{key: message.get(key) for key in keys} for message in conversation.messages],
        "tools": to_json(conversation.tools).decode() if conversation.tools else None,
        "model": conversation.turns[-1].reply.model,
        "split": about["split"],
        "metrics": to_json(about["metrics"]).decode() if "metrics" in about else None,
    }


def sharegpt_row(conversation: Conversation) -> Row:
    """A row with `conversations`; tools as JSON text, as LLaMA-Factory reads them."""
    tools = [tool.get("function", tool) for tool in conversation.tools]
    return (
        _about(conversation)
        | {"conversations": [_sharegpt(message) for message in conversation.messages]}
        | _optional(model=conversation.turns[-1].reply.model, tools=to_json(tools).decode() if tools else None)
    )


def _notes(notes: Row, name: str) -> Row:
    found = notes.get(name)
    return found if isinstance(found, dict) else {}


def _optional(**fields: Any) -> Row:
    return {name: value for name, value in fields.items() if value not in (None, {}, [], ())}


def _usage(turn: Turn) -> Row:
    usage = turn.reply.usage
    known = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
    known["cached_tokens"] = usage.cached_tokens
    return {name: tokens for name, tokens in known.items() if tokens is not None}


def _response_format(request: Request) -> Row | None:
    if request.response_schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": request.response_schema}}


def _message(message: Message, notes: Row) -> Row:
    row: Row = {"role": message.role, "content": message.content}
    if message.tool_calls:
        more = _notes(notes, "tool_calls")
        row["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            | _notes(more, str(place))
            for place, call in enumerate(message.tool_calls)
        ]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    return row | {key: value for key, value in notes.items() if key != "tool_calls"}


def _tool(tool: Tool, notes: Row) -> Row:
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if "type" in notes:  # a tool of the provider's own
        return notes | {name: value for name, value in fields.items() if value and value != notes["type"]}
    return {"type": "function", "function": fields | notes}


def _sharegpt(message: Row) -> Row:
    names = {"user": "human", "assistant": "gpt", "tool": "observation"}
    rest = {key: value for key, value in message.items() if key not in {"role", "content", "tool_calls"}}
    calls = message.get("tool_calls")
    if not calls:
        return {"from": names.get(message["role"], message["role"]), "value": message["content"]} | rest
    value = to_json([_sharegpt_call(call) for call in calls]).decode()
    return {"from": "function_call", "value": value} | _optional(content=message["content"] or None) | rest


def _sharegpt_call(call: Row) -> Row:
    """A call with its arguments as an object; as text too, where they were written in another way."""
    text = call["function"]["arguments"]
    try:
        arguments = from_json(text, allow_inf_nan=False)
    except ValueError:
        arguments = text
    exact = isinstance(arguments, dict) and to_json(arguments).decode() == text
    return {"name": call["function"]["name"], "arguments": arguments, "id": call["id"]} | (
        {} if exact else {"arguments_text": text}
    )


MAKERS: dict[str, Callable[[Conversation], Row]] = {
    "openai": openai_row,
    "messages": messages_row,
    "sharegpt": sharegpt_row,
}


def write_logs(path: Path, episodes: Iterable[Episode], form: str) -> int:
    """Write episodes in a form that other tools read, or our own (`prentice`), whole or not at all.

    Returns: how many rows.
    Raises: UnknownNameError for an unknown form; DataError for a file name that does not fit it, or an episode that
        JSON cannot hold; PrenticeError on a full disk. An older file then stays.
    """
    if form != "prentice" and form not in MAKERS:
        raise UnknownNameError(f"no form of export named {form!r}", f"known: {', '.join([*MAKERS, 'prentice'])}")
    endings = (".jsonl", ".jsonl.gz", *([".parquet"] if form in {"messages", "prentice"} else []))
    if not path.name.endswith(endings):
        raise DataError(f"{path}: not a kind of file for {form} episodes", f"name it {' or '.join(endings)}")
    if form == "prentice":
        return (write_table if path.suffix == ".parquet" else write_episodes)(path, episodes)
    rows = (_made(MAKERS[form], conversation) for episode in episodes for conversation in conversations(episode))
    if path.suffix == ".parquet":
        return write_rows(path, _parquet_types(), (tuple(row.values()) for row in rows))
    return write_lines(path, (to_json(row) + b"\n" for row in rows))


def _made(make: Callable[[Conversation], Row], conversation: Conversation) -> Row:
    try:
        row = make(conversation)
        to_json(row)
    except ValueError as error:
        raise DataError(f"episode {conversation.episode.id!r} cannot be written as JSON: {error}") from error
    return row


def _parquet_types() -> Row:
    import polars as pl

    function = pl.Struct({"name": pl.String(), "arguments": pl.String()})
    call = pl.Struct({"id": pl.String(), "type": pl.String(), "function": function})
    message = {"role": pl.String(), "content": pl.String(), "tool_calls": pl.List(call), "tool_call_id": pl.String()}
    texts = {name: pl.String() for name in ("tools", "model", "split", "metrics")}
    return {"id": pl.String(), "messages": pl.List(pl.Struct(message))} | texts
