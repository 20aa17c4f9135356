"""The OpenAI-shaped form that any-llm takes and gives, from and to records."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from prentice.errors import ModelError
from prentice.models.capabilities import ALWAYS_SENT, PARSED_ARGUMENTS, constraint
from prentice.records import Message, Reply, Request, Sampling, TokenLogprob, Tool, ToolCall, Usage

if TYPE_CHECKING:
    from any_llm.types.completion import ChatCompletion

CACHED_CHARACTERS = 4096
"""About 1 024 tokens: no Claude caches less (platform.claude.com, prompt caching), so a mark would be in vain."""
CACHE_MARK = {"type": "ephemeral"}
MALFORMED = "malformed_arguments"
"""Key under which arguments that are no JSON go back to a provider that takes nothing else."""


def arguments(request: Request, sampling: Sampling, provider: str, honoured: Collection[str]) -> dict[str, Any]:
    """The arguments of any-llm's `acompletion` for a request, without the model and its temperature."""
    parsed = provider in PARSED_ARGUMENTS
    found: dict[str, Any] = {
        "messages": [_message_form(message, parsed_arguments=parsed) for message in request.messages],
        "max_tokens": sampling.max_tokens,
        **ALWAYS_SENT.get(provider, {}),
        **constraint(request, honoured),
    }
    if "seed" in honoured:
        found["seed"] = sampling.seed
    if request.tools:
        found["tools"] = [_tool_form(tool) for tool in request.tools]
    if sampling.logprobs:
        found["logprobs"] = True
    if "cache" in honoured:
        found |= _cache_marks(request, found["messages"])
    return found


def reply_of(name: str, completion: ChatCompletion, request: Request, honoured: Collection[str]) -> Reply:
    """The reply that a completion holds, its choice unwrapped; time, cost and attempts are the caller's to add.

    Raises: ModelError if the text is none of the choices, or no JSON where a schema was asked for.
    """
    choice = completion.choices[0]
    return Reply(
        message=_message(name, completion, request, honoured),
        model=completion.model or name.partition(":")[2],
        finish_reason=choice.finish_reason or "stop",
        usage=usage_of(completion),
        token_logprobs=tuple(
            TokenLogprob(token=row.token, logprob=row.logprob)
            for row in (choice.logprobs and choice.logprobs.content) or ()
        ),
    )


def usage_of(completion: ChatCompletion) -> Usage:
    """Tokens as the provider counts them; cached ones are among the input."""
    usage = completion.usage
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        cached_tokens=details.cached_tokens if details else None,
        output_tokens=usage.completion_tokens,
    )


def cache_written(completion: ChatCompletion) -> int:
    """Input tokens that were put into the provider's cache, which Anthropic sells at a price of their own."""
    details = completion.usage and completion.usage.prompt_tokens_details
    return getattr(details, "cache_write_tokens", None) or 0


def size_bytes(request: Request) -> int:
    """UTF-8 bytes of all that is sent; no tokenizer makes more tokens than bytes."""
    texts = [message.content for message in request.messages]
    texts += [call.name + call.arguments for message in request.messages for call in message.tool_calls]
    texts += [tool.model_dump_json() for tool in request.tools]
    texts += [*request.choices, json.dumps(request.response_schema or "")]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _message_form(message: Message, *, parsed_arguments: bool) -> dict[str, Any]:
    form: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        form["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _parseable(call) if parsed_arguments else call.arguments},
            }
            for call in message.tool_calls
        ]
        # Anthropic refuses an empty text beside a tool call
        form["content"] = message.content or None
    if message.tool_call_id is not None:
        form["tool_call_id"] = message.tool_call_id
    return form


def _parseable(call: ToolCall) -> str:
    # these forms of API carry an object: what a model wrote otherwise can only be shown to it inside one
    try:
        is_object = isinstance(json.loads(call.arguments), dict)
    except ValueError:
        is_object = False
    return call.arguments if is_object else json.dumps({MALFORMED: call.arguments}, ensure_ascii=False)


def _tool_form(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _cache_marks(request: Request, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Mark what the next call will repeat, in the order of Anthropic's cache: tools, system prompt, conversation.

    The system prompt is marked in place. Returns the mark of the whole conversation, once it has more than one turn:
    a mark costs a quarter more to write, and the first turn of a one-turn task is never read again.
    """
    roles = [message.role for message in request.messages]
    instructions = sum(len(tool.model_dump_json()) for tool in request.tools)
    # any-llm joins several system prompts as plain text
    if roles.count("system") == 1:
        system = messages[roles.index("system")]
        if instructions + len(system["content"]) >= CACHED_CHARACTERS:
            system["content"] = [{"type": "text", "text": system["content"], "cache_control": CACHE_MARK}]
    is_long = instructions + sum(len(message.content) for message in request.messages) >= CACHED_CHARACTERS
    return {"cache_control": CACHE_MARK} if is_long and "assistant" in roles else {}


def _message(name: str, completion: ChatCompletion, request: Request, honoured: Collection[str]) -> Message:
    said = completion.choices[0].message
    calls = tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in said.tool_calls or ()
        if call.type == "function"
    )
    text = said.content or said.refusal or ""
    if not calls and (request.choices or request.response_schema is not None):
        cut = completion.choices[0].finish_reason == "length"
        text = _held(name, text, request, honoured, "raise max_tokens: the reply was cut" if cut else "")
    return Message(role="assistant", content=text, tool_calls=calls)


def _held(name: str, text: str, request: Request, honoured: Collection[str], hint: str) -> str:
    answer: Any = text
    if not request.choices or "grammar" not in honoured:
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{name}: replied {text[:80]!r}, which is no JSON", hint) from error
    if not request.choices:
        return text
    if isinstance(answer, dict):
        answer = answer.get("answer")
    if answer not in request.choices:
        raise ModelError(f"{name}: replied {text[:80]!r}, which is none of the {len(request.choices)} choices", hint)
    return str(answer)
