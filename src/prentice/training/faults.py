"""What can go wrong in the middle of a run, in words: which row, which batch, and what to set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from prentice.errors import PrenticeError, TrainingError
from prentice.training.check import CheckedRow

NO_MEMORY = ("not enough memory", "n't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")
"""What the errors of torch, safetensors and a GPU's libraries say."""
LONG_ROWS = 'leave longer rows out while curating, or set train.sft.method = "qlora" on a GPU'
MANY_WEIGHTS = 'train a smaller base, or set train.sft.method = "lora", or "qlora" on a GPU'


class NotANumberError(TrainingError):
    """A loss or a gradient that is not a number; the weights are still those of the step before."""


def not_a_number(where: Path, row: CheckedRow, step: int) -> NotANumberError:
    """The error of a row, or of the step whose first row it is."""
    return NotANumberError(
        f"{where}: row {row.example.id}: its loss is not a number at step {step}",
        "lower the learning rate; the last good state is kept",
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
