"""TRL is the measure: the same rows, adapter and settings give the same curve as its SFTTrainer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig as TRLConfig
from trl import SFTTrainer

from prentice.training.config import SFTConfig
from prentice.training.sft import train_examples
from prentice.training.start import open_checker
from test_training_sft import SOURCE, curve
from tiny_models import write_tiny_llama
from training_models import examples

STEPS = 6
RATE = 0.003


class Losses(TrainerCallback):  # type: ignore[misc]
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """One step's loss."""
        if "loss" in logs:
            self.values.append(logs["loss"])


@pytest.mark.filterwarnings("ignore")
def test_a_curve_is_that_of_trls_trainer(tmp_path: Path) -> None:
    base, rows = write_tiny_llama(tmp_path / "base"), [e.model_copy(update={"weight": 1.0}) for e in examples(12)]
    config = SFTConfig(
        epochs=STEPS, batch=12, lora_rank=4, lora_alpha=8, learning_rate=RATE, schedule="constant", warmup=0
    )
    train_examples(config, rows, Path("rows"), base=base, out=tmp_path / "ours", source=SOURCE)
    ours = [line["loss"] for line in curve(tmp_path / "ours")]
    theirs = _trl(base, open_checker(512, Path("rows"), base).check(rows), config, tmp_path / "trl")
    assert len(ours) == len(theirs) == STEPS
    assert ours[-1] < 0.95 * ours[0]
    # TRL writes its losses with four digits behind the point
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1e-3
    assert all(math.isfinite(loss) for loss in theirs)


def _trl(base: Path, rows: list[Any], config: SFTConfig, out: Path) -> list[float]:
    disable_progress_bars()
    lm = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(config.seed)  # TRL would draw the adapters from a seed of its own
    recipe = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    losses = Losses()
    trainer = SFTTrainer(
        get_peft_model(lm, recipe),
        args=TRLConfig(
            output_dir=str(out),
            num_train_epochs=STEPS,
            per_device_train_batch_size=len(rows),
            learning_rate=RATE,
            adam_beta2=0.99,
            weight_decay=0.0,
            max_grad_norm=1.0,
            lr_scheduler_type="constant",
            warmup_steps=0,
            max_length=None,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(
            [
                {
                    "input_ids": list(row.row.tokens),
                    "labels": [-100] * len(row.row.prompt) + list(row.row.reply),
                }
                for row in rows
            ]
        ),
        processing_class=AutoTokenizer.from_pretrained(base),
        callbacks=[losses],
    )
    trainer.train()
    return losses.values
