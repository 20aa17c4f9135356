"""The rival's process: TRL's SFTTrainer over token rows. A line on stdin is a job's file, one on stdout its figures.

It knows nothing of prentice: rows come as tokens with the supervised ones marked, so both sides learn the same.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from engine_memory import forget_peak, peak_bytes, rss_bytes

Job = dict[str, Any]


class Counted(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that counts what it computes; with `plain_head` the loss is the model's own, over all logits.

    TRL scores the supervised positions alone on a GPU, but every position elsewhere, with entropy and accuracy beside
    it and all of it computed again on the way back: on a CPU the loss that `transformers` computes is the faster one.
    """

    plain_head = False

    def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        """Count, then compute."""
        ids = inputs["input_ids"]
        self.counts["positions"] += ids.numel()
        self.counts["pairs"] += ids.numel() * ids.shape[1]
        self.counts["supervised"] += int((inputs["labels"] != -100).sum())
        self.counts["rows"] += len(inputs["cu_seq_lens_q"]) - 1 if "cu_seq_lens_q" in inputs else len(ids)
        return super().training_step(model, inputs, *rest, **named)

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        """TRL's loss, or that of its base class."""
        if self.plain_head:
            return Trainer.compute_loss(self, model, inputs, *rest, **named)
        return super().compute_loss(model, inputs, *rest, **named)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Times every optimizer step; the first begins when its batches are collated."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        """(wall, processor) seconds at the first step's begin and after each step."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start with the first step."""
        if not self.marks:
            self._mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop with the last."""
        self._mark()

    def _mark(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))


def run(job: Job) -> Job:
    """Train on the job's rows once and say what it took."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(
        job["base"], dtype=torch.float32, attn_implementation=job["way"]["attention"]
    )
    loaded, before = rss_bytes(), peak_bytes()
    forget_peak()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Counted(
            model,
            args=settings(job, Path(folder)),
            train_dataset=Dataset.from_list(job["rows"]),
            processing_class=AutoTokenizer.from_pretrained(job["base"]),
            peft_config=LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[clock],
        )
        trainer.plain_head = job["way"]["head"] == "plain"
        trainer.counts = dict.fromkeys(("rows", "positions", "pairs", "supervised"), 0)
        outcome = trainer.train()
    (begin, busy), (end, busy_end) = clock.marks[0], clock.marks[-1]
    return {
        "seconds": end - begin,
        "cpu_seconds": busy_end - busy,
        "steps": len(clock.marks) - 1,
        "loss": outcome.training_loss,
        "loaded_bytes": loaded,
        "before_bytes": before,
        "peak_bytes": peak_bytes(),
        **trainer.counts,
    }


def settings(job: Job, folder: Path) -> SFTConfig:
    """prentice's optimizer settings, nothing that costs time beside the training."""
    way = job["way"]
    packing = way["sampling"] == "packing"
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=way["micro"],
        gradient_accumulation_steps=_accumulation(job),
        learning_rate=1e-3,
        adam_beta2=0.99,
        weight_decay=0.0,
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        warmup_steps=0,  # as 5 % of these few steps come to
        train_sampling_strategy="random" if packing or way["sampling"] == "flat" else way["sampling"],
        packing=packing,
        padding_free=way["sampling"] == "flat",
        max_length=way["width"] if packing else None,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _accumulation(job: Job) -> int:
    """Micro-batches that make a step of about `batch` rows."""
    way, rows = job["way"], job["rows"]
    if way["sampling"] != "packing":
        return math.ceil(int(job["batch"]) / int(way["micro"]))
    mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
    return math.ceil(int(job["batch"]) * mean / int(way["width"]) / int(way["micro"]))


def main() -> None:
    """Answer jobs until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(Path(line.strip()).read_text(encoding="utf-8")))), file=answers, flush=True)


if __name__ == "__main__":
    main()
