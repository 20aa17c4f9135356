"""Which rows a step learns from, and how they are cut: families together, memory bounded, every row once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, Lfm2Config

from prentice.training.batches import Order, families, micro_batches, shares
from prentice.training.config import SFTConfig
from prentice.training.forest import Row, pad, plant
from prentice.training.items import Item
from prentice.training.start import is_padded, open_checker
from prentice.training.workload import work_of
from tiny_models import write_tiny_llama
from training_models import begin_with, examples

WHERE = Path("rows.parquet")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def checked(base: Path, count: int) -> list[Item]:
    return [row.item for row in open_checker(512, WHERE, base).check(examples(count))]


def row(tokens: int, *, episode: str = "", turn: int = 0, prompt: tuple[int, ...] | None = None) -> Item:
    """A row of so many tokens; those of an episode differ in their last one alone."""
    name = episode or f"e{tokens}"
    start = tuple(range(100, 98 + tokens)) if prompt is None else prompt
    return Item(f"{name}/{turn}", Row(start, (1 + turn, 2)), family=name, turn=turn)


def episode(name: str, first: int, turns: int) -> list[Item]:
    """Turns whose prompts grow by three tokens each, after a beginning of ten that is the episode's own."""
    begin = tuple(range(first, first + 10))
    return [row(0, episode=name, turn=t, prompt=begin + tuple(range(500, 500 + 3 * t))) for t in range(turns)]


def test_turns_with_one_growing_history_stay_together_and_in_order() -> None:
    rows = [r for pair in zip(episode("a", 0, 4), episode("b", 20, 4), strict=True) for r in pair] + [row(9), row(7)]
    assert families(rows) == [[0, 2, 4, 6], [1, 3, 5, 7], [8], [9]]
    for epoch in range(3):
        places = Order(rows, seed=1).of(epoch)
        assert sorted(places) == list(range(10))
        first = places.index(0)
        assert places[first : first + 4] == [0, 2, 4, 6]
    assert Order(rows, seed=1).of(0) != Order(rows, seed=1).of(1)


def test_turns_that_share_no_history_are_shuffled_one_by_one() -> None:
    views = [row(0, episode="a", turn=t, prompt=(1, 2, 30 + t, 4)) for t in range(6)]
    assert families(views) == [[0], [1], [2], [3], [4], [5]]
    generator = torch.Generator().manual_seed(1_000_003 * 5 + 2)
    assert Order(views, seed=5).of(2) == torch.randperm(6, generator=generator).tolist()


def test_quality_draws_rows_as_often_as_they_weigh(base: Path) -> None:
    rows = [replace(row, row=replace(row.row, weight=1.0 + 8 * (n == 3))) for n, row in enumerate(checked(base, 10))]
    drawn = [place for epoch in range(300) for place in Order(rows, 0, by_weight=True).of(epoch)]
    assert len(drawn) == 3000
    assert drawn.count(3) / len(drawn) == pytest.approx(9 / 18, abs=0.05)
    assert sorted(Order(rows, 0).of(0)) == list(range(10))


def test_parts_hold_every_row_once_shortest_first(base: Path) -> None:
    rows = checked(base, 20)
    for padded in (False, True):
        flat = [row for part in micro_batches(rows, 100, padded=padded) for row in part]
        assert sorted(r.id for r in flat) == sorted(r.id for r in rows)
        assert all(len(a.row.tokens) <= len(b.row.tokens) for a, b in pairwise(flat))


episodes = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(episodes, st.integers(20, 90))
def test_what_a_part_computes_fits_whatever_rows_share(shapes: list[tuple[int, int]], tokens: int) -> None:
    rows = [r for n, (first, turns) in enumerate(shapes) for r in episode(f"e{n}", first, turns)]
    longest, begin = max(len(r.row.tokens) for r in rows), begin_with([r.row.tokens for r in rows])
    for part in micro_batches(rows, tokens):
        assert plant([r.row for r in part]).ids.numel() <= max(tokens + begin, longest)
    for part in micro_batches(rows, tokens, padded=True):
        assert len(part) == 1 or pad([r.row for r in part]).ids.numel() <= tokens


def test_a_long_instruction_leaves_room_for_rows_that_share_it() -> None:
    instruction = tuple(range(1000, 3000))
    rows = [row(0, episode=f"e{n}", prompt=(*instruction, n, n)) for n in range(30)]
    # beside the instruction a row computes three tokens: its two own and the first of its reply
    assert [len(part) for part in micro_batches(rows, 75)] == [18, 12]
    with pytest.raises(ValueError, match="parts of no tokens"):
        micro_batches(rows, 0)


def test_an_episode_is_not_cut_where_its_last_turn_alone_would_take_as_much() -> None:
    said = [tuple(range(3 * t + 10)) for t in range(30)]
    turns = [row(0, episode="a", turn=t, prompt=prompt) for t, prompt in enumerate(said)]
    chain = [replace(r, row=Row(r.row.prompt, (3 * r.turn + 10, 3 * r.turn + 11))) for r in turns]
    (part,) = micro_batches(chain, 20)
    assert part == chain


def test_the_turns_of_an_episode_are_computed_together() -> None:
    rows = [r for n in range(4) for r in episode(f"e{n}", 20 * n, 5)]
    (part,) = micro_batches(rows, 200)
    # 10 tokens of its own, 12 of history and 5 times one supervised token that is computed: 27 an episode
    assert plant([r.row for r in part]).ids.numel() == 4 * 27
    halves = micro_batches(rows, 75)  # two and a half episodes
    assert [{r.family for r in half} for half in halves] == [{"e0", "e1"}, {"e2", "e3"}]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_process_has_as_many_parts_and_every_row_weighs_once(base: Path, processes: int, padded: bool) -> None:
    rows = checked(base, 7)
    dealt = shares(rows, 60, processes, padded=padded)
    assert len({len(parts) for parts in dealt}) == 1
    flat = [row for parts in dealt for part in parts for row in part]
    assert sorted(r.id for r in flat if r.row.weight > 0) == sorted(r.id for r in rows)
    assert [len(parts) for parts in shares(rows[:1], 60, processes)] == [1] * processes


def test_a_base_whose_rows_are_padded_is_told_without_its_weights_and_counted_as_such(
    base: Path, tmp_path: Path
) -> None:
    conv = Lfm2Config(
        hidden_size=32,
        num_hidden_layers=2,
        vocab_size=AutoConfig.from_pretrained(base).vocab_size,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        layer_types=["conv", "full_attention"],
    )
    folder = write_tiny_llama(tmp_path)
    (folder / "model.safetensors").unlink()
    conv.save_pretrained(folder)
    assert is_padded(folder)
    assert not is_padded(base)
    rows = open_checker(512, WHERE, base).check(examples(16))
    shared, padded = (work_of(rows, SFTConfig(batch=16, micro_tokens=8192), padded=p) for p in (False, True))
    assert padded.epoch.nodes == 16 * padded.longest
    assert shared.epoch.nodes < padded.epoch.nodes
    assert padded.epoch.supervised == shared.epoch.supervised == sum(len(r.row.reply) for r in rows)
    AutoModelForCausalLM.from_config(conv)  # such a model can be made
