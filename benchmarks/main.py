"""The measured claims of the main job: `make bench-main` → benchmarks/results/main.json.

Every arm is `prentice run examples/support` with other rows to learn from, on all held-out cases. Plain distillation is
trained for as many row visits as the student, all human labels once, the others for as many epochs. Cost and latency
come from teacher and student live on this machine, in alternating blocks, with the same number of threads. Work that is
stored is not done twice: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from prentice.app.cli.terminal import terminal_progress
from prentice.evaluation import terminal_table
from prentice.models import ScriptedModel
from prentice.models.specs import read_recording
from prentice.pipeline import Context, Outcome, Project, run, states
from prentice.progress import Silent
from prentice.records import PolicyResult
from prentice.records.jsonl import write_episodes
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.runs import write_atomic
from side_by_side import compare_live, levers

TOP = Path(__file__).parents[1]
SUPPORT = TOP / "examples" / "support"
RESULTS = TOP / "benchmarks" / "results"
COMMAND = "make bench-main"
HELD_OUT = ("evaluate.cases=0", 'evaluate.policies=["teacher", "student"]')
"""All of them; the untrained base is slow on its long prompt and plays in `make demo`."""
UNCHECKED = "export.check_rows=0"
"""The student's own export is held against torch; the other arms only have to answer."""
TRIED_CASES = 600
"""Training cases that the recording holds three tries of."""
EPOCHS = 3
PER_ROWS = 3000
"""Training cases of the example."""

Row = dict[str, Any]


def main() -> None:
    """Run the student's own arm, the live comparison, then every other arm; write what is known after each."""
    outcomes = {"student": _run([])}
    timed = _timed(_finished("export", []))
    _write(outcomes, timed)
    for name, overrides in _arms(_kept(outcomes["student"])).items():
        outcomes[name] = _run([UNCHECKED, *overrides])
        _write(outcomes, timed)


def _timed(exported: Path) -> list[Row]:
    """The rows that need a quiet machine; measured once for each exported student."""
    file = Project(SUPPORT).home / "benchmark" / f"{exported.name}.json"
    if not file.exists():
        live = compare_live(SUPPORT, exported)
        rows = [_row(name, *pair, unit=unit, n=live.n, threads=live.threads) for name, pair, unit in live.rows()]
        rows += [{**row, "command": COMMAND} for row in levers(SUPPORT, exported)]
        write_atomic(file, json.dumps(rows, indent=1) + "\n")
    measured: list[Row] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def _arms(kept: int) -> dict[str, list[str]]:
    """Name of each arm but the student's own → what it lays over the example's settings."""
    human = _human_recording()
    return {
        "plain_distillation": ["curate.keep=not failed", _visits(kept, PER_ROWS)],
        "agreement_filter": [
            "curate.keep=agreement == 1 and tries >= 3",
            "rollout.tries=3",
            f"rollout.cases={TRIED_CASES}",
        ],
        "human_labels_same_number": [human, f"curate.max_rows={kept}"],
        "human_labels_all": [human, "train.sft.epochs=1"],
    }


def _run(overrides: Sequence[str]) -> Outcome:
    print("\n== prentice run examples/support", *(f"--set {o!r}" for o in (*HELD_OUT, *overrides)), flush=True)
    return run(SUPPORT, overrides=[*HELD_OUT, *overrides], progress=terminal_progress())


def _visits(kept: int, rows: int) -> str:
    """As many row visits as the student's own run, over another number of rows."""
    return f"train.sft.epochs={EPOCHS * kept / rows:.4f}"


def _finished(name: str, overrides: Sequence[str]) -> Path:
    context = Context(Project(SUPPORT, [*HELD_OUT, *overrides]), Silent())
    states(context)
    return context.folder(name)


