"""The engine gives the gradient of the plain padded batch, whatever is shared and however it is cut."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    AutoTokenizer,
    BartConfig,
    BartForCausalLM,
    GptOssConfig,
    Lfm2Config,
    MambaConfig,
    PhiConfig,
    Qwen3NextConfig,
)

from prentice.errors import TrainingError
from prentice.models.chat import ChatFormat
from prentice.records import Example, Message
from prentice.training.attention import SMALL, forest_attention
from prentice.training.batches import micro_batches
from prentice.training.check import CheckedRow, Checker, stop_ids
from prentice.training.compared import compared
from prentice.training.engine import ForestModel, _log_softmax, _times
from prentice.training.flex import flex
from prentice.training.forest import Padded, Row, on_device, pad, plant
from prentice.training.lora import add_adapter
from prentice.training.losses import sft_loss
from prentice.training.proof import gradient_difference, prove
from training_models import FAMILIES, examples, write_family


def open_model(folder: Path, *, full: bool = False, narrow: bool = False) -> ForestModel:
    """A model whose adapter is not zero, so that every adapter weight has a gradient."""
    torch.manual_seed(3)
    dtype = torch.bfloat16 if narrow else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    # peft warns about its own rewriting of mixtral's experts
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"] if model.config.model_type == "mixtral" else "all-linear"
    adapter = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    return ForestModel(model if full else add_adapter(model, adapter), narrow=narrow)


def checked_rows(folder: Path, chats: list[Example]) -> list[CheckedRow]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    stops = stop_ids(tokenizer, folder)
    checker = Checker(tokenizer, ChatFormat.from_folder(folder), 512, stops, len(tokenizer), None, Path("rows.parquet"))
    return checker.check(chats)


def rows_of(folder: Path) -> list[Row]:
    return [checked.row for checked in checked_rows(folder, examples(8))]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family("llama", tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_gradient_is_that_of_the_padded_batch(family: Path, full: bool) -> None:
    assert gradient_difference(open_model(family, full=full), rows_of(family)) <= 1e-5


@pytest.mark.parametrize("count", [1, 9, 300])
@pytest.mark.parametrize("sure", [0.0, 16.0])
def test_a_large_vocabulary_is_added_up_exactly(count: int, sure: float) -> None:
    """torch's own ways lose what is small beside the sum: 1e-2 of a sure token's gradient, 1e-4 of a few tokens'."""
    torch.manual_seed(0)
    logits = torch.randn(count, 49_152) * 1.5
    logits[:, 7] += sure
    exact = logits.double().log_softmax(-1)
    found = _log_softmax(logits.clone())
    doubt, right = 1 - found[:, 7].double().exp(), 1 - exact[:, 7].exp()
    assert float((doubt / right - 1).abs().max()) <= 2e-3
    weight, chances = torch.randn(49_152, 64) * 0.02 + 0.1, found.exp()
    product = chances.double() @ weight.double()
    assert float((_times(chances, weight).double() - product).norm() / product.norm()) <= 2e-6


def test_log_probabilities_are_those_of_the_padded_batch(family: Path) -> None:
    model, rows = open_model(family), rows_of(family)
    plain = model(pad(rows, plain=True))
    torch.testing.assert_close(model(plant(rows)), plain, rtol=1e-4, atol=1e-5)


def test_long_rows_for_which_the_fused_kernel_takes_over_give_the_same_gradient(family: Path) -> None:
    texts = ("My card is lost. " * 20, "My card is lost. " * 24, "Nobody answers me! " * 21)
    chats = [
        row.model_copy(update={"messages": (Message(role="user", content=t),)})
        for row, t in zip(examples(3), texts, strict=True)
    ]
    rows = [checked.row for checked in checked_rows(family, chats)]
    assert any(b.queries.shape[1] * b.keys.shape[1] > SMALL for b in plant(rows).blocks)
    assert gradient_difference(open_model(family), rows) <= 1e-5


