"""The engine: one forward pass over a batch of rows gives the log-probability of every supervised token.

A training method is a pure function of those. This module knows neither methods nor loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from prentice.errors import TrainingError
from prentice.training.attention import NAME, obstacle
from prentice.training.forest import Batch, Forest, Padded, Row, on_device, pad, plant
from prentice.training.last_layer import LastMLP

CHUNK = 128
"""Supervised positions projected onto the vocabulary at once: bounds memory, and stays in the processor's cache."""
LEAST = 16
"""Rows of a product that adds up a whole vocabulary."""


class ForestModel(nn.Module):
    """A causal language model that reads forests, or padded rows where its layers do not allow that.

    The whole computation is this module's one `forward`, so a wrapper that synchronises gradients sees all of it.

    Args:
        model: a transformers causal language model, or a peft model around one.
        narrow: compute the matrix products in bfloat16.
    Raises: TrainingError if it is an encoder-decoder.
    """

    def __init__(self, model: Any, *, narrow: bool = False) -> None:
        super().__init__()
        self.model = model
        self.narrow = narrow
        config = self.causal.config
        if config.is_encoder_decoder:
            raise TrainingError(
                f"{config.model_type}: it is an encoder-decoder, so it cannot be trained here",
                "use a decoder, such as Llama, Qwen2, Gemma or SmolLM2",
            )
        self.obstacle = obstacle(self.causal)
        self.own_attention = config._attn_implementation
        self.attention = self.own_attention if self.obstacle else NAME
        self.causal.set_attn_implementation(self.attention)
        self.last = LastMLP(self.causal)
        # and so it stays: a base's own dropout, however it is written, would undo what the comparison proves
        self.eval()

    @property
    def causal(self) -> Any:
        """The transformers model, without peft's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @contextmanager
    def as_it_came(self) -> Iterator[None]:
        """With the attention that it was loaded with: what is written to disk must not name ours."""
        self.causal.set_attn_implementation(self.own_attention)
        try:
            yield
        finally:
            self.causal.set_attn_implementation(self.attention)

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Rows laid out as this model takes them, on its device."""
        return on_device(pad(rows), self.device) if self.obstacle else on_device(plant(rows), self.device)

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities of the supervised tokens: float32 (supervised,)."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.narrow):
            if isinstance(batch, Padded) and batch.plain:
                return self._plain(batch)
            where = _how(batch)
            with self.last.only_at(batch.sources):
                hidden = self.causal.base_model(use_cache=False, **where).last_hidden_state.flatten(0, 1)
            return self._project(hidden.index_select(0, batch.sources), batch.targets)

    def _plain(self, batch: Padded) -> Tensor:
        """As everybody computes it: transformers' own attention, the whole vocabulary at every token."""
        self.causal.set_attn_implementation("eager")
        try:
            logits = self.causal(use_cache=False, **_how(batch)).logits.float()
        finally:
            self.causal.set_attn_implementation(self.attention)
        supervised = logits.flatten(0, 1)[batch.sources]
        # not log_softmax: see `_log_softmax`
        logprobs: Tensor = supervised.gather(1, batch.targets[:, None])[:, 0] - supervised.logsumexp(-1)
        return logprobs

    def _project(self, hidden: Tensor, targets: Tensor) -> Tensor:
        head, config = self.causal.get_output_embeddings(), self.causal.config.get_text_config()
        factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        cap = getattr(config, "final_logit_softcapping", None)
        dtype = torch.bfloat16 if self.narrow else hidden.dtype
        bias = None if head.bias is None else head.bias.to(dtype)
        result: Tensor = _LogProbs.apply(hidden.to(dtype), head.weight.to(dtype), bias, targets, factor, cap)  # type: ignore[no-untyped-call]
        return result


