"""What distillation makes of a position: values and derivatives by hand, against autograd, and against TRL."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from prentice.training.distill.divergences import divergence_of, forward_kl, jensen_shannon, reverse_kl
from prentice.training.distill.hidden import Imitator, apart, mapped
from prentice.training.distill.soft import IDS, LOGS, SoftHead
from prentice.training.engine import ForestModel
from prentice.training.forest import Batch, Row, pad, plant
from prentice.training.heads import TokenHead, most_likely
from prentice.training.losses import sft_loss
from prentice.training.proof import gradient_difference
from test_training_engine import open_model, rows_of
from training_models import FAMILIES, write_family

STUDENT = (0.5, 0.2, 0.15, 0.1, 0.05)
IDS_TOLD, TOLD = (1, 0), (0.6, 0.3, 0.1)
"""The teacher names two of five words, and leaves a tenth for the others; the student has .2, .5 and .3 there."""


def batch_of(targets: list[int], ids: Tensor, logs: Tensor) -> Batch:
    """A batch of which only the supervised positions matter."""
    count = len(targets)
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(
        ids=zeros,
        sources=zeros,
        targets=torch.tensor(targets),
        rows=zeros,
        weights=torch.ones(count),
        given={IDS: ids, LOGS: logs},
    )


def small(divergence: Any, alpha: float = 1.0) -> tuple[Tensor, Tensor]:
    """Value and derivative at the one position of the example; its own token is word 2."""
    batch = batch_of([2], torch.tensor([IDS_TOLD]), torch.tensor([TOLD], dtype=torch.float64).log())
    logs = torch.tensor([STUDENT], dtype=torch.float64).log()
    values, pull = SoftHead(batch, divergence, alpha).at(slice(0, 1), logs, slope=True)
    assert pull is not None
    return values[0], pull[0]


def test_the_forward_divergence_by_hand() -> None:
    value, pull = small(forward_kl)
    assert float(value) == pytest.approx(-(0.6 * math.log(3) + 0.3 * math.log(0.6) + 0.1 * math.log(1 / 3)))
    # q - p at the words named; the others share .1 - .3 in proportion to what the student gives them
    assert pull.tolist() == pytest.approx([0.3 - 0.5, 0.6 - 0.2, -0.2 * 0.5, -0.2 / 3, -0.2 / 6])


def test_the_reverse_divergence_by_hand() -> None:
    value, pull = small(reverse_kl)
    off = 0.2 * math.log(1 / 3) + 0.5 * math.log(5 / 3) + 0.3 * math.log(3)
    assert float(value) == pytest.approx(-off)
    # -p_v (log P/Q of its outcome - the divergence)
    by_hand = [0.5 * (math.log(5 / 3) - off), 0.2 * (math.log(1 / 3) - off)]
    by_hand += [p * (math.log(3) - off) for p in STUDENT[2:]]
    assert pull.tolist() == pytest.approx([-x for x in by_hand])


def test_the_jensen_shannon_divergence_by_hand() -> None:
    value, pull = small(jensen_shannon)
    # the mixture is .4, .4, .2
    told = 0.6 * math.log(1.5) + 0.3 * math.log(0.75) + 0.1 * math.log(0.5)
    ours = 0.2 * math.log(0.5) + 0.5 * math.log(1.25) + 0.3 * math.log(1.5)
    assert float(value) == pytest.approx(-(told + ours) / 2)
    by_hand = [0.25 * (math.log(1.25) - ours), 0.1 * (math.log(0.5) - ours)]
    by_hand += [0.5 * p * (math.log(1.5) - ours) for p in STUDENT[2:]]
    assert pull.tolist() == pytest.approx([-x for x in by_hand])


def test_alpha_is_the_share_of_the_teacher_and_the_rest_is_the_rows_own_token() -> None:
    whole, soft = small(forward_kl)
    value, pull = small(forward_kl, alpha=0.25)
    assert float(value) == pytest.approx(0.25 * float(whole) + 0.75 * math.log(0.15))
    hard = [(1.0 if word == 2 else 0.0) - p for word, p in enumerate(STUDENT)]
    assert pull.tolist() == pytest.approx([0.25 * float(s) + 0.75 * h for s, h in zip(soft, hard, strict=True)])


@given(
    seed=st.integers(0, 10_000),
    vocabulary=st.integers(3, 40),
    named=st.integers(1, 40),
    name=st.sampled_from(["forward_kl", "reverse_kl", "jensen_shannon"]),
    beta=st.floats(0.02, 0.98),
    alpha=st.floats(0, 1),
    sure=st.sampled_from([0.0, 5.0, 20.0]),
)
@settings(max_examples=60, deadline=None)
def test_value_and_derivative_are_those_of_autograd(
    seed: int, vocabulary: int, named: int, name: str, beta: float, alpha: float, sure: float
) -> None:
    torch.manual_seed(seed)
    logits, theirs = (torch.randn(4, vocabulary, dtype=torch.float64) * 2 for _ in range(2))
    logits[:, 0] += sure
    theirs[:, 1] += sure
    ids, logs = most_likely(theirs.log_softmax(-1), min(named, vocabulary), vocabulary)
    head = SoftHead(batch_of([0, 1, 2, 1], ids, logs), divergence_of(name, beta), alpha)
    logits.requires_grad_()
    plain = head.plain(logits)
    (expected,) = torch.autograd.grad(plain.sum(), logits)
    values, pull = head.at(slice(0, 4), logits.detach().log_softmax(-1), slope=True)
    assert pull is not None
    torch.testing.assert_close(values, plain.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pull, expected, rtol=1e-8, atol=1e-8)
    # what moves all logits alike moves no probability
    torch.testing.assert_close(pull.sum(-1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-8)


@given(seed=st.integers(0, 10_000), vocabulary=st.integers(2, 40), named=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_who_says_what_the_teacher_says_is_not_off(seed: int, vocabulary: int, named: int) -> None:
    torch.manual_seed(seed)
    logs = (torch.randn(3, vocabulary, dtype=torch.float64) * 3).log_softmax(-1)
    ids, told = most_likely(logs.clone(), min(named, vocabulary), vocabulary)
    for divergence in (forward_kl, reverse_kl, jensen_shannon):
        head = SoftHead(batch_of([0, 1, 0], ids, told), divergence, 1.0)
        values, pull = head.at(slice(0, 3), logs.clone(), slope=True)
        assert pull is not None
        assert float(values.abs().max()) <= 1e-9
        assert float(pull.abs().max()) <= 1e-9


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_loss_and_gradient_are_those_of_trl(beta: float) -> None:
    """TRL's beta is 0 for the forward divergence, 1 for the reverse one; it compares the whole vocabulary."""
    from trl.experimental.gkd.gkd_trainer import GKDTrainer  # it loads half of the hub's libraries

    torch.manual_seed(1)
    vocabulary = 97
    logits, theirs = (torch.randn(1, 12, vocabulary) * 3 for _ in range(2))
    logits.requires_grad_()
    expected = GKDTrainer.generalized_jsd_loss(logits, theirs, beta=beta, reduction="sum")
    (slope,) = torch.autograd.grad(expected, logits)
    ids, logs = most_likely(theirs[0].log_softmax(-1), vocabulary, vocabulary)
    name = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(beta, "jensen_shannon")
    head = SoftHead(batch_of([0] * 12, ids, logs), divergence_of(name, beta), 1.0)
    values, pull = head.at(slice(0, 12), logits.detach()[0].log_softmax(-1), slope=True)
    assert pull is not None
    assert abs(float(-values.sum() / expected.detach() - 1)) <= 1e-5
    assert float((-pull - slope[0]).norm() / slope.norm()) <= 1e-5


