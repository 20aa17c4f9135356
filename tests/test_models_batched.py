"""Calls gathered into batch jobs, in the forms of OpenAI and of Anthropic, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batch_provider import BatchServer, serving_batches
from faulty_provider import ONE_CALL_USD, PRICE
from prentice.errors import ConfigError, ModelError
from prentice.models.batched import BatchedModel, Waits
from prentice.models.budget import Budget, paid_from
from prentice.models.limits import ProviderConfig
from prentice.models.remote import RemoteModel
from prentice.models.specs import open_policy
from prentice.records import Message, Reply, Request, Sampling, Tool

SHORT = Sampling(max_tokens=10)
FORMS = ("openai", "anthropic")


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with serving_batches() as batches:
        yield batches


def ask(number: int) -> Request:
    messages = (Message(role="system", content="Answer."), Message(role="user", content=f"Question {number}?"))
    return Request(function="f", messages=messages, tools=(Tool(name="look_up", parameters={"type": "object"}),))


def batched(server: BatchServer, form: str, folder: Path) -> BatchedModel:
    place = server.url + ("/v1" if form == "openai" else "")
    settings = ProviderConfig(base_url=place, price=PRICE, retries=1)
    model = RemoteModel(f"{form}:tiny#schema,tools", settings, api_key="sk-hush")
    return BatchedModel(model, folder, waits=Waits(quiet_s=0.05, poll_s=0.05))


async def all_of(model: BatchedModel, numbers: range) -> list[Reply]:
    return await asyncio.gather(*(model.generate(ask(number), SHORT) for number in numbers))


@pytest.mark.parametrize("form", FORMS)
async def test_calls_asked_together_are_one_job_at_half_the_price(
    server: BatchServer, form: str, tmp_path: Path
) -> None:
    server.finish.set()
    model = batched(server, form, tmp_path)
    replies = await all_of(model, range(40))
    await model.close()
    assert [len(calls) for calls in server.jobs.values()] == [40]
    assert all(reply.text in ("yes", '{"answer": "yes"}') for reply in replies)
    # six of the ten tokens came from the cache in Anthropic's form, at no price of their own
    assert [reply.cost_usd for reply in replies] == [pytest.approx(ONE_CALL_USD / 2)] * 40
    assert {reply.latency_s for reply in replies} == {None}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
async def test_a_call_in_a_batch_has_the_body_that_a_single_one_has(
    server: BatchServer, form: str, tmp_path: Path
) -> None:
    server.finish.set()
    model = batched(server, form, tmp_path)
    await all_of(model, range(1))
    await model.close()
    call = server.jobs["job_0"][0]
    body = call["body" if form == "openai" else "params"]
    assert body["model"] == "tiny"
    assert body["max_completion_tokens" if form == "openai" else "max_tokens"] == 10
    # Anthropic's system prompt and tools have forms of their own
    assert "look_up" in json.dumps(body["tools"])
    assert ("system" in body) == (form == "anthropic")
    assert body["messages"][-1] == {"role": "user", "content": "Question 0?"}


@pytest.mark.parametrize("form", FORMS)
async def test_a_second_run_picks_a_job_up_instead_of_paying_twice(
    server: BatchServer, form: str, tmp_path: Path
) -> None:
    book = tmp_path / "budget.db"
    with closing(Budget(1.0, book, "a")) as budget, paid_from(budget):
        first = batched(server, form, tmp_path / "batches")
        asked = asyncio.ensure_future(all_of(first, range(5)))
        await asyncio.sleep(0.6)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await first.close()
        held = budget.spent_usd
    assert len(list((tmp_path / "batches").iterdir())) == 1
    server.finish.set()
    with closing(Budget(1.0, book, "a")) as budget, paid_from(budget):
        second = batched(server, form, tmp_path / "batches")
        replies = await all_of(second, range(7))
        await second.close()
        assert held > budget.spent_usd == pytest.approx(7 * ONE_CALL_USD / 2)
    # five from the job of the first run, two new ones
    assert [len(calls) for calls in server.jobs.values()] == [5, 2]
    assert len(replies) == 7


@pytest.mark.parametrize("form", FORMS)
async def test_a_call_that_failed_in_a_batch_is_an_error_now_and_asked_for_anew_later(
    server: BatchServer, form: str, tmp_path: Path
) -> None:
    server.finish.set()
    server.failing = {1}
    for expected in ([3], [3, 1]):
        model = batched(server, form, tmp_path)
        results = await asyncio.gather(*(model.generate(ask(n), SHORT) for n in range(3)), return_exceptions=True)
        errors = [result for result in results if isinstance(result, ModelError)]
        if expected == [3]:
            assert [error.retryable for error in errors] == [True]
            assert "the server had an error" in errors[0].problem
            # as after a kill: the good replies have not been forgotten yet
            model._asked["never answered"] = asyncio.get_running_loop().create_future()
        await model.close()
        assert [len(calls) for calls in server.jobs.values()] == expected
    assert list(tmp_path.iterdir()) == []


async def test_a_job_that_is_refused_is_handed_in_again_and_then_given_up_on(
    server: BatchServer, tmp_path: Path
) -> None:
    server.finish.set()
    server.refusals = [503]
    model = batched(server, "anthropic", tmp_path)
    assert len(await all_of(model, range(2))) == 2
    server.refusals = [400]
    with pytest.raises(ModelError, match="HTTP 400"):
        await model.generate(ask(9), SHORT)
    await model.close()
    assert len(server.jobs) == 1


def test_a_provider_without_a_known_batch_endpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no batch endpoint is known"):
        open_policy("llamacpp:m", tmp_path, providers={"llamacpp": ProviderConfig(batch=True)})


def test_a_section_makes_a_policy_of_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    policy = open_policy("openai:gpt-5-mini", tmp_path, providers={"openai": ProviderConfig(batch=True)})
    assert isinstance(policy, BatchedModel)
    assert policy.slots >= 1000
