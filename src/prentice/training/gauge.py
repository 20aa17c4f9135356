"""What a run does to rows that it never trains on: scored before its first step and after its last."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prentice.progress import Progress
from prentice.runs import write_atomic
from prentice.training.faults import NotANumberError
from prentice.training.items import Item

if TYPE_CHECKING:
    from prentice.training.loop import Loop

BEFORE = "before.json"
AT_ONCE = 16
"""Rows scored between two looks at the bar."""


@dataclass(frozen=True)
class Gauge:
    """Rows to be scored, and what is made of it.

    Args:
        rows: never trained on.
        figures: the log-probability of each row's supervised tokens, summed, before and after → what the checkpoint's
            record says.
    """

    rows: Sequence[Item]
    figures: Callable[[Sequence[float], Sequence[float]], dict[str, float]]

    def before(self, loop: Loop, progress: Progress) -> list[float]:
        """The rows' scores by the weights that the run begins with; a run that goes on knows them from its file."""
        file = loop.out / BEFORE
        known = _read(file, loop.fingerprint)
        if known is None:
            known = self.scores(loop, "measuring before", progress)
            if loop.accelerator.is_main_process:
                write_atomic(file, json.dumps({"run": loop.fingerprint, "scores": known}))
        return known

    def scores(self, loop: Loop, title: str, progress: Progress) -> list[float]:
        """The rows' scores by the weights that are in the model now; every process must ask.

        Raises: NotANumberError naming a row whose score is none.
        """
        found: list[float] = []
        with progress.bar(title, len(self.rows), "rows") as bar:
            for begin in range(0, len(self.rows), AT_ONCE):
                part = self.rows[begin : begin + AT_ONCE]
                found += [sum(told) for told in loop.scored(part)]
                bar.advance(len(part))
        if broken := [item.id for item, score in zip(self.rows, found, strict=True) if not math.isfinite(score)]:
            raise NotANumberError(f"{loop.where}: row {broken[0]}: its loss is not a number when {title}")
        return found


def forget(out: Path) -> None:
    """Remove what was kept for a run that goes on."""
    (out / BEFORE).unlink(missing_ok=True)


def _read(file: Path, run: str) -> list[float] | None:
    """What another process of the same run has found; every process reads it before the first may write it."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    scores: list[float] = kept["scores"]
    return scores if kept["run"] == run else None
