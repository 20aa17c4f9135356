"""What a supervised position is worth: a number made from the log-probabilities of the whole vocabulary there.

The engine computes those a few positions at a time and keeps none. A head makes its number of them, and says by how
much each logit moves it, so that the way back needs no second look.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from prentice.training.forest import Batch

LEAST = 1e-30
"""Smallest probability of an outcome: below it a logarithm would be none."""


class Head(Protocol):
    """The last step of the forward pass, for the supervised positions of one batch."""

    def at(self, part: slice, logs: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
        """What some of the positions are worth.

        Args:
            part: which positions.
            logs: (positions, vocabulary), their log-probabilities; may be overwritten.
            slope: whether the derivative is asked for.
        Returns: float (positions,), and its derivative by the logits, (positions, vocabulary).
        """
        ...

    def plain(self, logits: Tensor) -> Tensor:
        """The same of all positions, for torch to differentiate by itself: (positions, vocabulary) → (positions,)."""
        ...


class TokenHead:
    """The log-probability of the token that is to come."""

    def __init__(self, batch: Batch) -> None:
        self.targets = batch.targets

    def at(self, part: slice, logs: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
        """log p[target], and one-hot - p."""
        targets = self.targets[part]
        values = logs.gather(1, targets[:, None]).squeeze(1)
        if not slope:
            return values, None
        pull = logs.exp_().neg_()
        pull[torch.arange(len(targets), device=pull.device), targets] += 1
        return values, pull

    def plain(self, logits: Tensor) -> Tensor:
        """log p[target]; not by log_softmax: see `engine._log_softmax`."""
        return logits.gather(1, self.targets[:, None])[:, 0] - logits.logsumexp(-1)


def most_likely(logs: Tensor, count: int, within: int) -> tuple[Tensor, Tensor]:
    """The likeliest tokens, with their log-probabilities and that of all other tokens together; overwrites `logs`.

    Args:
        logs: (positions, vocabulary).
        within: only the first so many tokens are named.
    Returns: ids, int64 (positions, count), and (positions, count + 1).
    """
    known, ids = logs[:, :within].topk(min(count, within))
    return ids, torch.cat([known, others(logs.exp_(), ids).log()], 1)


def others(chances: Tensor, ids: Tensor) -> Tensor:
    """The probability of all tokens but `ids`: (positions, 1). Sets that of `ids` to 0, so that what is left is added
    up: 1 - sum would lose a small rest to rounding."""
    return chances.scatter_(1, ids, 0.0).sum(-1, keepdim=True).clamp(min=LEAST)
