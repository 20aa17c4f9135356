"""Remote models against a real llama.cpp server over HTTP, in the OpenAI and in the Anthropic form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from prentice.errors import ModelError
from prentice.models.limits import ProviderConfig
from prentice.models.remote import RemoteModel
from prentice.records import Message, Request, Sampling

pytestmark = pytest.mark.models

ASK = Request(function="f", messages=(Message(role="user", content="What is the capital of France?"),))


@pytest.fixture(scope="module")
def address(smollm2: Path) -> Iterator[str]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 2048, 2, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    server = xllamacpp.Server(params)
    yield str(server.listening_address)
    del server


@pytest.fixture
def model(address: str) -> RemoteModel:
    return RemoteModel(f"llamacpp:smollm2@{address}/v1", ProviderConfig(concurrency=2))


async def test_free_text_comes_with_its_tokens(model: RemoteModel) -> None:
    reply = await model.generate(ASK, Sampling(max_tokens=8))
    assert reply.text
    assert reply.finish_reason in ("stop", "length")
    assert reply.usage.output_tokens is not None
    assert 0 < reply.usage.output_tokens <= 8
    assert reply.usage.input_tokens is not None
    assert reply.usage.input_tokens > 5
    assert reply.attempts == 1
    # nobody has a price for a model on one's own machine
    assert reply.cost_usd is None


async def test_the_prompts_cache_is_counted(model: RemoteModel) -> None:
    for _ in range(3):
        reply = await model.generate(ASK, Sampling(max_tokens=2))
    assert reply.usage.cached_tokens


async def test_choices_are_held_to_by_a_grammar(model: RemoteModel) -> None:
    choices = ('an "odd" one\\', "quite unlikely")
    reply = await model.generate(ASK.model_copy(update={"choices": choices}), Sampling(max_tokens=16, logprobs=True))
    assert reply.text in choices
    # before constraints: the model would hardly have begun like that
    assert "".join(row.token for row in reply.token_logprobs).startswith(reply.text[:4])
    assert reply.token_logprobs[0].logprob < -2


async def test_a_schema_is_held_to(model: RemoteModel) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
    reply = await model.generate(ASK.model_copy(update={"response_schema": schema}), Sampling(max_tokens=64))
    assert json.loads(reply.text)["n"] in (7, 8)


async def test_equal_seeds_draw_equal_replies(model: RemoteModel) -> None:
    drawn = [
        (await model.generate(ASK, Sampling(temperature=1.5, seed=seed, max_tokens=12))).text for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


async def test_a_prompt_beyond_the_context_fails_at_once(model: RemoteModel) -> None:
    long = Request(function="f", messages=(Message(role="user", content="word " * 5000),))
    with pytest.raises(ModelError, match="HTTP 400") as caught:
        await model.generate(long, Sampling())
    assert not caught.value.retryable


async def test_calls_side_by_side_all_come_back(model: RemoteModel) -> None:
    replies = await asyncio.gather(*(model.generate(ASK, Sampling(max_tokens=4, seed=i)) for i in range(6)))
    assert [reply.attempts for reply in replies] == [1] * 6
    await model.close()


def test_the_same_model_serves_one_event_loop_after_the_other(model: RemoteModel) -> None:
    said = [asyncio.run(model.generate(ASK, Sampling(max_tokens=4))).text for _ in range(2)]
    assert said[0] == said[1]


async def test_the_anthropic_form_answers_and_refuses_what_the_server_would_ignore(address: str) -> None:
    model = RemoteModel(f"anthropic:smollm2@{address}", api_key="none needed")
    reply = await model.generate(ASK, Sampling(max_tokens=8))
    assert reply.text
    assert reply.finish_reason in ("stop", "length")
    assert reply.usage.output_tokens is not None
    with pytest.raises(ModelError, match="choices"):
        await model.generate(ASK.model_copy(update={"choices": ("a", "b")}), Sampling())


async def test_a_false_statement_about_the_server_is_caught_in_the_reply(address: str) -> None:
    # llama.cpp's Anthropic form takes the schema and ignores it
    model = RemoteModel(f"anthropic:smollm2@{address}#schema", api_key="none needed")
    with pytest.raises(ModelError, match="no JSON"):
        await model.generate(ASK.model_copy(update={"choices": ("a", "b")}), Sampling(max_tokens=8))
