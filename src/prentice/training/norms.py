"""RMS norms in one pass forth and one back: x w / rms(x), with the way back written out.

transformers writes them as five operations over memory, and autograd as eight more: on a processor three times as
long, a thirtieth of a step (docs/log.md, 2026-11-29). Parameters and results stay what they are.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

EPSILONS = ("variance_epsilon", "eps")
"""What transformers' norms call what they add to the mean square."""


def fuse_norms(model: nn.Module) -> int:
    """Let every norm that computes x w / rms(x), and nothing else, do so in one pass.

    Returns: how many. Whether one does is tried out on numbers: Gemma's, of the same name, multiplies by 1 + w.
    """
    plain = [module for module in model.modules() if _is_plain(module)]
    for module in plain:
        module.forward = MethodType(_normed, module)
    return len(plain)


def _is_plain(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or weight is None or weight.ndim != 1 or _epsilon(module) is None:
        return False
    if weight.dtype != torch.float32 or weight.is_meta:
        return False
    x = torch.linspace(-3, 5, 2 * len(weight), device=weight.device).view(2, -1)
    with torch.no_grad():
        return torch.allclose(module(x), _Norm.apply(x, weight, _epsilon(module)), rtol=1e-5, atol=1e-6)  # type: ignore[no-untyped-call]


def _epsilon(module: Any) -> float | None:
    return next((getattr(module, name) for name in EPSILONS if hasattr(module, name)), None)


def _normed(module: Any, x: Tensor) -> Tensor:
    if x.dtype != torch.float32:
        result: Tensor = type(module).forward(module, x)
        return result
    out: Tensor = _Norm.apply(x, module.weight, _epsilon(module))  # type: ignore[no-untyped-call]
    return out


class _Norm(torch.autograd.Function):
    """x w / rms(x): x (..., width), w (width,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        scale = (x.square().mean(-1, keepdim=True) + epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        grad = grads[0]
        to_weight = (grad * x * scale).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        pull = grad * weight
        along = torch.einsum("...i,...i->...", pull, x).unsqueeze(-1) * scale.square() / x.shape[-1]
        return pull.sub_(x * along).mul_(scale), to_weight, None
