"""A chat as records: messages, tools, the request put to a policy and the reply it gave."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from prentice.records.base import Record

Role = Literal["system", "user", "assistant", "tool"]
DISCONNECTED = "disconnected"
"""Finish reason of a reply that its client did not wait for."""


class ToolCall(Record):
    """A tool that the policy asked for."""

    id: str
    name: str
    arguments: str
    """The JSON text as the policy wrote it; it may be invalid, and that is worth keeping."""


class Message(Record):
    """One message of a chat."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


def said(message: Message) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What a reply says: its text and the tools it calls, without the ids of the calls."""
    return message.content, tuple((call.name, call.arguments) for call in message.tool_calls)


class Tool(Record):
    """A tool that the policy may call; `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class Request(Record):
    """What a policy is asked: the rendered chat, and the inputs it was rendered from.

    The inputs are kept so that the same turn can be rendered again with another prompt, such as the student's.
    """

    function: str
    """Which prompt of the task this is."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    choices: tuple[str, ...] = ()
    """When not empty, the reply must be one of these texts."""
    response_schema: dict[str, JsonValue] | None = None
    """When set, the reply must be JSON that fits this schema."""


class Sampling(Record):
    """How a policy is to draw its reply."""

    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(512, ge=1)
    seed: int = 0
    attempt: int = Field(0, ge=0)
    """Which try at its case the episode is; a recording answers a try with the same try."""
    logprobs: bool = False


class TokenLogprob(Record):
    """A token of the reply with the natural log of its probability before constraints."""

    token: str
    logprob: float


class Usage(Record):
    """Tokens of one call; None where the source did not say."""

    input_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the input tokens, those whose computation was reused."""
    output_tokens: int | None = None


class Reply(Record):
    """What a policy answered, and what it took."""

    message: Message
    model: str
    finish_reason: str = "stop"
    """stop, length, tool_calls, or the provider's own word."""
    usage: Usage = Usage()
    latency_s: float | None = None
    """Wall-clock seconds from request to the complete reply."""
    processing_s: float | None = None
    """CPU-seconds spent on the reply; local models only."""
    cost_usd: float | None = None
    """Dollars, where there is a price."""
    attempts: int = 1
    """Calls made, retries included."""
    token_logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def text(self) -> str:
        """The reply's text."""
        return self.message.content
