"""Chats and replies in the form of OpenAI's client, for code that talks to a model in that form only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from prentice.records import Message, Reply, Request, Sampling, Tool, ToolCall

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

Answer = Callable[[Request, Sampling], Awaitable[Reply]]


class OpenAIForm:
    """Stands where an `AsyncOpenAI` client stands: `client.chat.completions.create(...)` asks `answer`.

    Args:
        answer: gives the reply to a request.
        function: name of the requests' function.
    """

    def __init__(self, answer: Answer, function: str) -> None:
        self._answer, self._function = answer, function

    @property
    def chat(self) -> OpenAIForm:
        """As the client has it."""
        return self

    @property
    def completions(self) -> OpenAIForm:
        """As the client has it."""
        return self

    async def create(self, *, messages: Any, tools: Any = (), **settings: Any) -> ChatCompletion:
        """One reply; of the settings, temperature and the most tokens are honoured."""
        request = Request(
            function=self._function,
            messages=tuple(read_message(row) for row in messages),
            tools=tuple(read_tool(row) for row in tools or ()),
        )
        most = settings.get("max_completion_tokens") or settings.get("max_tokens") or 512
        sampling = Sampling(temperature=settings.get("temperature") or 0.0, max_tokens=most)
        return write_reply(await self._answer(request, sampling))


def read_message(row: Any) -> Message:
    """A message of OpenAI's form.

    Raises: TypeError if it holds something else than text and tool calls.
    """
    row = row if isinstance(row, Mapping) else row.model_dump()
    content = row.get("content") or ""
    if not isinstance(content, str):
        wrong = [part for part in content if part.get("type") != "text"]
        if wrong:
            raise TypeError(f"a message holds {wrong[0].get('type')!r}, and only text can be played")
        content = "".join(part["text"] for part in content)
    calls = [call if isinstance(call, Mapping) else call.model_dump() for call in row.get("tool_calls") or ()]
    return Message(
        role="system" if row["role"] == "developer" else row["role"],
        content=content,
        tool_calls=tuple(
            ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
            for call in calls
        ),
        tool_call_id=row.get("tool_call_id"),
    )


def read_tool(row: Mapping[str, Any]) -> Tool:
    """A tool of OpenAI's form."""
    about = row["function"]
    return Tool(
        name=about["name"], description=about.get("description") or "", parameters=about.get("parameters") or {}
    )


def write_reply(reply: Reply) -> ChatCompletion:
    """A reply as OpenAI's client returns it."""
    from openai.types.chat import ChatCompletion

    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.message.tool_calls
    ]
    finish = "tool_calls" if calls else "length" if reply.finish_reason == "length" else "stop"
    message = {"role": "assistant", "content": reply.text, "tool_calls": calls or None}
    return ChatCompletion.model_validate(
        {
            "id": "reply",
            "object": "chat.completion",
            "created": 0,
            "model": reply.model,
            "choices": [{"index": 0, "finish_reason": finish, "message": message, "logprobs": None}],
        }
    )
