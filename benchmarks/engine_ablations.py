"""The study's central claim, measured: what made the student good, and how many rows its task needs.

Students are pieces of work of their own under examples/NAME/.prentice/ablate: this goes on where it was stopped, and
run twice at once it shares them out.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from main import RESULTS
from prentice.app.cli.terminal import terminal_progress
from prentice.evaluation.ablation import Ablation, ArmResult
from prentice.pipeline import Project
from prentice.pipeline.ablation.curation import ablate_curation
from prentice.pipeline.ablation.sizes import ablate_sizes

Row = dict[str, Any]
EXAMPLES = Path(__file__).parent.parent / "examples"
SETTINGS = {
    "support": ("ablate.cases=200",),
    # the small level: a student of a few hundred turns walks it, and its episodes are short
    "babyai": ("task.level=GoToObj", "ablate.cases=60", "ablate.sizes=[10, 30, 100, 300]"),
}
ATTEMPTS = {"support": "ablate.attempts=400", "babyai": "ablate.attempts=60"}


def ablation_rows() -> list[Row]:
    """Curated minus all, and success by the number of rows, of both tasks."""
    rows: list[Row] = []
    for task in SETTINGS:
        rows += [_curated_minus_all(task), *_by_rows(task)]
    return rows


def _curated_minus_all(task: str) -> Row:
    made, files = ablate_curation(Project(EXAMPLES / task, (*SETTINGS[task], ATTEMPTS[task])), terminal_progress())
    _keep(files, task)
    tokens, cost = ((_arm(made, table, "curated"), _arm(made, table, "all")) for table in (0, 1))
    low, value, high = _gain(tokens[1])
    cheap = _gain(cost[1])
    return {
        "name": f"curated_minus_all_low_{task}",
        "ours": low,
        "rival": None,
        "ratio": None,
        "unit": "share",
        "n": made.cases,
        "seeds": len(tokens[0].students),
        "interval": [low, high],
        "value": value,
        "success_curated": _success(tokens[0]),
        "success_all": _success(tokens[1]),
        "equal_cost": {"value": cheap[1], "interval": [cheap[0], cheap[2]]},
        "note": f"equal supervised tokens; settings {', '.join((*SETTINGS[task], ATTEMPTS[task]))}",
    }


def _by_rows(task: str) -> list[Row]:
    made, files = ablate_sizes(Project(EXAMPLES / task, SETTINGS[task]), terminal_progress())
    _keep(files, task)
    return [
        {
            "name": f"success_at_{arm.name}_{task}",
            "ours": arm.success.value,
            "rival": None,
            "ratio": None,
            "unit": "share",
            "n": made.cases,
            "seeds": len(arm.students),
            "interval": [arm.success.low, arm.success.high],
            "note": f"settings {', '.join(SETTINGS[task])}",
        }
        for arm in made.tables[0].arms
        if arm.success is not None
    ]


def _arm(made: Ablation, table: int, name: str) -> ArmResult:
    return next(arm for arm in made.tables[table].arms if arm.name == name)


def _gain(arm: ArmResult) -> tuple[float, float, float]:
    """Curated minus the arm: low end, value, high end; the record says the arm minus curated."""
    assert arm.difference is not None
    return -arm.difference.high, -arm.difference.value, -arm.difference.low


def _success(arm: ArmResult) -> float:
    assert arm.success is not None
    return arm.success.value


def _keep(files: Path, task: str) -> None:
    """Copy table and plot to where the docs show them from."""
    for suffix in (".md", ".svg"):
        shutil.copyfile(files / f"ablation{suffix}", RESULTS / f"ablation-{task}-{files.name}{suffix}")
