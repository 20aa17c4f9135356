"""Local inference on the real SmolLM2: choices, schema, tools, slots, faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from prentice.errors import ModelError, PrenticeError
from prentice.models.local import LocalModel, idle_cores
from prentice.records import Message, Request, Sampling, Tool, ToolCall

GREEDY = Sampling(max_tokens=24)


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[LocalModel]:
    """One model for all tests of this file."""
    local = LocalModel(smollm2, slots=2, context=512, threads=1)
    yield local
    asyncio.run(local.close())


def ask(text: str, **more: object) -> Request:
    """A request of one user message."""
    return Request(function="f", messages=(Message(role="user", content=text),), **more)


async def test_a_free_reply_says_what_it_took(model: LocalModel) -> None:
    reply = await model.generate(ask("Name the capital of France."), GREEDY)
    assert "Paris" in reply.text
    assert reply.usage.input_tokens
    assert reply.usage.output_tokens
    assert reply.latency_s
    assert reply.processing_s
    assert reply.cost_usd is None


async def test_the_reply_is_one_of_the_choices(model: LocalModel) -> None:
    request = ask("The sky on a clear day is", choices=("green", "blue", "bluebell"))
    reply = await model.generate(request, GREEDY)
    assert reply.text in request.choices


async def test_where_one_token_decides_no_further_one_is_computed(model: LocalModel) -> None:
    reply = await model.generate(ask("Yes or no?", choices=("yes, of course it is", "no, it never was")), GREEDY)
    assert reply.usage.output_tokens == 1


async def test_the_reply_fits_the_schema(model: LocalModel) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}},
        "required": ["age"],
        "additionalProperties": False,
    }
    reply = await model.generate(ask("How old is Tom? He is 7.", response_schema=schema), GREEDY)
    assert isinstance(json.loads(reply.text)["age"], int)


async def test_a_tool_call_fits_its_tool(model: LocalModel) -> None:
    tool = Tool(
        name="weather",
        description="The weather of a town. Always call it.",
        parameters={
            "type": "object",
            "properties": {"town": {"type": "string", "maxLength": 20}},
            "required": ["town"],
            "additionalProperties": False,
        },
    )
    messages: list[Message] = []
    for town in ("Rome", "Oslo", "Bonn"):
        call = ToolCall(id=town, name="weather", arguments=json.dumps({"town": town}))
        messages += [
            Message(role="user", content=f"How is the weather in {town}?"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="sunny", tool_call_id=town),
        ]
    messages.append(Message(role="user", content="How is the weather in Paris?"))
    reply = await model.generate(
        Request(function="f", messages=tuple(messages), tools=(tool,)), Sampling(max_tokens=48)
    )
    (made,) = reply.message.tool_calls
    assert made.name == "weather"
    assert set(json.loads(made.arguments)) == {"town"}
    assert reply.finish_reason == "tool_calls"


async def test_a_text_among_tools_ends_where_the_model_ends_it(model: LocalModel) -> None:
    """llama.cpp tells its grammar one of the tokens that may end a reply, for this model not the one that it writes."""
    tool = Tool(name="weather", description="The weather.", parameters={"type": "object", "properties": {}})
    messages: list[Message] = []
    for word in ("red", "blue"):
        messages += [Message(role="user", content=f"Say {word}."), Message(role="assistant", content=f"{word}.")]
    messages.append(Message(role="user", content="Say green."))
    request = Request(function="f", messages=tuple(messages), tools=(tool,))
    free = await model.draw(request, GREEDY)
    assert free.reply.finish_reason == "stop", "else it says nothing"
    reply = await model.generate(request, GREEDY)
    assert (reply.text, reply.finish_reason) == (free.reply.text, "stop")


async def test_the_instructions_are_read_once(model: LocalModel) -> None:
    request = Request(
        function="f",
        messages=(Message(role="system", content="Answer briefly. " * 20), Message(role="user", content="Hello")),
    )
    await model.warm_up(request)
    reply = await model.generate(request, GREEDY)
    assert reply.usage.cached_tokens is not None
    assert reply.usage.cached_tokens > 60


async def test_greedy_replies_do_not_depend_on_the_slot_or_the_company(model: LocalModel) -> None:
    request = ask("Count to three.")
    alone = await model.generate(request, GREEDY)
    together = await asyncio.gather(*(model.generate(request, GREEDY) for _ in range(4)))
    assert {reply.text for reply in together} == {alone.text}


async def test_a_seed_repeats_a_drawn_reply_and_another_changes_it(smollm2: Path) -> None:
    # a model of its own: a prompt read beside other caches differs in the last bits, and a draw may fall between
    model = LocalModel(smollm2, context=256, threads=1)
    request = ask("Write any word.")
    await model.warm_up(request)

    async def draw(seed: int) -> str:
        return (await model.generate(request, Sampling(temperature=1.5, max_tokens=12, seed=seed))).text

    assert await draw(1) == await draw(1)
    assert len({await draw(seed) for seed in range(5)}) > 1
    await model.close()


async def test_a_prompt_longer_than_the_context_says_how_to_have_more(smollm2: Path) -> None:
    model = LocalModel(smollm2, context=256, threads=1)
    with pytest.raises(ModelError, match="context size") as caught:
        await model.generate(ask("word " * 400), GREEDY)
    assert caught.value.hint == "raise `context` in prentice.toml"
    await model.close()


async def test_log_probabilities_come_when_asked_for(model: LocalModel) -> None:
    reply = await model.generate(ask("Hello"), Sampling(max_tokens=4, logprobs=True))
    assert len(reply.token_logprobs) == 4
    assert all(row.logprob <= 0 for row in reply.token_logprobs)


def test_it_works_in_one_event_loop_after_another(model: LocalModel) -> None:
    for _ in range(2):
        assert asyncio.run(model.generate(ask("Hello"), Sampling(max_tokens=1))).usage.output_tokens == 1


def test_prompt_tokens_know_special_tokens(model: LocalModel) -> None:
    assert len(model.tokens("<|im_start|>user\nhi<|im_end|>")) == 5


def test_a_model_file_cut_short_is_named(smollm2: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(smollm2.read_bytes()[:5_000_000])
    with pytest.raises(PrenticeError, match=r"short\.gguf.*cut short"):
        LocalModel(short)


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrenticeError, match="no such model file"):
        LocalModel(tmp_path / "none.gguf")


def test_there_is_always_a_core() -> None:
    assert idle_cores() >= 1
