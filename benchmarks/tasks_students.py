"""A task's students beside its teacher: the rows that entities and agentic retrieval share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prentice.app.cli.terminal import terminal_progress
from prentice.pipeline import Project, run
from prentice.pipeline.ablation.curation import ablate_curation
from prentice.pipeline.walk import Outcome
from prentice.records import Interval, PolicyResult
from prentice.runs import write_atomic
from side_by_side import compare_live

Row = dict[str, Any]
EXAMPLES = Path(__file__).parents[1] / "examples"
TAKEN = {"input_tokens", "output_tokens", "turns", "latency_p50_s", "processing_s", "cost_per_success", "cost_unit"}
"""What of a policy's result the table shows besides success; of a mean episode, but for the median latency."""


def student_run(name: str, *overrides: str) -> Outcome:
    """`prentice run` on an example; what was done before is not done again."""
    print(f"\n== prentice run examples/{name}", *(f"--set {each!r}" for each in overrides), flush=True)
    return run(EXAMPLES / name, overrides=overrides, progress=terminal_progress())


def result(outcome: Outcome, name: str) -> PolicyResult:
    """How one policy of a report did."""
    return next(each for each in outcome.report.results if each.name == name)


def policy_rows(task: str, outcome: Outcome) -> list[Row]:
    """Success of every policy of a report, what else was measured of it, and what it takes."""
    rows = []
    for each in outcome.report.results:
        name = f"{task}_{each.name.replace(',', '').replace(' ', '_')}"
        rows.append(
            share(name, each.success, each.n, f"success of {each.name}")
            | {"policy": each.name, "task": task}
            | {"measures": {name: round(value.value, 4) for name, value in each.measures.items()}}
            | each.model_dump(mode="json", include=TAKEN)
        )
    return rows


def difference_row(name: str, found: Interval, n: int, note: str) -> Row:
    """The lower end of a difference of two shares."""
    told = f"{100 * found.value:+.1f} points [{100 * found.low:.1f}, {100 * found.high:.1f}]; {note}"
    return share(name, found, n, told) | {"ours": found.low}


def share(name: str, found: Interval, n: int, note: str) -> Row:
    """A row of a share and its interval."""
    ends = [round(found.low, 4), round(found.high, 4)]
    return {"name": name, "ours": found.value, "rival": None, "ratio": None, "unit": "share", "n": n} | {
        "interval": ends,
        "note": note,
    }


def live_rows(task: str, exported: Path, *overrides: str) -> list[Row]:
    """Teacher and student in turns on this machine; measured once for each exported student."""
    file = Project(EXAMPLES / task).home / "benchmark" / f"{exported.name}.json"
    if not file.exists():
        live = compare_live(EXAMPLES / task, exported, overrides)
        rows = [
            {"name": f"{task}_{name}", "ours": ours, "rival": theirs, "ratio": theirs / ours, "unit": unit, "n": live.n}
            | {"note": f"student and teacher in turns, {live.threads} threads"}
            for name, (ours, theirs), unit in live.rows()
        ]
        write_atomic(file, json.dumps(rows, indent=1) + "\n")
    measured: list[Row] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def arm_rows(task: str, *overrides: str) -> list[Row]:
    """Students from curated work, from all work and from people's labels of the same number, over seeds."""
    made, folder = ablate_curation(Project(EXAMPLES / task, overrides), terminal_progress())
    print((folder / "ablation.md").read_text(encoding="utf-8"))
    rows = []
    for table in made.tables:
        budget = "equal_tokens" if table.title.startswith("equal supervised") else "own_epochs"
        for arm in table.arms:
            if arm.success is None:
                continue
            seeds = ", ".join(f"{100 * each:.1f}" for each in arm.seeds)
            n = made.cases * len(arm.students)
            size = next(iter(arm.students.values())).rows
            told = f"{arm.name}, {table.title}: {size} rows; by seed {seeds}"
            row = share(f"{task}_arm_{arm.name}_{budget}", arm.success, n, told)
            rows.append(row | {"task": task, "arm": arm.name, "budget": table.title, "seeds": len(arm.students)})
            if arm.difference is not None:
                turned = Interval(value=-arm.difference.value, low=-arm.difference.high, high=-arm.difference.low)
                suffix = "" if budget == "equal_tokens" else f"_{budget}"
                told = f"curated minus {arm.name}, {table.title}, {len(arm.students)} seeds"
                rows.append(difference_row(f"{task}_curated_minus_{arm.name}{suffix}_low", turned, n, told))
    return rows
