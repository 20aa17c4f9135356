"""Chat text: messages and tools → the exact text a model reads and writes, the same for training and serving.

One template engine (the model's own Jinja template, sandboxed) renders both the prompt that a server sees and the reply
that a student learns, so the two cannot drift apart. This module knows no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prentice.errors import DataError, ModelError
from prentice.records import Message, Tool, ToolCall

DEFINITIONS = ("$defs", "definitions")
"""Where a JSON schema keeps what it refers to."""
TOOLS_TEXT = """You can call these tools. To call one, answer with nothing but a line
<tool_call>{{"name": ..., "arguments": ...}}</tool_call>
for each call.
{tools}"""
OPEN, CLOSE = "<tool_call>", "</tool_call>"


class ChatFormat:
    """How one model writes a chat.

    Args:
        template: the model's Jinja chat template.
        bos: its begin-of-text token, as text.
        eos: its end-of-turn token, as text.
    """

    def __init__(self, template: str, bos: str = "", eos: str = "") -> None:
        from jinja2.exceptions import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(template)
        except TemplateError as error:
            raise DataError(f"chat template cannot be parsed: {error}") from error
        self.bos, self.eos = bos, eos

    @classmethod
    def from_folder(cls, folder: Path) -> ChatFormat:
        """Read the template that lies beside a transformers model.

        Raises: DataError if the folder holds none.
        """
        try:
            settings: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}/tokenizer_config.json: {error}") from error
        beside = folder / "chat_template.jinja"
        template = beside.read_text(encoding="utf-8") if beside.exists() else settings.get("chat_template")
        if not isinstance(template, str):
            raise DataError(f"{folder}: the model has no chat template", "use an instruct model as the base")
        return cls(template, _token(settings.get("bos_token")), _token(settings.get("eos_token")))

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The text up to where the model's reply begins.

        Raises: ModelError if the template refuses these messages; one that knows no system role gets that text before
            the first user message.
        """
        return self._render(_with_tools(messages, tools), generate=True)

    def reply(self, messages: Sequence[Message], reply: Message, tools: Sequence[Tool] = ()) -> str:
        """The text that follows `prompt`: the reply and the token that ends it.

        Raises: ModelError if the template rewrites the prompt once a reply follows, so that no reply could be cut out.
        """
        messages = _with_tools(messages, tools)
        prompt = self._render(messages, generate=True)
        whole = self._render([*messages, _as_text(reply)], generate=False)
        if not whole.startswith(prompt):
            raise ModelError(
                "the chat template renders a prompt differently once its reply follows, "
                "so training would not see what the server sees"
            )
        return whole.removeprefix(prompt).rstrip("\n")

    def _render(self, messages: Sequence[Message], *, generate: bool) -> str:
        from jinja2.exceptions import TemplateError

        rows = [{"role": m.role, "content": m.content} for m in messages]
        last: Exception | None = None
        for attempt in (rows, _system_into_user(rows)):
            try:
                return self._template.render(
                    messages=attempt, add_generation_prompt=generate, bos_token=self.bos, eos_token=self.eos
                )
            except TemplateError as error:
                last = error
        raise ModelError(f"the chat template refuses these messages: {last}") from last


def parse_reply(text: str) -> Message:
    """Read a model's text back into a message: lines of `<tool_call>` become tool calls, the rest is content."""
    calls: list[ToolCall] = []
    content: list[str] = []
    rest = text
    while OPEN in rest:
        before, _, after = rest.partition(OPEN)
        body, closed, rest = after.partition(CLOSE)
        call = _parse_call(body, len(calls)) if closed else None
        if call is None:
            content += [before, OPEN, body, closed]
        else:
            calls.append(call)
            content.append(before)
    content.append(rest)
    joined = "".join(content)
    return Message(role="assistant", content=joined.strip() if calls else joined, tool_calls=tuple(calls))


def tool_call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """JSON schema of one tool call: a name among `tools` with arguments that fit its parameters.

    What a tool defines for itself (`$defs`) stands at the top, where its references can find it, under the tool's name.
    """
    definitions: dict[str, Any] = {}
    calls = []
    for tool in tools:
        parameters = _renamed(tool.parameters or {"type": "object"}, tool.name)
        for key in DEFINITIONS:
            own = parameters.pop(key, {})
            definitions |= {f"{tool.name}.{name}": value for name, value in own.items()}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"oneOf": calls} | ({"$defs": definitions} if definitions else {})


def _renamed(schema: Any, owner: str) -> Any:
    """A copy whose references to definitions of its own name their owner."""
    if isinstance(schema, list):
        return [_renamed(each, owner) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {name: _renamed(value, owner) for name, value in schema.items()}
    target = copied.get("$ref")
    for key in DEFINITIONS:
        if isinstance(target, str) and target.startswith(f"#/{key}/"):
            copied["$ref"] = f"#/$defs/{owner}.{target.removeprefix(f'#/{key}/')}"
    return copied


def _parse_call(body: str, index: int) -> ToolCall | None:
    try:
        data = json.loads(body)
        return ToolCall(
            id=f"call_{index}", name=data["name"], arguments=json.dumps(data["arguments"], ensure_ascii=False)
        )
    except (ValueError, KeyError, TypeError):
        return None


def _as_text(message: Message) -> Message:
    calls = []
    for call in message.tool_calls:
        try:
            arguments = json.loads(call.arguments)
        except ValueError:
            arguments = call.arguments
        body = json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)
        calls.append(f"{OPEN}{body}{CLOSE}")
    text = "\n".join(([message.content] if message.content else []) + calls)
    return Message(role="user" if message.role == "tool" else message.role, content=text)


def _with_tools(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    rows = [_as_text(m) for m in messages]
    if not tools:
        return rows
    listed = "\n".join(
        json.dumps({"name": t.name, "description": t.description, "parameters": t.parameters}, ensure_ascii=False)
        for t in tools
    )
    text = TOOLS_TEXT.format(tools=listed)
    if rows and rows[0].role == "system":
        return [Message(role="system", content=f"{rows[0].content}\n\n{text}"), *rows[1:]]
    return [Message(role="system", content=text), *rows]


def _system_into_user(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    # Gemma's template knows no system role; its authors put the instruction before the first user message
    if len(rows) < 2 or rows[0]["role"] != "system" or rows[1]["role"] != "user":
        return rows
    return [{"role": "user", "content": f"{rows[0]['content']}\n\n{rows[1]['content']}"}, *rows[2:]]


def _token(value: Any) -> str:
    return value.get("content", "") if isinstance(value, dict) else value or ""


def _refuse(message: str) -> None:
    from jinja2.exceptions import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
