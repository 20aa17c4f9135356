"""BabyAI's rows of `make bench-environments`: one student an arm, all on the same unseen seeds.

Every arm is `prentice run examples/babyai` with other turns to learn from, and as many of them. What is stored or
trained is not done twice: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prentice.app.cli.terminal import terminal_progress
from prentice.evaluation.compare import STUDENT, TEACHER
from prentice.models.catalogue import resolve_gguf
from prentice.models.local import LocalModel
from prentice.models.policy import Policy
from prentice.pipeline import Context, Project, run, states
from prentice.progress import Silent
from prentice.records import Episode, PolicyResult, Report
from prentice.records.filters import Filter
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.runs import write_atomic
from prentice.statistics import paired_difference, quantile, wilson
from prentice.tasks import Audience
from side_by_side import quiet_or_exit

TOP = Path(__file__).parents[1]
BABYAI = TOP / "examples" / "babyai"
LEVELS = {"GoToObj": "goto_obj", "GoToLocal": "goto_local"}
TURNS_OF = {"GoToObj": 1000, "GoToLocal": 4000}
"""Turns that every student of a level learns from: the easier one takes fewer."""
UNSEEN, UNSEEN_CASES = "GoToDoor", 200
"""Nobody learnt it: its doors occur in no training episode."""
WHOLE, TURNS, PLAIN = "whole_episodes", "turn_curated", "plain_distillation"
ARMS = {
    WHOLE: ["curate.keep=success", "curate.keep_turns=", "evaluate.cases=250"],
    TURNS: [],
    PLAIN: ["curate.keep=not failed", "curate.keep_turns=", "evaluate.cases=250"],
}
"""Arm → what it lays over the example's settings; whole episodes are the study's own form. The arms beside the
student's play fewer cases: an episode in which they lose their way takes four times as long as one with success."""
ALIKE = ('evaluate.policies=["teacher", "student"]', "export.check_rows=20")
LARGE, LARGE_CASES = "qwen2.5-coder-1.5b", 20
"""A real language model in the teacher's place; it reads 60 tokens a second, hence few cases and no past steps."""
TIMED_CASES = 60

Row = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A trained student and what it did."""

    level: str
    report: Report
    gguf: Path
    episodes: dict[str, bool]
    """Case → success, of the student."""

    def result(self, role: str) -> PolicyResult:
        """One policy's row of the report."""
        return next(r for r in self.report.results if r.name == role)


def babyai_rows() -> list[Row]:
    """Train what is not trained yet, and measure."""
    arms = {(level, name): _arm(level, overrides) for name, overrides in ARMS.items() for level in LEVELS}
    rows = [row for level in LEVELS for row in _level_rows(level, {name: arms[level, name] for name in ARMS})]
    best = arms["GoToLocal", TURNS]
    rows += _unseen_rows(best)
    rows += _large_rows()
    return [*rows, *_turn_times({level: arms[level, TURNS] for level in LEVELS})]


def _arm(level: str, overrides: Sequence[str]) -> Arm:
    settings = [f"task.level={level}", f"curate.max_rows={TURNS_OF[level]}", *ALIKE, *overrides]
    print("\n== prentice run examples/babyai", *(f"--set {o!r}" for o in settings), flush=True)
    report = run(BABYAI, overrides=settings, progress=terminal_progress()).report
    project = Project(BABYAI, settings)
    context = Context(project, Silent())
    states(context)
    exported = context.folder("export")
    with project.store() as store:
        episodes = {e.case: _won(e) for e in store.episodes(Filter(policy=f"student:{exported.name}", split="test"))}
    return Arm(level, report, next(exported.glob("*.gguf")), episodes)


def _level_rows(level: str, arms: dict[str, Arm]) -> list[Row]:
    name, teacher = LEVELS[level], arms[TURNS].result(TEACHER)
    best = arms[TURNS].result(STUDENT)
    assert best.difference is not None
    rows = [
        _row(f"{name}_diff_low", best.difference.low, n=best.n, note=f"turn-curated student minus {teacher.policy}"),
        _success(f"{name}_teacher", teacher),
        *(_success(f"{name}_{arm}", arms[arm].result(STUDENT)) for arm in ARMS),
        *(
            _success(f"{name}_{r.name.replace(' ', '_')}", r)
            for r in arms[TURNS].report.results
            if r.name not in (TEACHER, STUDENT)
        ),
    ]
    for one, other in ((TURNS, PLAIN), (WHOLE, PLAIN), (TURNS, WHOLE)):
        ours, theirs = arms[one].episodes, arms[other].episodes
        cases = sorted(ours.keys() & theirs.keys())
        apart = paired_difference([ours[c] for c in cases], [theirs[c] for c in cases])
        short = f"{name}_{one.split('_', maxsplit=1)[0]}_curated_minus_{other.split('_', maxsplit=1)[0]}_low"
        rows.append(_row(short, apart.low, n=len(cases), interval=[apart.value, apart.low, apart.high]))
    return rows


