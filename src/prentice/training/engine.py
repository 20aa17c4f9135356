"""The engine: one forward pass over a batch of rows gives a number for every supervised token: its log-probability, or
what another head makes of the vocabulary there.

A training method is a pure function of those. This module knows neither methods nor loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from prentice.errors import TrainingError
from prentice.training.attention import NAME, obstacle
from prentice.training.forest import Batch, Forest, Padded, Row, on_device, pad, plant
from prentice.training.heads import Head, TokenHead, most_likely
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

    Set later: `head`, where a position is worth something else than its token's log-probability.
    """

    def __init__(self, model: Any, *, narrow: bool = False) -> None:
        super().__init__()
        self.model = model
        self.narrow = narrow
        self.head: Callable[[Batch], Head] = TokenHead
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
        """What the supervised tokens are worth, by default their log-probabilities: float32 (supervised,)."""
        with self._precision():
            return self.worth(self.read(batch), batch)

    def read(self, batch: Batch, *, states: bool = False) -> Any:
        """What transformers makes of a batch: its hidden states, and all logits of one that is computed plainly.

        Args:
            states: keep those of every layer.
        """
        asked = {"use_cache": False, **_how(batch)} | ({"output_hidden_states": True} if states else {})
        if not _is_plain(batch):
            with nullcontext() if states else self.last.only_at(batch.sources):
                return self.causal.base_model(**asked)
        # as everybody computes it: transformers' own attention, the whole vocabulary at every token
        self.causal.set_attn_implementation("eager")
        try:
            return self.causal(**asked)
        finally:
            self.causal.set_attn_implementation(self.attention)

    def worth(self, read: Any, batch: Batch) -> Tensor:
        """What the head makes of a batch that was read: float32 (supervised,)."""
        head = self.head(batch)
        if _is_plain(batch):
            logits = read.logits.to(torch.promote_types(read.logits.dtype, torch.float32))
            return head.plain(logits.flatten(0, 1)[batch.sources])
        result: Tensor = _Worth.apply(*self._projection(read, batch), head)  # type: ignore[no-untyped-call]
        return result

    @torch.no_grad()
    def likeliest(self, batch: Batch, count: int, within: int) -> tuple[Tensor, Tensor]:
        """The likeliest tokens at each supervised position, and what is left for all others.

        Args:
            within: only the first so many tokens of the vocabulary are named.
        Returns: ids, int64 (supervised, count), and log-probabilities, float32 (supervised, count + 1), the others'
            sum last.
        """
        with self._precision():
            hidden, weight, bias, factor, cap = self._projection(self.read(batch), batch)
            chunks = (_vocabulary(hidden[part], weight, bias, factor, cap)[0] for part in _chunks(len(hidden)))
            found = [most_likely(logs, count, within) for logs in chunks]
        ids, logs = zip(*found, strict=True)
        return torch.cat(ids), torch.cat(logs)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.narrow)

    def _projection(self, read: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None, float, float | None]:
        """Hidden states of the supervised positions, and how they become logits, as `_vocabulary` takes it."""
        hidden = read.last_hidden_state.flatten(0, 1).index_select(0, batch.sources)
        head, config = self.causal.get_output_embeddings(), self.causal.config.get_text_config()
        factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        cap = getattr(config, "final_logit_softcapping", None)
        dtype = torch.bfloat16 if self.narrow else hidden.dtype
        bias = None if head.bias is None else head.bias.to(dtype)
        return hidden.to(dtype), head.weight.to(dtype), bias, factor, cap


class _Worth(torch.autograd.Function):
    """What a head makes of log softmax(f(hidden W' + b)), a chunk at a time; f scales logits, then caps them softly.

    The derivative by the hidden state (of a token's log-probability: W[target] - sum_v p_v W[v], times f') needs no
    gradient from above, so the forward pass computes it while the logits are at hand: none are stored, none are
    computed twice. The derivative by the weights is computed only where they are trained (full fine-tuning), from
    logits computed again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, factor: float, cap: float | None, head: Head
    ) -> Tensor:
        result = torch.empty(len(hidden), device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for part in _chunks(len(hidden)):
            logs, bend = _vocabulary(hidden[part], weight, bias, factor, cap)
            result[part], pull = head.at(part, logs, slope=slope is not None)
            if slope is not None and pull is not None:
                slope[part] = _times(_bent(pull, bend).to(hidden.dtype), weight)
        ctx.save_for_backward(hidden, weight, bias, slope)
        ctx.factor, ctx.cap, ctx.head = factor, cap, head
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, slope = ctx.saved_tensors
        grad = grads[0]
        to_hidden = None if slope is None else (slope.float() * grad[:, None]).to(hidden.dtype)
        if not ctx.needs_input_grad[1]:
            return to_hidden, None, None, None, None, None
        to_weight = torch.zeros_like(weight, dtype=torch.float32)
        to_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for part in _chunks(len(hidden)):
            logs, bend = _vocabulary(hidden[part], weight, bias, ctx.factor, ctx.cap)
            pull = (_bent(ctx.head.at(part, logs, slope=True)[1], bend) * grad[part, None]).to(hidden.dtype)
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


def _bent(pull: Tensor, bend: Tensor | float) -> Tensor:
    """A derivative by the logits as one by what they were before f."""
    return pull if isinstance(bend, float) and bend == 1.0 else pull * bend


def _is_plain(batch: Batch) -> bool:
    return isinstance(batch, Padded) and batch.plain


def _how(batch: Batch) -> dict[str, Any]:
    """The batch as a transformers model takes it."""
    if isinstance(batch, Forest):
        return {"input_ids": batch.ids[None], "position_ids": batch.positions[None], "forest": batch}
    if isinstance(batch, Padded):
        return {"input_ids": batch.ids, "attention_mask": batch.mask}
    raise TypeError(f"no layout: {type(batch).__name__}")
