"""The guard at the record boundary: episodes, recorded calls and feedback, with placeholders for what is personal."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import JsonValue

from prentice.privacy.config import Kind, PrivacyConfig
from prentice.privacy.finder import finder
from prentice.privacy.found import Found, Text
from prentice.privacy.names import Names
from prentice.privacy.values import Redaction
from prentice.records import Episode, Message, Metric, Record, Reply, Request, Tool, ToolCall, Turn
from prentice.records.calls import Call
from prentice.records.episodes import Demonstration, Failure
from prentice.records.feedback import Feedback

R = TypeVar("R", bound=Record)
T = TypeVar("T")
_OPEN_EPISODES = 1_000
"""Episodes whose placeholders are remembered while their calls come one by one."""


class Redactor:
    """Does what a configuration says about personal data, to all that comes in. Pickled, it works in other processes.

    Args:
        config: the project's `[privacy]` section.
    Raises: MissingExtraError if it is to look for something and the libraries are not installed; ConfigError.
    """

    def __init__(self, config: PrivacyConfig) -> None:
        self.config = config
        self.found: Counter[Kind] = Counter()
        """Distinct values found in this process, by kind, summed over episodes, calls and feedback."""
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Names] = OrderedDict()
        if config.mode != "off":
            finder(config)

    def __reduce__(self) -> tuple[type[Redactor], tuple[PrivacyConfig]]:
        return Redactor, (self.config,)  # what was found is counted where it is found

    def told(self, found: Mapping[Any, int]) -> str:
        """One line on what was found and what became of it; empty where nothing was."""
        if not any(found.values()):
            return ""
        counts = ", ".join(f"{found[kind]:,} {kind}" for kind in sorted(found, key=lambda kind: -found[kind]))
        done = (
            "replaced by placeholders"
            if self.config.mode == "redact"
            else 'stored as it is ([privacy] mode = "report")'
        )
        return f"personal data: {counts}; {done}"

    def find(self, text: str) -> list[Found]:
        """What is in a text, whatever the mode, from its beginning to its end."""
        return list(finder(self.config).find(Text(text)))

    def text(self, text: str) -> str:
        """A text by itself, with its placeholders counted from 1."""
        return self._apply(text, Names(lambda: text), lambda records, given: records.values.text(given))

    def episode(self, episode: Episode) -> Episode:
        """An episode as it may be stored; the same object where nothing was found."""
        return self._apply(episode, Names(episode.model_dump_json), lambda records, given: records.episode(given))

    def feedback(self, feedback: Feedback) -> Feedback:
        """Feedback as it may be stored."""
        return self._apply(feedback, Names(feedback.model_dump_json), lambda records, given: records.feedback(given))

    def call(self, call: Call) -> Call:
        """A recorded call as it may be stored, with the placeholders that earlier calls of its episode were given."""
        if self.config.mode == "off":
            return call
        with self._lock:  # two calls of one episode must not give one number to two values
            names = self._open.pop(call.episode, None) or Names(call.model_dump_json)
            self._open[call.episode] = names
            if len(self._open) > _OPEN_EPISODES:
                self._open.popitem(last=False)
            return self._apply(call, names, lambda records, given: records.call(given))

    def _apply(self, given: T, names: Names, redact: Callable[[_Records, T], T]) -> T:
        if self.config.mode == "off":
            return given
        redacted = redact(_Records(Redaction(finder(self.config), names)), given)
        self.found.update(names.new)
        names.new.clear()
        return redacted if self.config.mode == "redact" else given


class _Records:
    """Knows which fields of a record hold what was said; ids and names of things stay."""

    def __init__(self, values: Redaction) -> None:
        self.values = values
        self._messages: dict[int, tuple[Message, Message]] = {}

    def episode(self, episode: Episode) -> Episode:
        return _with(
            episode,
            turns=_each(episode.turns, self._turn),
            metrics=_each(episode.metrics, self._metric),
            failure=episode.failure and self._failure(episode.failure),
            tags=self._json(episode.tags),
            demonstrations=_each(episode.demonstrations, self._demonstration),
            extra=self._json(episode.extra),
        )

    def call(self, call: Call) -> Call:
        return _with(
            call,
            turn=call.turn and self._turn(call.turn),
            failure=call.failure and self._failure(call.failure),
            tags=self._json(call.tags),
        )

    def feedback(self, feedback: Feedback) -> Feedback:
        value, shown = feedback.value, feedback.demonstration
        return _with(
            feedback,
            value=self.values.text(value) if isinstance(value, str) else value,
            demonstration=shown and self._message(shown),
        )

    def _turn(self, turn: Turn) -> Turn:
        return _with(
            turn, request=self._request(turn.request), reply=self._reply(turn.reply), extra=self._json(turn.extra)
        )

    def _request(self, request: Request) -> Request:
        return _with(
            request,
            inputs=self._json(request.inputs),
            messages=_each(request.messages, self._message),
            tools=_each(request.tools, self._tool),
            choices=_each(request.choices, self.values.text),
            response_schema=request.response_schema and self._json(request.response_schema),
        )

    def _reply(self, reply: Reply) -> Reply:
        message = self._message(reply.message)
        if message is reply.message:
            return reply
        # its tokens spell out what was taken out of it
        return _with(reply, message=message, token_logprobs=())

    def _message(self, message: Message) -> Message:
        known = self._messages.get(id(message))  # a history shows the same message again in every turn
        if known is None:
            redacted = _with(
                message,
                content=self.values.text(message.content),
                tool_calls=_each(message.tool_calls, self._tool_call),
            )
            # the message is kept too, so that its id is given to no other meanwhile
            known = self._messages[id(message)] = (message, redacted)
        return known[1]

    def _tool_call(self, call: ToolCall) -> ToolCall:
        return _with(call, arguments=self.values.text(call.arguments))

    def _tool(self, tool: Tool) -> Tool:
        return _with(tool, description=self.values.text(tool.description), parameters=self._json(tool.parameters))

    def _metric(self, metric: Metric) -> Metric:
        return _with(metric, value=self.values.text(metric.value)) if isinstance(metric.value, str) else metric

    def _failure(self, failure: Failure) -> Failure:
        return _with(failure, message=self.values.text(failure.message))

    def _demonstration(self, shown: Demonstration) -> Demonstration:
        return _with(shown, message=self._message(shown.message))

    def _json(self, value: T) -> T:
        return cast(T, self.values.value(cast(JsonValue, value)))


def _with(record: R, **fields: Any) -> R:
    """The record with these fields; the same object where each is what it was."""
    changed = {name: value for name, value in fields.items() if value is not getattr(record, name)}
    return record.model_copy(update=changed) if changed else record


def _each(items: Sequence[T], change: Callable[[T], T]) -> Sequence[T]:
    changed = tuple(change(item) for item in items)
    return changed if any(new is not old for new, old in zip(changed, items, strict=True)) else items
