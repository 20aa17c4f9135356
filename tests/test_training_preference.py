"""Preference learning: the losses by hand, the same in parts as whole, runs that go on, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from killing import kill_underway, needs_sigkill, written
from preference_rows import pairs, thumbs
from prentice.errors import TrainingError
from prentice.progress import Silent
from prentice.records import Checkpoint, Ledger, Manifest, Message, Pair, Thumb
from prentice.records.parquet import PAIRS, LedgerRow, rows_hash, write_rows
from prentice.runs import read_record
from prentice.training.batches import micro_batches, shares
from prentice.training.config import LaunchConfig
from prentice.training.engine import ForestModel
from prentice.training.forest import Batch, Row, pad, plant
from prentice.training.items import Item
from prentice.training.launch import train_in_processes
from prentice.training.loop import Loop
from prentice.training.method import Method
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.items import kl_known, method_of, pair_items, thumb_items
from prentice.training.preference.losses import dpo_loss, kto_loss, preferred, told_apart
from prentice.training.preference.train import train_preferences
from prentice.training.run import Origin, Run
from prentice.training.start import Start, open_checker, open_model
from test_training_sft import SOURCE
from tiny_models import write_tiny_llama

WHERE = Path("rows.parquet")
CONFIG = PreferenceConfig(
    epochs=2, batch=4, lora_rank=4, lora_alpha=8, learning_rate=0.01, save_seconds=0, micro_tokens=1024
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def train(
    base: Path, out: Path, rows: Sequence[Pair] | Sequence[Thumb], config: PreferenceConfig = CONFIG
) -> Checkpoint:
    return train_preferences(config, rows, WHERE, base=base, out=out, source=SOURCE)


def curve(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def told(*rows: tuple[tuple[float, ...], float], **given: Sequence[float]) -> Batch:
    """A batch of rows with these reference log-probabilities and weights; more is given by row."""
    made = [
        Row(
            (1,),
            tuple(range(2, 2 + len(reference))),
            weight,
            {"reference": reference, **{name: (values[n],) * len(reference) for name, values in given.items()}},
        )
        for n, (reference, weight) in enumerate(rows)
    ]
    return plant(made)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_dpo_is_the_log_sigmoid_of_the_difference_of_rewards() -> None:
    # pair 0: chosen gained 0.5 + 0.1, rejected lost 0.4: margin 1.0; pair 1: chosen lost 0.2, rejected gained 0.3
    batch = told(((-1.0, -1.0), 1.0), ((-2.0,), 1.0), ((-0.5,), 3.0), ((-1.0, -0.2), 3.0))
    logprobs = torch.tensor([-0.5, -0.9, -2.4, -0.7, -0.9, 0.0], requires_grad=True)
    loss = dpo_loss(0.1)(logprobs, batch)
    expected = -math.log(sigmoid(0.1)) - 3 * math.log(sigmoid(-0.05))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    first, second = 0.1 * sigmoid(-0.1), 3 * 0.1 * sigmoid(0.05)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-first, -first, first, -second, second, second], rel=1e-4)
    assert preferred(logprobs, batch).item() == 1.0


def test_label_smoothing_takes_a_share_of_the_pair_turned_round() -> None:
    batch = told(((-1.0,), 1.0), ((-2.0,), 1.0))
    logprobs = torch.tensor([-0.5, -2.5])
    expected = -0.8 * math.log(sigmoid(0.1)) - 0.2 * math.log(sigmoid(-0.1))
    assert dpo_loss(0.1, 0.2)(logprobs, batch).item() == pytest.approx(expected, rel=1e-5)


def test_imitation_of_the_better_reply_is_added_per_token_of_each() -> None:
    batch = told(((-1.0, -1.0), 2.0), ((-2.0,), 2.0))
    logprobs = torch.tensor([-0.5, -0.9, -2.4])
    plain, both = dpo_loss(0.1)(logprobs, batch), dpo_loss(0.1, sft_weight=0.3)(logprobs, batch)
    assert (both - plain).item() == pytest.approx(2 * 0.3 * 0.7, rel=1e-5)


def test_kto_weighs_gains_over_the_kl_and_losses_below_it() -> None:
    # row 0, up: gained 0.6 of which the KL takes 0.2; row 1, down: lost 0.4; row 2, down, of weight 2: gained 0.3
    batch = told(((-1.0, -1.0), 1.0), ((-2.0,), 1.0), ((-1.0,), 2.0), good=(1.0, 0.0, 0.0), kl=(0.2, 0.2, 0.2))
    logprobs = torch.tensor([-0.5, -0.9, -2.4, -0.7], requires_grad=True)
    loss = kto_loss(0.5, desirable_weight=2.0, undesirable_weight=1.5)(logprobs, batch)
    up, down, worse = sigmoid(0.5 * 0.4), sigmoid(0.5 * 0.6), sigmoid(-0.5 * 0.1)
    assert loss.item() == pytest.approx(2 * (1 - up) + 1.5 * (1 - down) + 2 * 1.5 * (1 - worse), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    slopes = [-2 * 0.5 * up * (1 - up), 1.5 * 0.5 * down * (1 - down), 3 * 0.5 * worse * (1 - worse)]
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([slopes[0], slopes[0], *slopes[1:]], rel=1e-4)
    assert told_apart(logprobs, batch).item() == 2.0


def items_of(base: Path, rows: Sequence[Pair]) -> list[Item]:
    return pair_items(open_checker(512, WHERE, base), rows)


def thumbed(base: Path, rows: Sequence[Thumb]) -> list[Item]:
    return thumb_items(open_checker(512, WHERE, base), rows)


def test_the_sides_of_a_pair_are_two_rows_of_one_family_the_better_first(base: Path) -> None:
    one, other = items_of(base, pairs(1))
    assert (one.id, other.id) == ("pair0 (chosen)", "pair0 (rejected)")
    assert one.row.prompt == other.row.prompt
    assert one.family == other.family
    assert (one.turn, other.turn) == (0, 1)
    assert one.whole
    assert other.whole


def test_a_thumb_comes_with_the_reply_of_another_prompt(base: Path) -> None:
    rows = thumbs(4)
    rows[1] = rows[1].model_copy(update={"messages": rows[0].messages})  # the same prompt twice
    items = thumbed(base, rows)
    own, strangers = items[0::2], items[1::2]
    assert [item.turn for item in items] == [0, 1] * 4
    assert all(a.row.prompt == b.row.prompt for a, b in zip(own, strangers, strict=True))
    assert [own.index(o) for s in strangers for o in own if o.row.reply == s.row.reply][:2] == [3, 3]
    assert strangers[2].row.reply == own[1].row.reply


def test_a_strangers_reply_is_cut_to_the_longest_row(base: Path) -> None:
    longest = max(len(item.row.tokens) for item in thumbed(base, thumbs(8)) if item.turn == 0)
    items = thumb_items(open_checker(longest, WHERE, base), thumbs(8))
    assert max(len(item.row.tokens) for item in items) == longest


def test_the_kl_is_the_mean_departure_on_strangers_rows_and_never_below_zero(base: Path) -> None:
    items = [item.knowing({"reference": (-1.0,) * len(item.row.reply)}) for item in thumbed(base, thumbs(4))]
    lengths = [len(item.row.reply) for item in items if item.turn == 1]
    known = kl_known(lambda rows: [(-0.5,) * len(item.row.reply) for item in rows], items)
    assert [item.turn for item in known] == [0] * 4
    assert known[0].row.given["kl"] == pytest.approx((0.5 * sum(lengths) / 4,) * len(known[0].row.reply))
    none = kl_known(lambda rows: [(-1.5,) * len(item.row.reply) for item in rows], items)
    assert set(none[0].row.given["kl"]) == {0.0}


def stirred(base: Path) -> ForestModel:
    """The model with adapters that are not zero, so that every weight of theirs has a gradient."""
    model = open_model(CONFIG, base)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    return model


def referenced(model: ForestModel, items: Sequence[Item]) -> list[Item]:
    """The rows with made-up reference log-probabilities, and a KL."""
    torch.manual_seed(5)
    return [
        item.knowing(
            {"reference": tuple((-3 * torch.rand(len(item.row.reply))).tolist()), "kl": (0.1,) * len(item.row.reply)}
        )
        for item in items
    ]


def gradient(
    model: ForestModel, method: Method, parts: Sequence[Sequence[Item]], layout: Any = None
) -> tuple[float, Tensor]:
    """Loss and gradient added up over parts."""
    model.zero_grad(set_to_none=True)
    total, value = method.size([item for part in parts for item in part]), 0.0
    for part in parts:
        rows = [item.row for item in part]
        batch = model.batch(rows) if layout is None else layout(rows)
        loss = method.loss(model(batch), batch) / total
        loss.backward()  # type: ignore[no-untyped-call]
        value += loss.item()
    return value, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_parts_of_two_processes_give_the_loss_and_gradient_of_the_whole_batch_and_of_the_padded_one(
    base: Path, loss: Any
) -> None:
    config = CONFIG.model_copy(update={"loss": loss, "sft_weight": 0.2, "label_smoothing": 0.1})
    method, model = method_of(config), stirred(base)
    own = items_of(base, pairs(7)) if loss == "dpo" else thumbed(base, thumbs(7))[0::2]
    items = referenced(model, own)
    whole = gradient(model, method, [items])
    dealt = shares(items, 60, 2)
    assert len(dealt[0]) == len(dealt[1]) >= 2
    cut = gradient(model, method, [*dealt[0], *dealt[1]])
    padded = gradient(model, method, [items], lambda rows: pad(rows, plain=True))
    for value, found in (cut, padded):
        assert value == pytest.approx(whole[0], rel=1e-5)
        assert (found - whole[1]).norm() <= 1e-5 * whole[1].norm()


def test_rows_that_a_process_computes_to_keep_step_weigh_nothing(base: Path) -> None:
    method, model = method_of(CONFIG), stirred(base)
    items = [item.of_weight(0.0) for item in referenced(model, items_of(base, pairs(2)))]
    batch = model.batch([item.row for item in items])
    assert method.loss(model(batch), batch).item() == 0.0
    for item in thumbed(base, thumbs(2)):
        assert item.row.given["good"]
    rows = [item.of_weight(0.0).row for item in referenced(model, thumbed(base, thumbs(2))[0::2])]
    batch = model.batch(rows)
    assert kto_loss(0.1)(model(batch), batch).item() == 0.0


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12),
    tokens=st.integers(1, 120),
    processes=st.integers(1, 3),
    padded=st.booleans(),
)
def test_no_part_ever_holds_half_a_pair_and_the_better_reply_comes_first(
    lengths: list[tuple[int, int, int]], tokens: int, processes: int, padded: bool
) -> None:
    items = [
        Item(f"{number}.{turn}", Row((1,) * prompt, (number + 2,) * reply), f"p{number}", turn, whole=True)
        for number, (prompt, *replies) in enumerate(lengths)
        for turn, reply in enumerate(replies)
    ]
    dealt = shares(items, tokens, processes, padded=padded)
    for parts in (*dealt, micro_batches(items, tokens, padded=padded)):
        for part in parts:
            assert [item.turn for item in part] == [0, 1] * (len(part) // 2)
            assert [item.family for item in part[0::2]] == [item.family for item in part[1::2]]
    heavy = [item.id for parts in dealt for part in parts for item in part if item.row.weight]
    assert sorted(heavy) == sorted(item.id for item in items)


def run_of(base: Path, out: Path, items: list[Item], config: PreferenceConfig) -> Run:
    start = Start(open_model(config, base), items, (), WHERE)
    return Run("r", config, method_of(config), start, Origin(base, SOURCE, "d"), out, unit=2)


def test_the_reference_is_the_student_as_it_comes_and_the_first_loss_is_that_of_a_coin(
    base: Path, tmp_path: Path
) -> None:
    items = items_of(base, pairs(4))
    loop: Loop = run_of(base, tmp_path, items, CONFIG).loop()
    plain = open_model(CONFIG, base)
    with torch.no_grad():
        told_ = plain(pad([item.row for item in items], plain=True))
    first = loop.visits.of(0)
    known = {item.id: item.row.given["reference"] for item in first}
    expected = torch.split(told_, [len(item.row.reply) for item in items])
    for item, values in zip(items, expected, strict=True):
        assert known[item.id] == pytest.approx(values.tolist(), abs=1e-4)
    loop.run(Silent())
    assert loop.course.curve[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_a_run_learns_which_reply_is_better_and_leaves_a_readable_checkpoint(
    base: Path, tmp_path: Path, loss: Any
) -> None:
    wrong = Message(role="assistant", content="I do not know")
    rows: Any = [change(pair, rejected=wrong) for pair in pairs(16, val=6)] if loss == "dpo" else thumbs(16, val=6)
    config = CONFIG.model_copy(update={"loss": loss, "epochs": 12, "beta": 0.5})
    done = train(base, tmp_path / "out", rows, config)
    assert read_record(Checkpoint, tmp_path / "out" / "checkpoint.json") == done
    assert (done.method, done.kind, done.steps) == ("preference", "adapter", 36)
    assert done.figures["loss_last"] < 0.6 * done.figures["loss_first"]
    assert done.figures["gradient_difference"] <= 1e-5
    assert done.figures["val_accuracy"] > 0.6
    validated = [line for line in curve(tmp_path / "out") if "val_loss" in line]
    assert done.figures["val_loss"] == min(line["val_loss"] for line in validated)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["adapter", "checkpoint.json", "curve.jsonl"]
    assert train(base, tmp_path / "out", rows, config) == done


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_small_micro_batches_give_the_curve_of_one_large_batch(base: Path, tmp_path: Path, loss: Any) -> None:
    rows: Any = pairs(12, val=2) if loss == "dpo" else thumbs(12, val=2)
    config = CONFIG.model_copy(update={"loss": loss})
    train(base, tmp_path / "whole", rows, config)
    train(base, tmp_path / "cut", rows, config.model_copy(update={"micro_tokens": 40}))
    whole, cut = (curve(tmp_path / name) for name in ("whole", "cut"))
    assert [line["loss"] for line in cut] == pytest.approx([line["loss"] for line in whole], rel=1e-4)
    assert cut[-1]["val_loss"] == pytest.approx(whole[-1]["val_loss"], rel=1e-4)
    assert sum(line["tokens"] for line in cut) > sum(line["tokens"] for line in whole)


def test_two_processes_give_the_curve_of_one(base: Path, tmp_path: Path, one_thread: None) -> None:
    rows = pairs(12, val=2)
    dataset = write_pairs(tmp_path / "pairs", rows)
    config = CONFIG.model_copy(update={"micro_tokens": 60})
    train(base, tmp_path / "one", rows, config)
    launch = LaunchConfig(processes=2)
    done = train_in_processes(config, launch, dataset=dataset, base=base, out=tmp_path / "two", source=SOURCE)
    assert done.figures["val_loss"] == pytest.approx(curve(tmp_path / "one")[-1]["val_loss"], rel=1e-4)
    one, two = ([line["loss"] for line in curve(tmp_path / name)] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-4)


SCRIPT = """
import sys
from pathlib import Path
from prentice.records import ModelSource
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.train import train_preference
dataset, base, out, config = sys.argv[1:]
source = ModelSource(name="tiny", source="path:tiny", sha256="0" * 64)
config = PreferenceConfig.model_validate_json(config)
train_preference(config, dataset=Path(dataset), base=Path(base), out=Path(out), source=source)
"""


def write_pairs(folder: Path, rows: Sequence[Pair]) -> Path:
    names = sorted({name for row in rows for name in row.episodes})
    ledger = [LedgerRow(episode=name, turn=0, case="c", fate="kept") for name in names]
    splits = {split: sum(row.split == split for row in rows) for split in ("train", "val")}
    counts = Ledger(rows_in=len(names), kept=len(names))
    manifest = Manifest(hash=rows_hash(rows), ledger=counts, splits=splits, config={})
    write_rows(folder, PAIRS, rows, ledger, manifest)
    return folder


def arguments(dataset: Path, base: Path, out: Path, config: PreferenceConfig) -> list[str]:
    """Of the script."""
    return [str(dataset), str(base), str(out), config.model_dump_json()]


@needs_sigkill
def test_killed_with_kill_9_a_run_goes_on_with_the_same_reference(base: Path, tmp_path: Path, one_thread: None) -> None:
    rows = pairs(16, val=4)
    dataset = write_pairs(tmp_path / "pairs", rows)
    config = CONFIG.model_copy(update={"epochs": 12})
    kill_underway(SCRIPT, arguments(dataset, base, tmp_path / "killed", config), tmp_path / "killed", 5)
    assert written(tmp_path / "killed") < 36
    for out in ("killed", "whole"):
        train_preferences(config, rows, dataset / "rows.parquet", base=base, out=tmp_path / out, source=SOURCE)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    adapters = [(tmp_path / out / "adapter" / "adapter_model.safetensors").read_bytes() for out in ("killed", "whole")]
    assert adapters[0] == adapters[1]


@needs_sigkill
def test_a_reference_that_is_gone_or_another_than_before_a_kill_is_refused(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    rows = pairs(8)
    dataset = write_pairs(tmp_path / "pairs", rows)
    config = CONFIG.model_copy(update={"epochs": 200})
    kill_underway(SCRIPT, arguments(dataset, base, tmp_path / "out", config), tmp_path / "out", 3)
    weights = base / "model.safetensors"
    kept = weights.read_bytes()
    save_file({name: tensor * 1.01 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(TrainingError, match="its weights are not those with which this run began") as caught:
        train(base, tmp_path / "out", rows, config)
    assert f"remove {tmp_path / 'out'}" in caught.value.hint
    weights.unlink()
    with pytest.raises(TrainingError, match=r"base: the reference model is gone: no weights are there"):
        train(base, tmp_path / "out", rows, config)
    weights.write_bytes(kept)
    short = CONFIG.model_copy(update={"epochs": 1})  # another run may begin in the same folder
    assert train(base, tmp_path / "out", rows, short).steps == 2


def change(pair: Pair, **update: Any) -> Pair:
    return pair.model_copy(update=update)


def test_a_pair_whose_sides_are_the_same_tokens_stops_the_run_before_it_starts(base: Path, tmp_path: Path) -> None:
    rows = pairs(4)
    rows[2] = change(rows[2], rejected=rows[2].chosen)
    with pytest.raises(TrainingError, match=r"rows\.parquet: pair pair2: both sides are the same tokens"):
        train(base, tmp_path / "out", rows)
    assert not (tmp_path / "out" / "curve.jsonl").exists()


def test_a_side_that_cannot_be_trained_is_named_with_its_pair(base: Path, tmp_path: Path) -> None:
    rows = pairs(4)
    rows[1] = change(rows[1], rejected=Message(role="assistant", content=" "))
    with pytest.raises(TrainingError, match=r"rows\.parquet: row pair1 \(rejected\): its reply is empty"):
        train(base, tmp_path, rows)
    rows[1] = change(rows[1], rejected=Message(role="assistant", content="long " * 90))
    with pytest.raises(TrainingError, match=r"row pair1 \(rejected\): it has \d+ tokens and max_tokens is 100"):
        train(base, tmp_path, rows, CONFIG.model_copy(update={"max_tokens": 100}))


def test_pairs_for_a_loss_of_thumbs_are_refused(base: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"loss": "kto"})
    with pytest.raises(TrainingError, match='loss = "kto" learns from thumbs, and it holds 4 pairs and 0 thumbs'):
        train(base, tmp_path, pairs(4), config)


def test_no_pair_in_the_training_split_stops_the_run(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of its 4 rows is in the split `train`"):
        train(base, tmp_path, pairs(4, val=4))


def test_a_family_of_pairs_is_told_by_its_place_not_by_its_id(base: Path) -> None:
    twice = [change(pair, id="same") for pair in pairs(3)]
    assert len({item.family for item in items_of(base, twice)}) == 3


def test_full_training_prefers_too(base: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"method": "full", "learning_rate": 1e-3, "epochs": 6})
    done = train(base, tmp_path, pairs(8), config)
    assert done.kind == "full"
    assert done.figures["loss_first"] == pytest.approx(math.log(2), rel=1e-4)
    assert done.figures["loss_last"] < 0.9 * done.figures["loss_first"]
