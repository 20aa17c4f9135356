"""What the student played, as the tokens that it drew. It comes from a live link (`Rollouts`), which `pipeline/` fills;
this module knows neither tasks nor servers nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from prentice.records import Record


class Said(Record):
    """One turn of the student, as tokens."""

    prompt: tuple[int, ...]
    """What it read: the environment's and the template's words."""
    reply: tuple[int, ...]
    """What it drew; the token that ends a reply is the last one, unless the reply was cut."""
    sampled: tuple[float, ...] = ()
    """Log-probability of each token of `reply` where it was drawn; () where that is not known."""


class Rolled(Record):
    """One try of the student at a case."""

    case: str
    attempt: int
    turns: tuple[Said, ...] = ()
    reward: float | None = None
    """None: the try failed."""
    success: float | None = None
    """What the evaluation calls success, where it says anything; for tables."""
    failure: str = ""
    """Why there is no reward."""

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"{self.case}, try {self.attempt}"


Rollouts = Callable[[int, Path], Sequence[Rolled]]
"""Number of the round, folder of the student's weights as they are → every try at every case of that round."""
