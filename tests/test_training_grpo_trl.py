"""TRL is the measure: the same stored rollouts give the loss and the gradient of its GRPOTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig as TRLConfig
from trl import GRPOTrainer

from prentice.training.engine import ForestModel
from prentice.training.forest import Row
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.losses import ADVANTAGE, OLD, SAMPLED
from prentice.training.grpo.train import method_of
from prentice.training.items import Item
from prentice.training.method import REFERENCE
from prentice.training.start import open_model
from tiny_models import write_tiny_llama

LIMIT = 1e-5
CONFIG = GRPOConfig(lora_rank=4, lora_alpha=8, kl=0.1, correction=1.5)
PROMPTS = ((1, 30, 31, 32), (1, 30, 31), (1, 40))
TURNS = (((50, 51, 52), (), ()), ((53, 2), (), ()), ((60, 61), (33, 34), (62, 63, 2)), ((54, 55, 56, 57, 2), (), ()))
"""What is drawn, what the environment says to it, what is drawn then; the third has two turns."""


@dataclass(frozen=True)
class Stored:
    """A rollout as both take it: all tokens after the prompt, and of each whether the student drew it."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    own: tuple[bool, ...]
    advantage: float
    old: Tensor
    sampled: Tensor
    reference: Tensor

    def items(self, name: str) -> list[Item]:
        """A row a turn, as prentice stores it."""
        items, place = [], 0
        while place < len(self.own):
            end = next((i for i in range(place, len(self.own)) if not self.own[i]), len(self.own))
            part = slice(place, end)
            known = {OLD: self.old, SAMPLED: self.sampled, REFERENCE: self.reference}
            given = {key: tuple(value[part].tolist()) for key, value in known.items()}
            row = Row(
                self.prompt + self.completion[:place],
                self.completion[part],
                given={**given, ADVANTAGE: (self.advantage,) * (end - place)},
            )
            items.append(Item(f"{name}-{place}", row, family=name, turn=place))
            place = next((i for i in range(end, len(self.own)) if self.own[i]), len(self.own))
        return items


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def stored() -> list[Stored]:
    """Rollouts whose log-probabilities are such that some ratios are clipped, above and below, and some are not."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number, (first, told, second) in enumerate(TURNS):
        completion = first + told + second
        own = (True,) * len(first) + (False,) * len(told) + (True,) * len(second)
        numbers = [torch.randn(len(own), generator=generator) * 0.5 - 5 for _ in range(3)]
        advantage = (1.3, -0.7, 0.9, -1.5)[number]
        found.append(Stored(PROMPTS[number % 3], completion, own, advantage, *numbers))
    return found


def adapted(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def ours(base: Path, rollouts: Sequence[Stored], config: GRPOConfig) -> tuple[float, dict[str, Tensor], ForestModel]:
    """Loss, gradient and model of prentice, its adapter filled with noise."""
    model = open_model(config, base, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for _, parameter in sorted(adapted(model.model).items()):
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    items = [item for number, each in enumerate(rollouts) for item in each.items(str(number))]
    method = method_of(config)
    batch = model.batch([item.row for item in items])
    # ratios near 1: what is "old" lies within half a unit of what is now
    loss = method.loss(model(batch), batch) / method.size(items)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: p.grad for name, p in adapted(model.model).items() if p.grad is not None}, model


def trl(base: Path, rollouts: Sequence[Stored], config: GRPOConfig, model: ForestModel, out: Path) -> Any:
    """Loss and gradient of GRPOTrainer with the same adapter."""
    trainer = trainer_of(base, config, out)
    with torch.no_grad():
        for name, parameter in adapted(trainer.model).items():
            parameter.copy_(adapted(model.model)[name])
    corrected = any(not torch.equal(each.old, each.sampled) for each in rollouts)
    # its correction belongs to vLLM, which cannot run here; what it does with the numbers can
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = corrected
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    loss = trainer._compute_loss(trainer.model, inputs_of(rollouts, config, corrected=corrected))
    loss.backward()
    return loss.item(), {name: p.grad for name, p in adapted(trainer.model).items()}


def trainer_of(base: Path, config: GRPOConfig, out: Path) -> Any:
    disable_progress_bars()
    return GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        reward_funcs=lambda **_: [0.0],
        args=TRLConfig(
            output_dir=str(out),
            loss_type="dapo",
            beta=config.kl,
            epsilon=config.clip_low,
            epsilon_high=config.clip_high,
            per_device_train_batch_size=4,
            num_generations=4,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": "x"}] * 4),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )


def inputs_of(rollouts: Sequence[Stored], config: GRPOConfig, *, corrected: bool) -> dict[str, Tensor]:
    """Prompts padded on the left, completions on the right, as the trainer does it."""
    own = _right([torch.tensor(each.own).long() for each in rollouts])
    old, reference = _right([each.old for each in rollouts]), _right([each.reference for each in rollouts])
    ratio = (old - _right([each.sampled for each in rollouts])).exp().clamp(max=config.correction)
    known = {
        "prompt_ids": _left([torch.tensor(each.prompt) for each in rollouts]),
        "prompt_mask": _left([torch.ones(len(each.prompt), dtype=torch.long) for each in rollouts]),
        "completion_ids": _right([torch.tensor(each.completion) for each in rollouts]),
        "completion_mask": _right([torch.ones(len(each.completion), dtype=torch.long) for each in rollouts]),
        "tool_mask": own,
        "advantages": torch.tensor([each.advantage for each in rollouts]),
        "old_per_token_logps": old,
        "num_items_in_batch": own.sum(),
        "ref_per_token_logps": reference,
    }
    return {**known, "importance_sampling_ratio": ratio} if corrected else known


def _right(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _left(rows: Sequence[Tensor]) -> Tensor:
    return _right([row.flip(0) for row in rows]).flip(1)


def near(base: Path, rollouts: Sequence[Stored]) -> list[Stored]:
    """The same with `old` moved to where the student is now, give or take, so that ratios lie around 1."""
    model = ours(base, rollouts, CONFIG)[2]
    moved = []
    for number, each in enumerate(rollouts):
        now = torch.zeros(len(each.own))
        with torch.no_grad():
            batch = model.batch([item.row for item in each.items(str(number))])
            now[torch.tensor(each.own)] = model(batch)
        shift = (each.old + 5) * 0.6
        moved.append(
            Stored(each.prompt, each.completion, each.own, each.advantage, now + shift, now + shift, now + shift * 2)
        )
    return moved


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("corrected", [False, True], ids=["as sampled", "corrected"])
@pytest.mark.parametrize("kl", [0.0, 0.1], ids=["no kl", "kl"])
def test_loss_and_gradient_are_those_of_trls_trainer(
    base: Path, stored: list[Stored], tmp_path: Path, corrected: bool, kl: float
) -> None:
    config = CONFIG.model_copy(update={"kl": kl})
    rollouts = near(base, stored)
    if corrected:  # the sampler's numbers differ by up to about one: some weights reach the cap, some do not
        apart = [torch.linspace(-1, 1, len(each.own)) for each in rollouts]
        rollouts = [
            Stored(r.prompt, r.completion, r.own, r.advantage, r.old, r.old + gap, r.reference)
            for r, gap in zip(rollouts, apart, strict=True)
        ]
    value, gradient, model = ours(base, rollouts, config)
    theirs, their_gradient = trl(base, rollouts, config, model, tmp_path)
    assert value == pytest.approx(theirs, rel=LIMIT)
    assert set(gradient) == set(their_gradient)
    a, b = (torch.cat([each[name].flatten() for name in sorted(each)]) for each in (gradient, their_gradient))
    assert float(b.norm()) > 0
    assert float((a - b).norm() / b.norm()) <= LIMIT


def test_some_tokens_of_that_comparison_are_clipped_and_some_are_not(base: Path, stored: list[Stored]) -> None:
    rollouts = near(base, stored)
    model = ours(base, rollouts, CONFIG)[2]
    items = [item for number, each in enumerate(rollouts) for item in each.items(str(number))]
    batch = model.batch([item.row for item in items])
    ratio = (model(batch) - batch.given[OLD]).exp()
    above, below = (ratio > 1 + CONFIG.clip_high).sum(), (ratio < 1 - CONFIG.clip_low).sum()
    assert above > 0
    assert below > 0
    assert above + below < len(ratio)