def test_a_whole_conversation_is_one_run_and_its_gradient_that_of_the_padded_batch(family: Path) -> None:
    said = tuple(torch.randint(5, 60, (260,), generator=torch.Generator().manual_seed(2)).tolist())
    turns = [Row(said[:end], said[end : end + 9]) for end in (40, 130, 251)]
    (block,) = plant(turns).blocks
    assert (block.lone, len(block.nodes)) == (0, 259)
    model = open_model(family)
    assert gradient_difference(model, turns) <= 1e-5
    # another that leaves it in the middle of a turn, and one that has nothing to do with it
    others = [Row(said[:90], (7, 8, 9)), Row(said[::-1][:200], (3, 4, 5))]
    assert [b.lone for b in plant(turns + others).blocks if b.lone is not None] == [259 + 2]
    assert gradient_difference(model, turns + others) <= 1e-5


def test_gradient_checkpointing_leaves_the_gradient_right(llama: Path) -> None:
    """It drops a key-value cache in silence, which would put the gradient off by more than 100 %; there is no cache."""
    model, rows = open_model(llama), rows_of(llama)
    forest = plant(rows)
    before = gradient(model, lambda: model(forest).sum())
    model.train()
    model.causal.activation_checkpointing_enable()
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    torch.testing.assert_close(gradient(model, lambda: model(forest).sum()), before)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_fused_kernel_with_block_masks_gives_the_log_probabilities_of_the_padded_batch(family: Path) -> None:
    """What a GPU computes, here without being compiled: sliding windows, capped scores and all. Its way back runs on
    GPUs only, where every run proves it before its first step."""
    AttentionInterface.register("fused_here", fused_here)
    torch.manual_seed(3)
    model, rows = AutoModelForCausalLM.from_pretrained(family), rows_of(family)
    forest, padded = plant(rows), pad(rows)
    with torch.no_grad():
        plain = model(input_ids=padded.ids, attention_mask=padded.mask).logits.log_softmax(-1).flatten(0, 1)
        model.set_attn_implementation("fused_here")
        nodes = {"input_ids": forest.ids[None], "position_ids": forest.positions[None]}
        ours = model(**nodes, forest=forest, use_cache=False).logits.log_softmax(-1)[0]
    torch.testing.assert_close(ours[forest.sources], plain[padded.sources], rtol=1e-4, atol=1e-5)


def fused_here(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **settings: Any
) -> tuple[Tensor, None]:
    """As `forest_attention` on a GPU."""
    del module, attention_mask
    window, cap = settings.get("sliding_window"), settings.get("softcap")
    out = flex(query, key, value, settings["forest"], scale=settings["scaling"], window=window, cap=cap)
    return out.transpose(1, 2), None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9).map(tuple), min_size=1, max_size=9))
def test_who_sees_whom_is_two_comparisons(texts: list[tuple[int, ...]]) -> None:
    forest = plant([Row(tokens[:1], tokens[1:]) for tokens in texts])
    seen = {node: [] for node in range(len(forest.ids))}  # type: dict[int, list[int]]
    for block in forest.blocks:
        for slot, node in zip(block.slots.tolist(), block.nodes.tolist(), strict=True):
            line, place = divmod(slot, block.queries.shape[1])
            seen[node] = sorted(block.keys[line, : int(block.positions[line, place]) + 1].tolist())
    ends = forest.ends.tolist()
    assert all(seen[i] == [j for j in range(i + 1) if i <= ends[j]] for i in seen)


@pytest.mark.parametrize("moved", [False, True])
def test_a_batch_moved_to_a_device_is_the_same_batch(moved: bool) -> None:
    rows = [Row((1, 2), (3, 4), given={"reference": (-0.5, -1.0)}), Row((1, 2), (5,), 2.0, {"reference": (-2.0,)})]
    for batch in (plant(rows), pad(rows)):
        same = on_device(batch, "cpu") if moved else batch
        assert same.given["reference"].tolist() == [-0.5, -1.0, -2.0]
        assert same.weights.tolist() == [1.0, 1.0, 2.0]
        assert same.rows.tolist() == [0, 0, 1]


def test_accumulated_micro_batches_give_the_gradient_of_one_batch(llama: Path) -> None:
    model, checked = open_model(llama), [row.item for row in checked_rows(llama, examples(8))]

    def loss(tokens: int) -> Tensor:
        parts = [plant([r.row for r in part]) for part in micro_batches(checked, tokens)]
        return torch.stack([sft_loss(model(forest), forest) for forest in parts]).sum()

    assert len(micro_batches(checked, 80)) > 2
    whole = gradient(model, lambda: loss(10_000))
    cut = gradient(model, lambda: loss(80))
    assert float((whole - cut).norm() / whole.norm()) <= 1e-6


