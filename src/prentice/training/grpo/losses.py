"""What group-relative reinforcement computes: advantages within a group, and the clipped objective over tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from prentice.training.forest import Batch
from prentice.training.method import REFERENCE, Loss

OLD, SAMPLED, ADVANTAGE = "old", "sampled", "advantage"
"""Names under which a row's `given` holds the log-probabilities of its tokens under the weights that played, as the
trainer computes them and as llama.cpp did when it drew them, and how much better its try was than its group."""


def group_advantages(rewards: Tensor, *, scale: bool = True, eps: float = 1e-6) -> Tensor:
    """Score each rollout against the other rollouts of its own prompt.

    Args:
        rewards: float, (prompts, group); unitless, comparable within a row only.
        scale: divide each row by its standard deviation; off = centred only.
        eps: added to the deviation.
    Returns: float, (prompts, group); each row sums to 0, a row of equal rewards is all 0.
    Raises: ValueError if group < 2 (there is nothing to compare with).
    Source: GRPO, arXiv:2402.03300, section 4.1.2 (outcome supervision). Ours: population deviation, `eps` added to it;
        TRL takes the sample deviation and 1e-4. Without `scale`: Dr. GRPO, arXiv:2503.20783, section 3.2.
    """
    if rewards.shape[-1] < 2:
        raise ValueError(f"a group of {rewards.shape[-1]} has nothing to compare with")
    centred = rewards - rewards.mean(-1, keepdim=True)
    # the mean of equal numbers may be off by a rounding, which a division by almost nothing would blow up
    centred = torch.where(rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True), 0.0, centred)
    return centred / (rewards.std(-1, keepdim=True, correction=0) + eps) if scale else centred


def grpo_loss(clip_low: float, clip_high: float, kl: float, most: float) -> Loss:
    """The clipped objective with its sign turned, as a loss.

    For each token, with r = exp(logprob - old), A its episode's advantage and c = min(exp(old - sampled), most):
    -c min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) + kl r (exp(d) - d - 1), d = reference - logprob.

    Args:
        clip_low, clip_high: how far a token's probability may move and still pull.
        kl: weight of the divergence from the reference; 0: none is needed.
        most: where a correction ends.
    Returns: a function of float32 (supervised,) and the batch, whose `given` holds `OLD`, `SAMPLED`, `ADVANTAGE` and,
        with `kl`, the reference's log-probabilities: float32 (supervised,) each; the sum, weighted by row.
    Source: GRPO, arXiv:2402.03300, equations 3 and 4; clipping apart above and below: DAPO, arXiv:2503.14476, equation
        10; the divergence times r, so that its gradient has no bias: DeepSeek-V3.2, arXiv:2512.02556 (the paper of GRPO
        has no r; TRL's `use_bias_correction_kl`); the correction: truncated importance sampling for an inference engine
        whose numbers differ (TRL's `vllm_importance_sampling_mode="token_truncate"`). Divided by all supervised tokens
        of a step it is TRL's `loss_type="dapo"`, unlike the paper's mean over rows.
    """

    def loss(logprobs: Tensor, batch: Batch) -> Tensor:
        old, advantage = batch.given[OLD], batch.given[ADVANTAGE]
        ratio = (logprobs - old).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)
        value = -gain * (old - batch.given[SAMPLED]).exp().clamp(max=most)
        if kl:
            apart = batch.given[REFERENCE] - logprobs
            value = value + kl * ratio * (apart.exp() - apart - 1)
        return (value * batch.weights).sum()

    return loss
