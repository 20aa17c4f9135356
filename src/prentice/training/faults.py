"""What can go wrong in the middle of a run, in words: which row, which batch, and what to set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from prentice.errors import PrenticeError, TrainingError
from prentice.training.check import CheckedRow
from prentice.training.forest import Batch

NO_MEMORY = ("not enough memory", "n't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")
"""What the errors of torch, safetensors and a GPU's libraries say."""
LONG_ROWS = 'leave longer rows out while curating, or set train.sft.method = "qlora" on a GPU'
MANY_WEIGHTS = 'train a smaller base, or set train.sft.method = "lora", or "qlora" on a GPU'


LOWER_RATE = "lower train.sft.learning_rate"


class NotANumberError(TrainingError):
    """A loss or a gradient that is not a number."""


def check_loss(
    loss: Tensor, logprobs: Tensor, batch: Batch, rows: Sequence[CheckedRow], told: tuple[Path, str]
) -> None:
    """See that a batch's loss is a number.

    Args:
        told: the file of the rows, and when it is.
    Raises: NotANumberError naming the first row whose log-probabilities are none.
    """
    if torch.isfinite(loss):
        return
    broken, (where, when) = batch.rows[~torch.isfinite(logprobs)], told
    row = rows[int(broken[0]) if len(broken) else 0]
    raise NotANumberError(f"{where}: row {row.example.id}: its loss is not a number {when}", LOWER_RATE)


def check_gradient(norm: Tensor, rows: Sequence[CheckedRow], where: Path, step: int) -> None:
    """See that a step's gradient is a number, where all its losses were.

    Raises: NotANumberError naming the step's first and last row: a sum tells no more.
    """
    if not torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm):
        first, last = rows[0].example.id, rows[-1].example.id
        raise NotANumberError(
            f"{where}: the gradient of step {step} is not a number (rows {first} … {last})", LOWER_RATE
        )


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


def at_once(rows: Sequence[CheckedRow], when: str, cut: int, computed: int | None = None) -> tuple[str, str]:
    """Rows computed at once, as `memory_named` takes them.

    Args:
        cut: `micro_tokens` as it is set.
        computed: tokens after sharing or padding; None: not known yet.
    """
    longest = max(rows, key=lambda row: len(row.row.tokens))
    tokens, length = sum(len(row.row.tokens) for row in rows), len(longest.row.tokens)
    smaller = max(length, min(cut, tokens if computed is None else computed) // 2)
    hint = f"set train.sft.micro_tokens = {smaller}: memory changes, the result does not"
    return (
        f"{when}: {len(rows)} rows of {tokens:,} tokens computed at once, the longest "
        f"{longest.example.id} of {length:,}",
        hint if len(rows) > 1 and smaller < cut else LONG_ROWS,
    )


def _is_about_memory(error: Exception) -> bool:
    about = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return about or any(words in str(error).lower() for words in NO_MEMORY)
