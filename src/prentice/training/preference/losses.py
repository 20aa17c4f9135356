"""The losses of preference learning: pure functions of the supervised tokens' log-probabilities and their batch.

Each returns the sum over the pairs or thumbs of the batch, weighted; the loop divides it by the weight of the whole
step. With r = log pi(y|x) - log pi_ref(y|x), summed over a reply's tokens, beta r is the reply's implicit reward.
Rows of a batch lie as `batches.py` keeps them: row 2 n is the better reply of pair n, row 2 n + 1 the worse.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from prentice.training.forest import Batch
from prentice.training.method import REFERENCE, Loss

GOOD, KL = "good", "kl"
"""Names under which `given` holds whether a row has a thumb up (1) or down (0), and the step's estimate of KL."""


def dpo_loss(beta: float, label_smoothing: float = 0.0, sft_weight: float = 0.0) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta (r_chosen - r_rejected)) of each pair.

    Args:
        beta: strength of the pull towards the reference.
        label_smoothing: share e of pairs that may be the wrong way round; the loss is then (1 - e) of the above and e
            of that of the pair turned round.
        sft_weight: times the mean negative log-likelihood of the chosen reply's tokens, added to each pair.
    Source: Rafailov et al., arXiv:2305.18290, equation 7; label smoothing: Mitchell's note on conservative DPO; the
        added likelihood: Pang et al., arXiv:2404.19733, equation 2. Ours: the likelihood is a mean over the tokens of
        each reply, as there, where TRL takes one mean over those of a micro-batch.
    """

    def loss(logprobs: Tensor, batch: Batch) -> Tensor:
        margin = beta * _margin(logprobs, batch)
        each = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
        if sft_weight:
            each = each - sft_weight * (row_sums(logprobs, batch) / _lengths(batch))[0::2]
        return (each * first_of_rows(batch.weights, batch)[0::2]).sum()

    return loss


def kto_loss(beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> Loss:
    """Kahneman-Tversky optimisation: 1 - sigmoid(beta (r - z)) of a reply with a thumb up, 1 - sigmoid(beta (z - r)) of
    one with a thumb down; z is the step's estimate of KL(pi, pi_ref), at least 0, through which no gradient flows.

    Args:
        beta: strength of the pull towards the reference.
        desirable_weight, undesirable_weight: what a thumb up and a thumb down count.
    Source: Ethayarajh et al., arXiv:2402.01306, equations 7 and 8. The step's loss is divided by the rows' own weights,
        not by these two, as in TRL. How z is found: see `kl_known`.
    """

    def loss(logprobs: Tensor, batch: Batch) -> Tensor:
        good = first_of_rows(batch.given[GOOD], batch) > 0.5
        gain = _over_kl(logprobs, batch)
        worth = torch.where(good, desirable_weight, undesirable_weight)
        each = worth * (1 - torch.sigmoid(beta * torch.where(good, gain, -gain)))
        return (each * first_of_rows(batch.weights, batch)).sum()

    return loss


def preferred(logprobs: Tensor, batch: Batch) -> Tensor:
    """Weight of the pairs whose chosen reply has the higher implicit reward."""
    return ((_margin(logprobs, batch) > 0) * first_of_rows(batch.weights, batch)[0::2]).sum()


def told_apart(logprobs: Tensor, batch: Batch) -> Tensor:
    """Weight of the thumbs whose reply's implicit reward lies on their side of the step's KL."""
    good = first_of_rows(batch.given[GOOD], batch) > 0.5
    return (((_over_kl(logprobs, batch) > 0) == good) * first_of_rows(batch.weights, batch)).sum()


def row_sums(values: Tensor, batch: Batch) -> Tensor:
    """Sum over the supervised tokens of each row: float32 (rows,)."""
    rows = int(batch.rows[-1]) + 1
    return torch.zeros(rows, device=values.device).index_add(0, batch.rows, values.float())


def first_of_rows(values: Tensor, batch: Batch) -> Tensor:
    """What is said of each row's first supervised token, for what is the same on all of them: (rows,)."""
    lengths = _lengths(batch)
    return values[lengths.cumsum(0) - lengths]


def _lengths(batch: Batch) -> Tensor:
    return torch.bincount(batch.rows)


def _margin(logprobs: Tensor, batch: Batch) -> Tensor:
    """r_chosen - r_rejected of each pair: float32 (pairs,)."""
    gain = row_sums(logprobs - batch.given[REFERENCE], batch)
    return gain[0::2] - gain[1::2]


def _over_kl(logprobs: Tensor, batch: Batch) -> Tensor:
    """r - z of each row: float32 (rows,)."""
    return row_sums(logprobs - batch.given[REFERENCE], batch) - first_of_rows(batch.given[KL], batch)