def _human_recording() -> str:
    """The right labels of the training cases, as if a person had been recorded: the ceiling, not the claim."""
    project = Project(SUPPORT)
    task, folder = project.task, project.home / "human"
    cases = task.cases("train")
    answers = {str(case.inputs["text"]): task.demonstration(case) or "" for case in cases}
    person = ScriptedModel(lambda request: answers[str(request.inputs["text"])], name="human labels", slots=64)
    folder.mkdir(parents=True, exist_ok=True)
    with Store.open(folder / "store.db") as store:
        labels = play_all(task, person, cases, store, RolloutConfig())
        write_episodes(folder / "train.jsonl", store.episodes(run=labels))
    # held-out cases are still compared with the real teacher
    recording = read_recording(project.config.teacher.model, SUPPORT)
    held_out = [e for e in (*recording.replies, *recording.yardstick) if e.split == "test"]
    write_episodes(folder / "test.jsonl", held_out)
    return f"teacher.model=recorded:{folder.relative_to(SUPPORT)}/*.jsonl"


def _kept(outcome: Outcome) -> int:
    dataset: Any = outcome.report.facts["dataset"]
    return int(dataset["ledger"]["kept"])


def _result(outcome: Outcome, name: str) -> PolicyResult:
    return next(result for result in outcome.report.results if result.name == name)


def _row(name: str, ours: float, rival: float | None = None, **more: Any) -> Row:
    if "ratio" not in more:
        more["ratio"] = None if rival is None else rival / ours
    return {"name": name, "ours": ours, "rival": rival} | more | {"command": COMMAND}


def _success_rows(outcomes: Mapping[str, Outcome]) -> list[Row]:
    student, teacher = _result(outcomes["student"], "student"), _result(outcomes["student"], "teacher")
    if student.difference is None:
        raise SystemExit("the student's run has no teacher to compare with")
    rows = [
        _row("success_student_minus_teacher_low", student.difference.low, unit="share", n=student.n),
        _row("success_teacher", teacher.success.value, unit="share", n=teacher.n, interval=_ends(teacher)),
    ]
    for arm, outcome in outcomes.items():
        result = _result(outcome, "student")
        dataset: Any = outcome.report.facts["dataset"]
        rows.append(
            _row(
                "success_student" if arm == "student" else f"success_{arm}",
                result.success.value,
                teacher.success.value,
                ratio=result.success.value / teacher.success.value,
                unit="share",
                n=result.n,
                interval=_ends(result),
                rows=dataset["ledger"]["kept"],
            )
        )
    return rows


def _ends(result: PolicyResult) -> list[float]:
    return [round(result.success.low, 4), round(result.success.high, 4)]


def _training_rate(outcome: Outcome) -> tuple[float, int]:
    """Supervised rows a second in the student's own training, validation included, and how many there were."""
    training: Any = outcome.report.facts["training"]
    return training["visits"] / training["seconds"], int(training["visits"])


def _write(outcomes: Mapping[str, Outcome], timed: Sequence[Row]) -> None:
    rows = [*_success_rows(outcomes), *timed]
    rate, visits = _training_rate(outcomes["student"])
    note = f"{PER_ROWS} row visits at the rate of the student's own training"
    rows.append(_row("train_seconds_3000_rows", PER_ROWS / rate, unit="s", n=visits, note=note))
    report = outcomes["student"].report
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_atomic(RESULTS / "main.json", json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    console = Console(width=110)
    console.print(terminal_table(report))
    for row in rows:
        ratio = "" if row["ratio"] is None else f"  ({row['ratio']:.2f} times the rival's)"
        console.print(f"{row['name']}: {row['ours']:.4g} {row['unit']}{ratio}", highlight=False)


def machine() -> str:
    """Where, on which commit and when something was measured, in words."""
    memory = psutil.virtual_memory().total / 2**30
    cpu = f"{platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB"
    return f"{cpu}; commit {_commit()}; {datetime.now(UTC):%Y-%m-%d}"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=TOP, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


if __name__ == "__main__":
    main()
