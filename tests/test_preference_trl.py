"""TRL is the measure: the same pairs and thumbs, student and reference give its loss and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from preference_rows import evenly, pairs, thumbs
from prentice.training.engine import ForestModel
from prentice.training.items import Item
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.items import kl_known, method_of, pair_items, thumb_items
from prentice.training.start import open_checker
from tiny_models import write_tiny_llama

COUNT = 6
WHERE = Path("rows")
LIMIT = 1e-5
QUIET = {"bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True, "use_cpu": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A student, and another as its reference, so that rewards are not 0."""
    folder = tmp_path_factory.mktemp("models")
    student, reference = write_tiny_llama(folder / "student"), write_tiny_llama(folder / "reference")
    model = AutoModelForCausalLM.from_pretrained(student)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.03 * weight.std() * torch.randn_like(weight))
    model.save_pretrained(student)
    return student, reference


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def scored(model: ForestModel, items: Sequence[Item]) -> list[tuple[float, ...]]:
    with torch.no_grad():
        found = model(model.batch([item.row for item in items]))
    return [tuple(part.tolist()) for part in torch.split(found, [len(item.row.reply) for item in items])]


def referenced(folder: Path, items: Sequence[Item]) -> list[Item]:
    told = scored(ForestModel(loaded(folder)), items)
    return [item.knowing({"reference": values}) for item, values in zip(items, told, strict=True)]


def ours(
    config: PreferenceConfig, student: Path, reference: Path, items: Sequence[Item]
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient of a step over these rows, by the engine."""
    method, model = method_of(config), ForestModel(loaded(student))
    rows: Sequence[Item] = referenced(reference, items)
    if method.prepare is not None:
        rows = kl_known(lambda some: scored(model, some), rows)
    batch = model.batch([item.row for item in rows])
    loss = method.loss(model(batch), batch) / method.size(rows)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), gradients(model.causal)


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def theirs(trainer: Any, columns: list[dict[str, Any]]) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient of the same rows, by TRL's own trainer, its collator given our tokens."""
    inputs = trainer.data_collator(columns)
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), gradients(trainer.model)


def are_equal(one: tuple[float, dict[str, Tensor]], other: tuple[float, dict[str, Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=LIMIT)
    assert one[1].keys() == other[1].keys()
    mine, its = (torch.cat([grads[name].flatten() for name in sorted(grads)]) for grads in (one[1], other[1]))
    assert its.norm() > 1e-3
    assert (mine - its).norm() <= LIMIT * its.norm()


@pytest.mark.filterwarnings("ignore")
def test_dpos_loss_and_gradient_are_those_of_trl(models: tuple[Path, Path], tmp_path: Path) -> None:
    disable_progress_bars()
    student, reference = models
    items = pair_items(open_checker(512, WHERE, student), evenly(pairs(COUNT)))
    args = DPOConfig(str(tmp_path), beta=0.3, loss_type=["sigmoid"], max_length=None, **QUIET)
    text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    tokenizer = AutoTokenizer.from_pretrained(student)
    trainer = DPOTrainer(loaded(student), loaded(reference), args, train_dataset=text, processing_class=tokenizer)
    columns = [
        {
            "prompt_ids": list(chosen.row.prompt),
            "chosen_ids": list(chosen.row.reply),
            "rejected_ids": list(rejected.row.reply),
        }
        for chosen, rejected in zip(items[0::2], items[1::2], strict=True)
    ]
    are_equal(ours(PreferenceConfig(beta=0.3), student, reference, items), theirs(trainer, columns))


@pytest.mark.filterwarnings("ignore")
def test_ktos_loss_and_gradient_are_those_of_trl(models: tuple[Path, Path], tmp_path: Path) -> None:
    """Its estimate of the KL is one for each micro-batch, which here is the step."""
    disable_progress_bars()
    student, reference = models
    rows = [thumb.model_copy(update={"weight": 1.0}) for thumb in thumbs(COUNT)]
    items = thumb_items(open_checker(512, WHERE, student), rows)
    config = PreferenceConfig(loss="kto", beta=0.3, desirable_weight=1.5, undesirable_weight=0.8)
    args = KTOConfig(
        str(tmp_path),
        beta=0.3,
        desirable_weight=1.5,
        undesirable_weight=0.8,
        max_length=None,
        per_device_train_batch_size=COUNT,
        **QUIET,
    )
    text = Dataset.from_list([{"prompt": "a", "completion": "b", "label": n % 2 == 0} for n in range(COUNT)])
    tokenizer = AutoTokenizer.from_pretrained(student)
    trainer = KTOTrainer(loaded(student), loaded(reference), args, train_dataset=text, processing_class=tokenizer)
    columns = [
        {
            "prompt_ids": list(own.row.prompt),
            "completion_ids": list(own.row.reply),
            "KL_completion_ids": list(stranger.row.reply),
            "label": own.row.given["good"][0] == 1.0,
        }
        for own, stranger in zip(items[0::2], items[1::2], strict=True)
    ]
    are_equal(ours(config, student, reference, items), theirs(trainer, columns))