def test_bfloat16_is_no_further_from_float32_than_padding(llama: Path) -> None:
    rows = rows_of(llama)
    wide, narrow = open_model(llama), open_model(llama, narrow=True)
    assert prove(narrow, rows) <= 1.25
    ours = gradient(narrow, lambda: narrow(plant(rows)).sum())
    exact = gradient(wide, lambda: wide(plant(rows)).sum())
    assert 1e-4 < float((ours - exact).norm() / exact.norm()) < 0.1


def test_a_difference_that_rounding_alone_makes_stops_nothing(llama: Path) -> None:
    """Of replies that the model is sure of almost nothing is left to learn, and roundings are as large as before."""
    model = open_model(llama, full=True)
    sharp(model)
    rows = [replace(row, reply=likeliest(model, row)) for row in rows_of(llama)]
    assert gradient_difference(model, rows) > 1e-5
    before = [p.detach().clone() for p in model.parameters()]
    assert prove(model, rows, through=model) > 1e-5
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def sharp(model: ForestModel) -> None:
    """Let its likeliest token be all but certain."""
    with torch.no_grad():
        model.causal.base_model.norm.weight.mul_(40.0)


def likeliest(model: ForestModel, row: Row) -> tuple[int, ...]:
    """A reply as long as the row's, greedily."""
    ids = torch.tensor([row.prompt])
    model.causal.set_attn_implementation("eager")
    for _ in row.reply:
        with torch.no_grad():
            ids = torch.cat([ids, model.causal(ids).logits[:, -1:].argmax(-1)], 1)
    model.causal.set_attn_implementation(model.attention)
    return tuple(ids[0, len(row.prompt) :].tolist())


def test_a_model_that_does_otherwise_than_assumed_is_stopped_by_the_proof(llama: Path) -> None:
    model, rows = open_model(llama), rows_of(llama)
    layer = model.causal.base_model.layers[0]
    # a layer that mixes neighbours in the batch: right for padded rows only
    handle = layer.register_forward_hook(lambda _m, _i, out: out + 0.1 * out.roll(1, dims=1))
    with pytest.raises(TrainingError, match="llama: the gradient with shared prefixes differs"):
        prove(model, rows)
    handle.remove()


SMALLEST: Any = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=64), "mamba: it has .* layers"),
        (
            Lfm2Config(**SMALLEST, layer_types=["conv", "full_attention"]),
            "lfm2: it has conv layers",
        ),
        (
            Qwen3NextConfig(
                **SMALLEST, num_experts=2, num_experts_per_tok=1, layer_types=["linear_attention", "full_attention"]
            ),
            "qwen3_next: it has linear_attention layers",
        ),
        (
            GptOssConfig(**SMALLEST, head_dim=16, num_local_experts=2, num_experts_per_tok=1),
            "gpt_oss: its attention has sinks",
        ),
    ],
    ids=["mamba", "conv", "linear attention", "sinks"],
)
def test_layers_that_are_not_attention_are_named_and_take_the_padded_batch(config: Any, reason: str) -> None:
    torch.manual_seed(5)
    model = ForestModel(AutoModelForCausalLM.from_config(config))
    assert re.search(reason, model.obstacle)
    rows = [Row((1, 2, 3, 4), (5, 6)), Row((1, 2, 3), (7, 8, 9, 10, 11)), Row((1, 2), (12,), weight=2.0)]
    batch = model.batch(rows)
    assert isinstance(batch, Padded)
    together = gradient(model, lambda: sft_loss(model(batch), batch))
    alone = torch.zeros_like(together)
    for row in rows:  # without any padding
        one = pad([row])
        alone += gradient(model, lambda one=one: sft_loss(model(one), one))  # type: ignore[misc]
    assert float((together - alone).norm() / alone.norm()) <= 1e-5


def test_dropout_that_a_base_brings_along_is_off_wherever_it_is_written() -> None:
    torch.manual_seed(5)
    drops = {"embd_pdrop": 0.9, "resid_pdrop": 0.9, "attention_dropout": 0.9}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    lm = AutoModelForCausalLM.from_config(PhiConfig(**sizes, **drops, vocab_size=64, initializer_range=0.2))
    model, rows = ForestModel(lm.train()), [Row((1, 2, 3, 4), (5, 6)), Row((1, 2, 3), (7, 8, 9)), Row((1, 2), (12,))]
    assert model.obstacle == ""
    assert torch.equal(model(plant(rows)), model(plant(rows)))
    assert gradient_difference(model, rows) <= 1e-5