class _LogProbs(torch.autograd.Function):
    """log softmax(f(hidden W' + b)) at `targets`, a chunk at a time; f scales the logits, then caps them softly.

    The derivative by the hidden state, W[target] - sum_v p_v W[v] (times f'), needs no gradient from above, so the
    forward pass computes it while the logits are at hand: none are stored, none are computed twice. The derivative by
    the weights is computed only where they are trained (full fine-tuning), from logits computed again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, factor: float, cap: float | None
    ) -> Tensor:
        result = torch.empty(len(targets), device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for part in _chunks(len(targets)):
            logs, bend = _vocabulary(hidden[part], weight, bias, factor, cap)
            result[part] = logs.gather(1, targets[part, None]).squeeze(1)
            if slope is not None:
                slope[part] = _times(_towards(logs, targets[part], bend).to(hidden.dtype), weight)
        ctx.save_for_backward(hidden, weight, bias, targets, slope)
        ctx.factor, ctx.cap = factor, cap
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, slope = ctx.saved_tensors
        grad = grads[0]
        to_hidden = None if slope is None else (slope.float() * grad[:, None]).to(hidden.dtype)
        if not ctx.needs_input_grad[1]:
            return to_hidden, None, None, None, None, None
        to_weight = torch.zeros_like(weight, dtype=torch.float32)
        to_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for part in _chunks(len(targets)):
            logs, bend = _vocabulary(hidden[part], weight, bias, ctx.factor, ctx.cap)
            pull = (_towards(logs, targets[part], bend) * grad[part, None]).to(hidden.dtype)
            to_weight += pull.T @ hidden[part]
            if to_bias is not None:
                to_bias += pull.sum(0)
        return (
            to_hidden,
            to_weight.to(weight.dtype),
            None if to_bias is None else to_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _chunks(length: int) -> list[slice]:
    return [slice(i, min(i + CHUNK, length)) for i in range(0, length, CHUNK)]


def _vocabulary(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, factor: float, cap: float | None
) -> tuple[Tensor, Tensor | float]:
    """Log-probabilities of the whole vocabulary in float32, and the derivative of f at each logit."""
    logits = F.linear(hidden, weight, bias).float()
    if factor != 1.0:
        logits *= factor
    if cap is None:
        return _log_softmax(logits), factor
    bounded = torch.tanh(logits / cap)
    return _log_softmax(bounded * cap), (1 - bounded * bounded) * factor


def _times(pull: Tensor, weight: Tensor) -> Tensor:
    """pull @ weight, by at least `LEAST` rows: a CPU's product of fewer adds up a vocabulary's terms one by one, and
    what is small beside the sum is lost (1e-4 of the gradient of a row with few tokens)."""
    few = max(0, LEAST - len(pull))
    return (F.pad(pull, (0, 0, 0, few)) @ weight)[: len(pull)]


def _log_softmax(logits: Tensor) -> Tensor:
    """log_softmax in float32, in place, and exact where torch's own is not.

    On a CPU that one adds up exp(logits) one after the other: where one of 49 152 entries is nearly all, the others are
    rounded away, and what is left to learn, 1 - p, is off by up to 5e-2. A sum in pieces is not (docs/log.md,
    2026-11-28).
    """
    logits -= logits.amax(-1, keepdim=True)
    logits -= logits.exp().sum(-1, keepdim=True).log_()
    return logits


def _towards(logs: Tensor, targets: Tensor, bend: Tensor | float) -> Tensor:
    """Derivative of each target's log-probability by the raw logits: (one-hot - p) f'; overwrites `logs`."""
    pull = logs.exp_().neg_()
    pull[torch.arange(len(targets), device=pull.device), targets] += 1
    return pull if isinstance(bend, float) and bend == 1.0 else pull * bend


def _how(batch: Batch) -> dict[str, Any]:
    """The batch as a transformers model takes it."""
    if isinstance(batch, Forest):
        return {"input_ids": batch.ids[None], "position_ids": batch.positions[None], "forest": batch}
    if isinstance(batch, Padded):
        return {"input_ids": batch.ids, "attention_mask": batch.mask}
    raise TypeError(f"no layout: {type(batch).__name__}")
