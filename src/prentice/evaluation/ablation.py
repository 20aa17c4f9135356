"""Ablations in records and figures: students that differ in what they were trained on, on the same held-out cases."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from pydantic import Field

from prentice.records import Interval, Record
from prentice.statistics import crossed_difference, crossed_mean


class Trained(Record):
    """One student: what it was trained on and how it did."""

    key: str
    rows: int
    """Training rows."""
    epochs: float
    visits: float
    """Rows seen, over all epochs."""
    tokens: float
    """Supervised tokens seen."""
    seconds: float
    """Of training."""
    play_seconds: float
    """Of export and play."""
    figures: dict[str, float] = Field(default_factory=dict)
    """Of training: losses, rates."""
    successes: tuple[float, ...]
    """One a held-out case, in the order of the cases."""


class ArmResult(Record):
    """One arm under one budget, or one number of rows: its students by seed."""

    name: str
    left_out: str = ""
    """Why there are no students."""
    students: dict[int, Trained] = Field(default_factory=dict)
    """By seed."""
    success: Interval | None = None
    """Over seeds and cases."""
    difference: Interval | None = None
    """Success minus that of what is compared with, on the same seeds and cases."""

    @property
    def seeds(self) -> list[float]:
        """The success of each student."""
        return [fmean(student.successes) for student in self.students.values()]


class Table(Record):
    """Arms that may be compared."""

    title: str
    """What is equal between them."""
    reference: str
    """The arm that the others are compared with."""
    arms: tuple[ArmResult, ...]


class Ablation(Record):
    """What was compared and what came of it."""

    version: Literal[1] = 1
    kind: Literal["curation", "sizes", "stages", "play"]
    task: str
    cases: int
    split: str
    metric: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    references: dict[str, float] = Field(default_factory=dict)
    """Success of others on the same cases: teacher, base."""
    created: str


def summarised(arms: Sequence[ArmResult], reference: str) -> tuple[ArmResult, ...]:
    """The arms with their intervals, each beside the arm named `reference` on the seeds that both have."""
    by_name = {arm.name: arm for arm in arms}
    return tuple(_summary(arm, by_name[reference]) for arm in arms)


def enough(table: Table, margin: float) -> str:
    """From how many rows on more of them are shown to add less than `margin`, in words that claim no more than that.

    Args:
        table: its arms are named by their rows, ascending; the reference has the most.
        margin: a share, as of [evaluate].
    """
    most, points = int(table.reference), f"{100 * margin:g} points"
    for arm in table.arms:
        difference = arm.difference
        if difference is not None and difference.low >= -margin:
            more, atmost = 0.0 - 100 * difference.value, max(0.0, -100 * difference.low)
            return (
                f"{int(arm.name):,} rows are enough here: {most:,} rows add at most {atmost:.1f} points "
                f"(end of the 95 % interval; measured: {more:+.1f}), which is within the margin of {points}."
            )
    if not any(arm.difference for arm in table.arms):
        return "Not enough was played yet to say how many rows are enough."
    return (
        f"Of no smaller number of rows is it shown that it lies within {points} of {most:,} rows: "
        "more rows still help, or more cases and seeds are needed to tell."
    )


def _summary(arm: ArmResult, other: ArmResult) -> ArmResult:
    if not arm.students:
        return arm
    success = crossed_mean([s.successes for s in arm.students.values()])
    both = sorted(arm.students.keys() & other.students.keys())
    difference = None
    if both and arm.name != other.name:
        difference = crossed_difference(*([a.students[s].successes for s in both] for a in (arm, other)))
    return arm.model_copy(update={"success": success, "difference": difference})
