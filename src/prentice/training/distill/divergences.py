"""How far two distributions over the same outcomes are apart, and by how much each of the student's outcomes moves it.

Every function takes log-probabilities, (positions, outcomes), student's first, and returns the divergence,
(positions,), with its derivative by the student's log-probabilities, (positions, outcomes), in which a constant times
the student's probabilities is left out: it moves no logit, since probabilities add up to 1. What is impossible comes as
a very small probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Divergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def forward_kl(ours: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """KL(teacher || student) = sum_c q_c (log q_c - log p_c): the student has to cover all that the teacher may say.

    Source: Hinton, Vinyals and Dean, arXiv:1503.02531, whose cross-entropy differs by a constant. Ours: temperature 1.
    """
    chances = told.exp()
    return (chances * (told - ours)).sum(-1), -chances


def reverse_kl(ours: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """KL(student || teacher) = sum_c p_c (log p_c - log q_c): the student shall say nothing that the teacher would not.

    Source: MiniLLM, arXiv:2306.08543, section 2.1. Ours: token by token, as GKD has it.
    """
    moved = ours.exp() * (ours - told)
    return moved.sum(-1), moved


def jensen_shannon(ours: Tensor, told: Tensor, beta: float = 0.5) -> tuple[Tensor, Tensor]:
    """beta KL(teacher || mixture) + (1 - beta) KL(student || mixture), mixture = beta teacher + (1 - beta) student.

    Args:
        beta: between 0 and 1, both excluded; divided by beta it nears the forward KL as beta goes to 0, and divided by
            1 - beta the reverse one as beta goes to 1.
    Source: generalised Jensen-Shannon divergence, GKD, arXiv:2306.13649, equation 1.
    """
    mixture = torch.logaddexp(told + math.log(beta), ours + math.log1p(-beta))
    moved = (1 - beta) * ours.exp() * (ours - mixture)
    return beta * (told.exp() * (told - mixture)).sum(-1) + moved.sum(-1), moved


def divergence_of(name: str, beta: float) -> Divergence:
    """The function that the settings name."""
    known: dict[str, Divergence] = {
        "forward_kl": forward_kl,
        "reverse_kl": reverse_kl,
        "jensen_shannon": partial(jensen_shannon, beta=beta),
    }
    return known[name]
