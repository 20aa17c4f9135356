"""The torch policy: it writes what transformers' own greedy search writes, and refuses what it cannot honour."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prentice.errors import ModelError, PrenticeError
from prentice.models.hf import HFModel
from prentice.records import Message, Request, Sampling
from tiny_models import write_tiny_llama

QUESTION = (Message(role="system", content="Name the intent."), Message(role="user", content="Where is my card? 12"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny"))


def ask(choices: tuple[str, ...] = (), schema: bool = False) -> Request:
    fits = {"type": "object"} if schema else None
    return Request(function="intent", messages=QUESTION, choices=choices, response_schema=fits)


async def test_free_text_is_that_of_greedy_search(tiny: Path) -> None:
    policy = HFModel(tiny)
    ids = torch.tensor([policy.tokens(policy.chat.prompt(QUESTION))])
    model = policy._model
    written = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)[
        0, ids.shape[1] :
    ]
    reply = await policy.generate(ask(), Sampling(max_tokens=12, logprobs=True))
    assert reply.text == policy.tokenizer.decode(written, skip_special_tokens=True)
    assert reply.usage.input_tokens == ids.shape[1]
    assert reply.usage.output_tokens == len(reply.token_logprobs)
    with torch.inference_mode():
        first = torch.log_softmax(model(ids).logits[0, -1], -1).max().item()
    assert reply.token_logprobs[0].logprob == pytest.approx(first, abs=1e-4)


async def test_of_choices_it_takes_the_branch_that_is_likeliest_token_by_token(tiny: Path) -> None:
    policy = HFModel(tiny)
    choices = ("card arrival", "card lost", "exchange rate")
    reply = await policy.generate(ask(choices), Sampling())
    # by hand: one whole forward pass for every token that is not the only one left
    left = {c: [*policy.tokens(c), policy.tokenizer.eos_token_id] for c in choices}
    path = policy.tokens(policy.chat.prompt(QUESTION))
    computed = 0
    while len(left) > 1:
        allowed = {ids[0] for ids in left.values()}
        with torch.inference_mode():
            logits = policy._model(torch.tensor([path])).logits[0, -1]
        token = max(allowed, key=lambda t: float(logits[t]))
        computed += len(allowed) > 1
        left = {c: ids[1:] for c, ids in left.items() if ids[0] == token}
        path.append(token)
    assert [reply.text] == list(left)
    assert reply.usage.output_tokens == computed


async def test_what_it_cannot_honour_it_refuses_before_it_answers(tiny: Path) -> None:
    policy = HFModel(tiny)
    with pytest.raises(ModelError, match="greedily"):
        await policy.generate(ask(), Sampling(temperature=0.5))
    with pytest.raises(ModelError, match="schema"):
        await policy.generate(ask(schema=True), Sampling())
    with pytest.raises(ModelError, match="log-probabilities"):
        await policy.generate(ask(("a", "b")), Sampling(logprobs=True))
    await policy.close()
    await policy.close()


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PrenticeError, match="no transformers model"):
        HFModel(tmp_path)