def _success(name: str, result: PolicyResult) -> Row:
    ends = [round(result.success.low, 4), round(result.success.high, 4)]
    return _row(f"{name}_success", result.success.value, n=result.n, interval=ends, turns=result.turns)


def _unseen_rows(best: Arm) -> list[Row]:
    project = Project(BABYAI, [f"task.level={UNSEEN}"])
    rows = []
    student = LocalModel(best.gguf, name="student of GoToLocal", threads=2)
    players: list[tuple[str, Policy, Audience]] = [("student", student, "student")]
    players += [(name, policy, "teacher") for name, policy in project.task.baselines().items()]
    for name, policy, audience in players:
        episodes = _played(project, policy, audience, UNSEEN_CASES)
        won = wilson(sum(map(_won, episodes)), len(episodes))
        label = f"unseen_level_{name.replace(' ', '_')}_success"
        rows.append(_row(label, won.value, n=len(episodes), interval=[won.low, won.high], level=UNSEEN))
    return rows


def _large_rows() -> list[Row]:
    rows = []
    for level, name in LEVELS.items():
        project = Project(BABYAI, [f"task.level={level}", "task.history=0"])
        model = LocalModel(resolve_gguf(LARGE, offline=True, progress=Silent()), name=f"local:{LARGE}", threads=2)
        episodes = _played(project, model, "teacher", LARGE_CASES)
        won = wilson(sum(map(_won, episodes)), len(episodes))
        cpu = sum(e.total("processing_s") or 0.0 for e in episodes) / max(1, sum(map(_won, episodes)))
        note = f"no past steps in its prompt; CPU-s per success: {cpu:.1f}; per turn p50 {_turn_p50(episodes):.2f} s"
        rows.append(_row(f"{name}_1.5b_success", won.value, n=len(episodes), interval=[won.low, won.high], note=note))
    return rows


def _played(project: Project, policy: Policy, audience: Audience, cases: int) -> list[Episode]:
    wanted = project.task.cases("test")[:cases]
    with Store.open(project.home / "benchmark.db") as store:
        run_ = play_all(
            project.task,
            policy,
            wanted,
            store,
            project.config.rollout,
            audience=audience,
            progress=terminal_progress(),
        )
        names = {case.id for case in wanted}
        return [e for e in store.episodes(run=run_) if e.case in names]


def _turn_times(arms: dict[str, Arm]) -> list[Row]:
    """Median milliseconds a turn of one episode at a time, on a quiet machine; measured once for each student."""
    rows = []
    for level, arm in arms.items():
        file = BABYAI / ".prentice" / "benchmark" / f"{arm.gguf.parent.name}.json"
        if not file.exists():
            quiet_or_exit()
            project = Project(BABYAI, [f"task.level={level}"])
            model = LocalModel(arm.gguf, name=f"timed {arm.gguf.parent.name}", threads=2)
            episodes = _played(project, model, "student", TIMED_CASES)
            write_atomic(file, json.dumps({"p50": _turn_p50(episodes), "turns": sum(len(e.turns) for e in episodes)}))
        measured = json.loads(file.read_text(encoding="utf-8"))
        rows.append(_row(f"{LEVELS[level]}_turn_p50_ms", 1000 * measured["p50"], n=measured["turns"], unit="ms"))
    slowest = max(rows, key=lambda row: float(row["ours"]))
    return [*rows, {**slowest, "name": "babyai_turn_p50_ms", "note": f"the slower of the two: {slowest['name']}"}]


def _turn_p50(episodes: Sequence[Episode]) -> float:
    return quantile([t.reply.latency_s for e in episodes for t in e.turns if t.reply.latency_s is not None], 0.5)


def _won(episode: Episode) -> bool:
    return episode.metric("success") is True


def _row(name: str, ours: float, *, n: int, unit: str = "share", **more: Any) -> Row:
    row: Row = {"name": name, "ours": ours, "rival": None, "ratio": None, "unit": unit, "n": n}
    return row | {key: value for key, value in more.items() if value is not None}
