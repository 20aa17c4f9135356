"""The head of distillation: how far the student is from what the teacher would say, at every supervised position.

The teacher's word at a position is its k likeliest tokens with their log-probabilities, and that of all other tokens
together as one more outcome. Student and teacher are compared over these k + 1 outcomes: nothing that the teacher said
is stretched to 1, and tokens of which it said nothing are free among themselves. With k = the vocabulary it is the
divergence of the whole distributions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prentice.training.distill.divergences import Divergence
from prentice.training.forest import Batch
from prentice.training.heads import LEAST, others

IDS, LOGS = "teacher_ids", "teacher_logs"
"""Names under which a row's `given` holds the teacher's word: int32 (supervised, k), float32 (supervised, k + 1)."""


class SoftHead:
    """-alpha divergence(student, teacher) + (1 - alpha) log p[target].

    Args:
        batch: its `given` holds the teacher's word.
        divergence: how student and teacher are compared.
        alpha: share of the teacher's probabilities; the rest is that of the row's own tokens.
    """

    def __init__(self, batch: Batch, divergence: Divergence, alpha: float) -> None:
        self.targets, self.ids, self.told = batch.targets[:, None], batch.given[IDS].long(), batch.given[LOGS]
        self.divergence, self.alpha = divergence, alpha

    def at(self, part: slice, logs: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
        """The value, and its derivative, all in the memory of `logs`.

        With g_c the derivative of the divergence by log P_c, the student's outcome c, a logit v of outcome c moves it
        by g_c p_v / P_c - p_v sum_c g_c: outcomes that are one token have p_v = P_c.
        """
        ids, targets, hard = self.ids[part], self.targets[part], 1 - self.alpha
        reply, known = logs.gather(1, targets).squeeze(1), logs.gather(1, ids)
        rest = others(logs.exp_(), ids)
        value, moved = self.divergence(torch.cat([known, rest.log()], 1), self.told[part])
        values = hard * reply - self.alpha * value
        if not slope:
            return values, None
        total, chances = moved.sum(-1, keepdim=True), known.exp()
        pull = logs.mul_(self.alpha * (total - moved[:, -1:] / rest) - hard)
        pull.scatter_(1, ids, self.alpha * (chances * total - moved[:, :-1]) - hard * chances)
        return values, pull.scatter_add_(1, targets, torch.full_like(rest, hard))

    def plain(self, logits: Tensor) -> Tensor:
        """The same from whole distributions, for torch to differentiate."""
        logs = logits - logits.logsumexp(-1, keepdim=True)
        rest = logs.exp().scatter(1, self.ids, 0.0).sum(-1, keepdim=True).clamp(min=LEAST)
        value, _ = self.divergence(torch.cat([logs.gather(1, self.ids), rest.log()], 1), self.told)
        return (1 - self.alpha) * logs.gather(1, self.targets).squeeze(1) - self.alpha * value
