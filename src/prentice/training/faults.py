"""What can go wrong in the middle of a run, in words: which row, which batch, and what to set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from prentice.errors import PrenticeError, TrainingError
from prentice.training.forest import Batch
from prentice.training.items import Item

NO_MEMORY = ("not enough memory", "n't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")
"""What the errors of torch, safetensors and a GPU's libraries say."""


def many_weights(section: str) -> str:
    """What to do where the weights are too many; `section` as in `train.sft`."""
    return f'train a smaller base, or set {section}.method = "lora", or "qlora" on a GPU'


class NotANumberError(TrainingError):
    """A loss or a gradient that is not a number."""


def check_loss(loss: Tensor, logprobs: Tensor, batch: Batch, rows: Sequence[Item], told: tuple[Path, str, str]) -> None:
    """See that a batch's loss is a number.

    Args:
        told: the file of the rows, when it is, and the section of the settings.
    Raises: NotANumberError naming the first row whose log-probabilities are none.
    """
    if torch.isfinite(loss):
        return
    broken, (where, when, section) = batch.rows[~torch.isfinite(logprobs)], told
    row = rows[int(broken[0]) if len(broken) else 0]
    raise NotANumberError(f"{where}: row {row.id}: its loss is not a number {when}", _lower(section))


def check_gradient(norm: Tensor, rows: Sequence[Item], told: tuple[Path, str, str]) -> None:
    """See that a step's gradient is a number, where all its losses were; `told` as in `check_loss`.

    Raises: NotANumberError naming the step's first and last row: a sum tells no more.
    """
    if not torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm):
        where, when, section = told
        problem = f"{where}: the gradient is not a number {when} (rows {rows[0].id} … {rows[-1].id})"
        raise NotANumberError(problem, _lower(section))


def _lower(section: str) -> str:
    return f"lower {section}.learning_rate"


@contextmanager
def memory_named(where: str, hint: str) -> Iterator[None]:
    """Where memory ends, say in one line at what, and what to set.

    Args:
        where: goes on after "out of memory".
    Raises: TrainingError.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, PrenticeError) or not _is_about_memory(error):
            raise
        raise TrainingError(f"out of memory {where}", hint) from error


def at_once(
    rows: Sequence[Item], when: str, cut: int, computed: int | None = None, section: str = "train.sft"
) -> tuple[str, str]:
    """Rows computed at once, as `memory_named` takes them.

    Args:
        cut: `micro_tokens` as it is set.
        computed: tokens after sharing or padding; None: not known yet.
        section: of the settings.
    """
    longest = max(rows, key=lambda row: len(row.row.tokens))
    tokens, length = sum(len(row.row.tokens) for row in rows), len(longest.row.tokens)
    smaller = max(length, min(cut, tokens if computed is None else computed) // 2)
    hint = f"set {section}.micro_tokens = {smaller}: memory changes, the result does not"
    return (
        f"{when}: {len(rows)} rows of {tokens:,} tokens computed at once, the longest {longest.id} of {length:,}",
        hint if len(rows) > 1 and smaller < cut else _long_rows(section),
    )


def _long_rows(section: str) -> str:
    return f'leave longer rows out while curating, or set {section}.method = "qlora" on a GPU'


def _is_about_memory(error: Exception) -> bool:
    about = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return about or any(words in str(error).lower() for words in NO_MEMORY)
