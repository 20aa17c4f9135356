"""The arms: which rows each one trains the student on, and why one has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prentice.curation import CurateConfig, curate
from prentice.curation.rows import draw
from prentice.errors import PrenticeError
from prentice.pipeline.ablation.config import ArmName
from prentice.progress import Progress
from prentice.records import Demonstration, Episode, Example, Message
from prentice.records.parquet import read_dataset
from prentice.tasks import Task

Pool = Literal["wide", "deep", "people"]
"""One try of many cases, several tries of fewer cases, or the task's own demonstrations."""
FEWEST_TO_AGREE = 3


@dataclass(frozen=True)
class Arm:
    """One way to choose what the student learns from."""

    name: ArmName
    meaning: str
    pool: Pool = "wide"
    curate: Mapping[str, Any] = field(default_factory=dict)
    """Laid over [curate]."""
    drawn: bool = False
    """Of its rows as many as `curated` has are drawn, by the seed."""
    weights: str | None = None
    """Laid over [train.sft] weights."""


_EVERYTHING: Mapping[str, Any] = {
    "keep": "not failed",
    "keep_turns": "",
    "best_per_case": 0,
    "max_per_reply": 0,
    "max_rows": 0,
    "weight_by": None,
}
"""Nothing that [curate] chooses or weighs by."""


def arms(tries: int, metric: str) -> Mapping[ArmName, Arm]:
    """Every arm, by name.

    Args:
        tries: of a case, for the arms that choose among them.
        metric: what `best` ranks by.
    """
    best = {**_EVERYTHING, "best_per_case": 1, "rank_by": metric}
    agreed = {**_EVERYTHING, "keep": f"agreement == 1 and tries >= {tries}", "best_per_case": 1}
    rows = (
        Arm("curated", "what [curate] keeps"),
        Arm("all", "every episode that did not fail, right or wrong (plain distillation)", curate=_EVERYTHING),
        Arm("random", "rows of `all` drawn at random, as many as curated has", curate=_EVERYTHING, drawn=True),
        Arm("importance", "the curated rows, importance-weighted", weights="importance"),
        Arm("best", f"the best of {tries} tries of each case, by {metric}", "deep", best),
        Arm("agreement", f"what {tries} tries of a case agree on; no label is needed", "deep", agreed),
        Arm(
            "human",
            "the task's own demonstrations, as many rows as curated has; they cost no teacher",
            "people",
            # no reply of the teacher satisfies this: what is left are the demonstrations
            {**_EVERYTHING, "keep": "turns < 0"},
            drawn=True,
        ),
    )
    return {arm.name: arm for arm in rows}


@dataclass(frozen=True)
class Rows:
    """The rows that an arm may train on."""

    examples: tuple[Example, ...]

    def split(self, name: str) -> list[Example]:
        """The rows of one split."""
        return [e for e in self.examples if e.split == name]

    def sample(self, seed: int, train: int, val: int) -> Rows:
        """So many rows of each split, drawn by `seed`: fewer rows are always among more of the same seed."""
        drawn = sorted(self.examples, key=lambda e: draw(seed, "ablate", e.id))
        chosen = [[e for e in drawn if e.split == name][:most] for name, most in (("train", train), ("val", val))]
        taken = {e.id for part in chosen for e in part}
        return Rows(tuple(e for e in self.examples if e.id in taken))


def rows_of(
    arm: Arm, config: CurateConfig, episodes: Sequence[Episode], task: Task, out: Path, progress: Progress
) -> Rows:
    """Curate the rows of an arm and write them, with their ledger, to the folder `out`.

    Raises: PrenticeError if its episodes give it none.
    """
    curate(
        config.model_copy(update=dict(arm.curate)),
        _demonstrated(episodes, task) if arm.pool == "people" else episodes,
        render=lambda function, inputs: task.render(function, inputs, "student"),
        out=out,
        progress=progress,
    )
    return Rows(tuple(read_dataset(out)[1]))


def _demonstrated(episodes: Sequence[Episode], task: Task) -> list[Episode]:
    """The episodes, each with what a person who knows the answer would have said.

    Raises: PrenticeError if the task has no such answer.
    """
    cases = {case.id: case for case in task.cases("train")}
    shown: list[Episode] = []
    for episode in episodes:
        text = task.demonstration(cases[episode.case])
        if text is not None:
            message = Message(role="assistant", content=text)
            given = Demonstration(turn=0, message=message, source="program", at=episode.started_at)
            shown.append(episode.model_copy(update={"demonstrations": (given,)}))
    if not shown:
        raise PrenticeError("the task has no demonstrations")
    return shown
