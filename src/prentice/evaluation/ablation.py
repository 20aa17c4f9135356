"""Ablations in records and figures: students that differ in what they were trained on, on the same held-out cases."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pydantic import Field

from prentice.records import Interval, Record
from prentice.statistics import crossed_difference, crossed_mean

CURATED = "curated"


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
    figures: dict[str, float] = Field(default_factory=dict)
    """Of training: losses, rates."""
    successes: tuple[float, ...]
    """One a held-out case, in the order of the cases."""


class ArmResult(Record):
    """One arm under one budget: its students by seed."""

    name: str
    meaning: str
    cost: str
    """What the teacher's attempts took, in words."""
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
    """Arms that may be compared: something is equal between them."""

    title: str
    arms: tuple[ArmResult, ...]


class Ablation(Record):
    """What was compared and what came of it."""

    version: int = 1
    kind: str
    """curation, sizes"""
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


def _summary(arm: ArmResult, other: ArmResult) -> ArmResult:
    if not arm.students:
        return arm
    success = crossed_mean([s.successes for s in arm.students.values()])
    both = sorted(arm.students.keys() & other.students.keys())
    difference = None
    if both and arm.name != other.name:
        difference = crossed_difference(*([a.students[s].successes for s in both] for a in (arm, other)))
    return arm.model_copy(update={"success": success, "difference": difference})
