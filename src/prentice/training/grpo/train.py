"""Reinforcement on an environment: a student and a live link to its own play in, a checkpoint out."""

from __future__ import annotations

from pathlib import Path

from prentice.errors import TrainingError
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, ModelSource, digest
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.losses import grpo_loss
from prentice.training.grpo.rolled import Rollouts
from prentice.training.grpo.rows import FreshRows
from prentice.training.method import Method
from prentice.training.run import Origin, Run, finished_checkpoint
from prentice.training.start import Start, open_model

ROUNDS = "rounds"
_SILENT = Silent()


def method_of(config: GRPOConfig) -> Method:
    """The clipped objective, divided by all supervised tokens of a step."""
    return Method("grpo", grpo_loss(config.clip_low, config.clip_high, config.kl, config.correction))


def train_grpo(
    config: GRPOConfig,
    rollouts: Rollouts,
    *,
    cases: int,
    data: str,
    base: Path,
    out: Path,
    source: ModelSource,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """Let `base` play and learn from it; the same call after a kill goes on where it stood, and plays no round twice.

    Args:
        config: how to train.
        rollouts: plays a round with given weights.
        cases: how many there are to play.
        data: hash of the cases, and of all that makes their play another.
        base: transformers folder.
        out: gets `checkpoint.json`, `adapter/` or `model/`, `curve.jsonl`, and `rounds/`: all that was played.
        source: where the base came from.
        progress: where to report.
    Raises: TrainingError if there is nothing to learn from, a loss is not a number, or memory is short.
    """
    if config.method == "full" and config.kl:
        raise TrainingError(
            f'{config.section}.method = "full" changes the weights that kl = {config.kl} compares with',
            f'set {config.section}.kl to 0, or {config.section}.method to "lora"',
        )
    name = digest([source.sha256, data, "grpo", config.recipe()])
    if (finished := finished_checkpoint(out, name)) is not None:
        return finished
    rounds = out / ROUNDS / name[:16]  # of another recipe there may be others
    rows = FreshRows(config, cases, rollouts, rounds, progress)
    start = Start(open_model(config, base), (), (), rounds)
    return Run(name, config, method_of(config), start, Origin(base, source, data), out, visits=rows).carry_out(progress)
