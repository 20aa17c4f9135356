"""Chat text: what a model reads and writes, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prentice.errors import DataError, ModelError
from prentice.models.chat import ChatFormat, parse_reply, tool_call_schema
from prentice.records import Message, Tool, ToolCall

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<turn>' + m['role'] + '\n' + m['content'] | trim + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)
SYSTEM = Message(role="system", content="Answer.")
USER = Message(role="user", content="Why?")
WEATHER = Tool(name="weather", description="Weather of a town", parameters={"type": "object", "properties": {}})


def test_the_prompt_ends_where_the_reply_begins() -> None:
    chat = ChatFormat(CHATML)
    assert chat.prompt([SYSTEM, USER]) == (
        "<|im_start|>system\nAnswer.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_reply_ends_with_the_stop_token() -> None:
    chat = ChatFormat(CHATML)
    assert chat.reply([SYSTEM, USER], Message(role="assistant", content="Because.")) == "Because.<|im_end|>"


def test_a_template_without_a_system_role_gets_the_instruction_before_the_first_user_message() -> None:
    chat = ChatFormat(NO_SYSTEM, bos="<bos>")
    assert chat.prompt([SYSTEM, USER]) == "<bos><turn>user\nAnswer.\n\nWhy?<end>\n<turn>model\n"


def test_a_template_that_refuses_the_messages_says_why() -> None:
    with pytest.raises(ModelError, match="System role not supported"):
        ChatFormat(NO_SYSTEM).prompt([SYSTEM])


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    with pytest.raises(ModelError, match="differently"):
        ChatFormat("{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}").reply(
            [USER], Message(role="assistant", content="x")
        )


def test_a_broken_template_is_a_data_error() -> None:
    with pytest.raises(DataError, match="cannot be parsed"):
        ChatFormat("{% for %}")


def test_tools_are_told_in_the_system_message() -> None:
    text = ChatFormat(CHATML).prompt([SYSTEM, USER], [WEATHER])
    assert text.startswith("<|im_start|>system\nAnswer.\n\nYou can call these tools.")
    assert '"name": "weather"' in text


def test_a_tool_call_is_written_as_it_is_read() -> None:
    call = ToolCall(id="call_0", name="weather", arguments='{"town": "Łódź"}')
    text = ChatFormat(CHATML).reply([USER], Message(role="assistant", tool_calls=(call,)), [WEATHER])
    assert parse_reply(text.removesuffix("<|im_end|>")).tool_calls == (call,)


def test_a_damaged_tool_call_stays_text() -> None:
    assert parse_reply("<tool_call>{no json</tool_call>") == Message(
        role="assistant", content="<tool_call>{no json</tool_call>"
    )


@given(st.text())
def test_text_without_a_call_is_read_back_unchanged(text: str) -> None:
    if "<tool_call>" not in text:
        assert parse_reply(text) == Message(role="assistant", content=text)


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.none()))
def test_any_arguments_come_back_equal(arguments: dict[str, int | str | None]) -> None:
    body = json.dumps({"name": "f", "arguments": arguments}, ensure_ascii=False)
    (call,) = parse_reply(f"<tool_call>{body}</tool_call>").tool_calls
    assert json.loads(call.arguments) == arguments


def test_the_schema_of_a_call_names_every_tool() -> None:
    (one,) = tool_call_schema([WEATHER])["oneOf"]
    assert one["properties"]["name"] == {"const": "weather"}