def test_the_likeliest_tokens_and_the_rest_add_up_to_one_however_sure_the_teacher_is() -> None:
    logits = torch.zeros(1, 49_152)
    logits[0, 7] = 30.0
    ids, logs = most_likely(logits.log_softmax(-1), 4, 49_152)
    assert ids[0, 0] == 7
    # 49 148 words of e^-30 each: 1 - sum would be 0 or 6e-8
    assert float(logs[0, -1].exp()) == pytest.approx(49_148 * math.exp(-30), rel=1e-3)


def told_by(model: ForestModel, rows: list[Row], top: int = 7) -> list[Row]:
    """The rows with what this model says of them."""
    ids, logs = model.likeliest(plant(rows), top, 10_000)
    lengths = [len(row.reply) for row in rows]
    words = zip(rows, torch.split(ids, lengths), torch.split(logs, lengths), strict=True)
    return [Row(r.prompt, r.reply, r.weight, {IDS: i.int(), LOGS: x}) for r, i, x in words]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family("llama", tmp_path_factory.mktemp("llama"))


HEADS: dict[str, Callable[[Batch], SoftHead]] = {
    "forward": partial(SoftHead, divergence=forward_kl, alpha=1.0),
    "reverse": partial(SoftHead, divergence=reverse_kl, alpha=1.0),
    "mixed": partial(SoftHead, divergence=partial(jensen_shannon, beta=0.3), alpha=0.6),
}