def test_sinks_that_reach_the_attention_of_a_forest_are_refused_by_name() -> None:
    forest, states = plant([Row((1, 2, 3), (5, 6))]), torch.zeros(1, 2, 4, 8)
    with pytest.raises(TrainingError, match="Linear: prefix sharing is not exact for this attention"):
        forest_attention(nn.Linear(1, 1), states, states, states, None, forest=forest, s_aux=torch.zeros(2))


def test_an_encoder_decoder_is_refused_by_name() -> None:
    config = BartConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        decoder_attention_heads=2,
        vocab_size=32,
        is_encoder_decoder=True,
    )
    with torch.device("meta"):
        model = BartForCausalLM(config)
    model.config.is_encoder_decoder = True
    with pytest.raises(TrainingError, match="bart: it is an encoder-decoder"):
        ForestModel(model)


tokens = st.lists(st.integers(0, 3), min_size=1, max_size=14).map(tuple)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([(), (1, 2) * 6]), tokens, tokens), min_size=1, max_size=7))
def test_a_forest_holds_each_prefix_once_and_every_row_whole(
    parts: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]],
) -> None:
    rows = [Row(head + prompt, reply) for head, prompt, reply in parts]
    forest = plant(rows)
    prefixes = {row.tokens[: i + 1] for row in rows for i in range(len(row.tokens) - 1)}
    assert len(forest.ids) == len(prefixes)
    seen = {node: [] for node in range(len(forest.ids))}  # type: dict[int, list[int]]
    for block in forest.blocks:
        for slot, node in zip(block.slots.tolist(), block.nodes.tolist(), strict=True):
            line, place = divmod(slot, block.queries.shape[1])
            assert block.queries[line, place] == node
            seen[node] = block.keys[line, : int(block.positions[line, place]) + 1].tolist()
    # each node sees exactly its own prefix, itself last
    assert {tuple(forest.ids[path].tolist()) for path in seen.values()} == prefixes
    assert all(path[-1] == node for node, path in seen.items())
    assert all(forest.positions[path].tolist() == list(range(len(path))) for path in seen.values())
    assert torch.cat([b.nodes for b in forest.blocks])[forest.order].tolist() == list(range(len(forest.ids)))
    learnt = [forest.targets[forest.rows == i].tolist() for i in range(len(rows))]
    assert learnt == [list(row.reply) for row in rows]
    for source, target, row in zip(forest.sources, forest.targets, forest.rows, strict=True):
        path = [*forest.ids[seen[int(source)]].tolist(), int(target)]
        assert tuple(path) == rows[int(row)].tokens[: len(path)]


def gradient(model: ForestModel, loss: Callable[[], Tensor]) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([80] * 9, (6, 80)),
        ([90], (1, 90)),
        ([150] * 9, (3, 150)),
        ([300, 300, 20], (2, 300)),
        ([100, 100, 100, 450, 100], (3, 100)),
        ([4000, 20], (2, 512)),
    ],
)
def test_as_many_rows_are_compared_as_padding_is_cheap_for(lengths: list[int], expected: tuple[int, int]) -> None:
    assert compared(lengths) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row((1, 2, 3), (4, 5)), Row((1, 2, 3), (4, 5))),
        (Row((1, 2, 3, 4, 5, 6), (7, 8)), Row((1, 2, 3, 4), (7, 8))),
        (Row((1,), (2, 3, 4, 5, 6, 7, 8)), Row((1,), (2, 3, 4, 5, 6))),
        (
            Row((1, 2, 3, 4, 5), (6, 7, 8, 9), given={"reference": (0.1, 0.2, 0.3, 0.4)}),
            Row((1, 2, 3), (6, 7, 8), given={"reference": (0.1, 0.2, 0.3)}),
        ),
    ],
)
def test_of_a_long_row_the_beginnings_of_prompt_and_reply_are_compared(row: Row, expected: Row) -> None:
    assert row.beginning(6) == expected
