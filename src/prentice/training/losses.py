"""The losses of fine-tuning: pure functions of the supervised tokens' log-probabilities and what their batch says.

Each returns the sum over the batch; the loop divides it by the weight of the whole step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prentice.training.forest import Batch
from prentice.training.method import REFERENCE

MOST = 16.0
"""Largest importance of a row."""


def sft_loss(logprobs: Tensor, batch: Batch) -> Tensor:
    """Negative log-likelihood of the supervised tokens, weighted by row, summed."""
    return -(logprobs * batch.weights).sum()


def importance_loss(logprobs: Tensor, batch: Batch) -> Tensor:
    """As `sft_loss`, each row weighted besides by how much likelier the student has made it than its base did.

    Importance-weighted SFT: with q the student as it is, the objective E[q/π_ref log p] over curated work is a tighter
    bound of the expected success than plain SFT, which is its first step (q = π_ref).

    Args:
        logprobs: float32 (supervised,).
        batch: its `given` holds `reference`, the base's log-probabilities: float32 (supervised,).
    Source: Qin and Springenberg, arXiv:2507.12856, section 4, and the authors' code: the mean of the log-ratio over a
        row's tokens stands for its sum, whose exponential has no bounds, and the weight ends at 16. No gradient flows
        through it. Ours: the step's loss is divided by the rows' own weights, not by their importance.
    """
    rows = int(batch.rows[-1]) + 1
    ratio = (logprobs.detach() - batch.given[REFERENCE]).float()
    total = torch.zeros(rows, device=ratio.device).index_add_(0, batch.rows, ratio)
    importance = (total / torch.bincount(batch.rows, minlength=rows)).exp().clamp(max=MOST)
    return -(logprobs * batch.weights * importance[batch.rows]).sum()