def another(folder: Path) -> Any:
    """A model that is near this one: of two that are the same the gradient is nothing but rounding."""
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    return model


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("head", list(HEADS))
def test_the_gradient_of_soft_targets_is_that_of_the_padded_batch(family: Path, head: str, full: bool) -> None:
    model = open_model(family, full=full)
    rows = told_by(ForestModel(another(family)), rows_of(family))
    model.head = HEADS[head]
    torch.testing.assert_close(model(plant(rows)), model(pad(rows, plain=True)), rtol=1e-4, atol=1e-5)
    assert gradient_difference(model, rows) <= 1e-5


def test_a_teacher_names_the_tokens_that_transformers_finds_likeliest(llama: Path) -> None:
    rows = rows_of(llama)
    lm = AutoModelForCausalLM.from_pretrained(llama).eval()
    ids, logs = ForestModel(lm).likeliest(plant(rows), 5, 10_000)
    expected = []
    for row in rows:
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(llama).eval()(torch.tensor([row.tokens[:-1]])).logits[0]
        expected.append(logits[len(row.prompt) - 1 :].log_softmax(-1))
    known, places = torch.cat(expected).topk(5)
    assert torch.equal(ids, places)
    torch.testing.assert_close(logs[:, :5], known, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(len(logs)))


def test_hidden_states_apart_by_hand() -> None:
    ours = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0]])
    theirs = torch.tensor([[8.0, 6.0], [-5.0, 0.0], [7.0, 7.0]])
    # of length 1: (.6, .8) and (.8, .6); opposite; the same
    assert apart(ours, theirs).tolist() == pytest.approx([0.08, 4.0, 0.0], abs=1e-6)


def test_layers_are_mapped_to_those_that_lie_as_deep() -> None:
    assert mapped(2, 4) == [(1, 2), (2, 4)]
    assert mapped(3, 3) == [(1, 1), (2, 2), (3, 3)]
    assert mapped(15, 30) == [(layer, 2 * layer) for layer in range(1, 16)]


def imitator(student: Path, teacher: Path, weight: float = 0.5) -> Imitator:
    return Imitator(open_model(student), ForestModel(AutoModelForCausalLM.from_pretrained(teacher)), weight)


def test_projections_start_as_identity_and_learn_and_the_teacher_does_not(llama: Path) -> None:
    model, rows = imitator(llama, llama), rows_of(llama)
    learnt = list(model.projections.parameters())
    assert all(torch.equal(weight, torch.eye(64)) for weight in learnt)
    batch = plant(rows)
    loss: Tensor = sft_loss(model(batch), batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and float(weight.grad.norm()) > 0 for weight in learnt)
    assert all(p.grad is None for p in model.teacher.parameters())


def test_what_hidden_states_are_off_is_taken_from_the_value_of_each_token(llama: Path) -> None:
    """Student and teacher are one model but for an adapter: hidden states by transformers, distance by hand."""
    model, row = imitator(llama, llama, weight=0.5), rows_of(llama)[0]
    plain = AutoModelForCausalLM.from_pretrained(llama).eval()
    ids = torch.tensor([row.tokens[:-1]])
    with torch.no_grad(), model.as_it_came():
        ours = model.causal(ids, output_hidden_states=True).hidden_states
        theirs = plain(ids, output_hidden_states=True).hidden_states
        without = TokenHead(pad([row])).plain(model.causal(ids).logits[0, len(row.prompt) - 1 :])
    with torch.no_grad():
        values = model(plant([row]))
    off = [
        2 - 2 * torch.cosine_similarity(a[0], b[0], dim=-1)[len(row.prompt) - 1 :]
        for a, b in zip(ours[1:], theirs[1:], strict=True)
    ]
    assert float(torch.stack(off).mean()) > 1e-3
    torch.testing.assert_close(values, without - 0.5 * torch.stack(off).mean(0), rtol=1e-4, atol=1e-5)


def test_the_gradient_through_hidden_states_is_that_of_the_padded_batch(family: Path, tmp_path: Path) -> None:
    teacher = write_family("llama", tmp_path / "wide", hidden_size=96, num_hidden_layers=3)
    model = imitator(family, teacher)
    assert [tuple(weight.shape) for weight in model.projections.parameters()] == [(96, 64)] * 2
    rows = [row for row in rows_of(family) if max(row.tokens) < len(model.teacher.causal.get_input_embeddings().weight)]
    assert len(rows) >= 2
    assert gradient_difference(model, rows) <= 1e-5
