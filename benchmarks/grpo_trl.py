"""TRL's process: GRPOTrainer learns from stored rollouts, or plays by transformers and learns; says what it took.

A line on stdin is the path of a job's file, a line on stdout its figures; the first step of a job is warm-up.
"""

from __future__ import annotations

import json
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
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

Job = dict[str, Any]
Mark = tuple[float, float]


def update(job: Job) -> Job:
    """Steps over the same rows in micro-batches of `micro`, cut from one batch padded as the trainer pads it."""
    trainer = _trainer(job, [{"prompt": "x"}] * len(job["rows"]), lambda **_: [0.0])
    trainer.create_optimizer()
    trainer.model.train()
    whole, micro = _padded(job["rows"]), job["micro"]
    parts = [{k: v[i : i + micro] for k, v in whole.items()} for i in range(0, len(job["rows"]), micro)]
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = len(parts)
    total, marks, losses = whole["own"].sum(), [], list[float]()
    for _ in range(job["steps"]):
        loss = 0.0
        for part in parts:
            value = trainer._compute_loss(trainer.model, part | {"num_items_in_batch": total})
            value.backward()
            loss += value.item()
        torch.nn.utils.clip_grad_norm_([p for p in trainer.model.parameters() if p.requires_grad], 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        marks.append((time.perf_counter(), time.process_time()))
        losses.append(loss)
    width = whole["prompt_ids"].shape[1] + whole["completion_ids"].shape[1]
    return _figures(marks, {"positions": len(job["rows"]) * width, "loss": losses[0]})


def step(job: Job) -> Job:
    """Whole steps of the trainer itself."""
    answers = {row["prompt"]: row["answer"] for row in job["cases"]}

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [float(answers[p] == c.strip()) for p, c in zip(prompts, completions, strict=True)]

    clock = Clock()
    trainer = _trainer(job, [{"prompt": row["prompt"]} for row in job["cases"]], reward)
    trainer.add_callback(clock)
    trainer.train()
    tokens = [
        line["completions/mean_length"] for line in trainer.state.log_history if "completions/mean_length" in line
    ]
    return _figures(clock.marks, {"drawn": sum(tokens) / max(1, len(tokens))})


class Clock(TrainerCallback):  # type: ignore[misc]
    """Times every optimizer step."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """One more."""
        self.marks.append((time.perf_counter(), time.process_time()))


def _trainer(job: Job, rows: list[dict[str, str]], reward: Any) -> Any:
    torch.manual_seed(0)
    micro = job["micro"]
    folder = tempfile.mkdtemp()
    return GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=folder,
            loss_type="dapo",
            beta=0.0,
            epsilon=0.2,
            epsilon_high=0.28,
            learning_rate=2e-4,
            adam_beta2=0.99,
            weight_decay=0.0,
            lr_scheduler_type="constant",
            max_steps=job["steps"],
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=max(1, job["batch"] // micro),
            num_generations=8,
            max_completion_length=job.get("room", 64),
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job["base"]),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


def _padded(rows: list[Job]) -> dict[str, Tensor]:
    """Prompts filled up on the left and completions on the right, to the longest of all."""
    ids, old = [torch.tensor(row["reply"]) for row in rows], [torch.tensor(row["old"]) for row in rows]
    prompts = [torch.tensor(row["prompt"]).flip(0) for row in rows]
    own = _right([torch.ones_like(row) for row in ids])
    return {
        "prompt_ids": _right(prompts).flip(1),
        "prompt_mask": _right([torch.ones_like(row) for row in prompts]).flip(1),
        "completion_ids": _right(ids),
        "completion_mask": own,
        "own": own,
        "old_per_token_logps": _right(old),
        "advantages": torch.tensor([row["advantage"] for row in rows]),
    }


def _right(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _figures(marks: list[Mark], more: Job) -> Job:
    """Of the steps after the first."""
    (begin, busy), (end, busy_end) = marks[0], marks[-1]
    steps = len(marks) - 1
    return {"seconds": (end - begin) / steps, "cpu_seconds": (busy_end - busy) / steps, **more}


def main() -> None:
    """Answer jobs until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    for line in sys.stdin:
        job = json.loads(Path(line.strip()).read_text(encoding="utf-8"))
        print(json.dumps((update if job["kind"] == "update" else step)(job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
