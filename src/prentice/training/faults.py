"""What can go wrong in the middle of a run, in words: which row, which batch, and what to set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from prentice.errors import TrainingError
from prentice.training.check import CheckedRow

NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")
"""What torch's errors say, on a CPU and on a GPU."""


class NotANumberError(TrainingError):
    """A loss or a gradient that is not a number; the weights are still those of the step before."""


def not_a_number(where: Path, row: CheckedRow, step: int) -> NotANumberError:
    """The error of a row, or of the step whose first row it is."""
    return NotANumberError(
        f"{where}: row {row.example.id}: its loss is not a number at step {step}",
        "lower the learning rate; the last good state is kept",
    )


@contextmanager
def memory_named(rows: Sequence[CheckedRow], step: int) -> Iterator[None]:
    """Say of a batch that memory does not hold what it was, and what to set.

    Raises: TrainingError.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not _is_about_memory(error):
            raise
        longest = max(rows, key=lambda row: len(row.row.tokens))
        tokens, length = sum(len(row.row.tokens) for row in rows), len(longest.row.tokens)
        hint = (
            f"set train.sft.micro_tokens = {max(length, tokens // 2)}: memory changes, the result does not"
            if len(rows) > 1
            else f'drop rows as long: train.sft.max_tokens = {length - 1}, or train.sft.method = "qlora" on a GPU'
        )
        raise TrainingError(
            f"out of memory at step {step}: {len(rows)} rows of {tokens:,} tokens computed at once, the longest "
            f"{longest.example.id} of {length:,}",
            hint,
        ) from error


def _is_about_memory(error: BaseException) -> bool:
    return any(words in str(error).lower() for words in NO_MEMORY)
