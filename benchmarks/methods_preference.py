"""Preference learning measured: pairs a second over the forest, and what it adds to a fine-tuned student.

The student of the last part lives under examples/support/.prentice: what is trained or played is not done twice.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import engine_rows
from engine_ours import Clock
from prentice.app.cli.terminal import terminal_progress
from prentice.curation import PairsConfig, curate_pairs
from prentice.curation.material import material
from prentice.curation.parting import from_episodes
from prentice.models.local import LocalModel
from prentice.pipeline import Context, Project, run_stage
from prentice.pipeline.bases import base_gguf
from prentice.pipeline.learning import learn_chain, student_before, success
from prentice.progress import Silent
from prentice.records import Checkpoint, ModelSource, Pair, digest
from prentice.records.parquet import PAIRS, read_rows
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.statistics import crossed_difference, wilson
from prentice.tasks import Audience, Case
from prentice.tasks.babyai.task import CLUMSY
from prentice.training.export import export
from prentice.training.items import Item
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.items import method_of, pair_items
from prentice.training.run import Origin, Run
from prentice.training.start import Start, open_checker, open_model

Row = dict[str, Any]
SUPPORT = Path(__file__).parents[1] / "examples" / "support"
RACED, LAPS = 32, 3
"""Pairs of a lap, two steps of them; laps of each way, in turns."""
TRIED_CASES, TRIES = 600, 3
"""Training cases of which the teacher's recording holds so many tries."""
SEEDS = (0,)
HELD_OUT = 1000
STUDENT = (
    "curate.max_rows=300",
    "pairs.student_tries=4",
    "pairs.student_cases=600",
    "train.preference.sft_weight=0.2",
    "export.check_rows=0",
)
"""What the success is measured with: a fine-tuned student, its own attempts at 600 training cases, one pass."""


def speed_rows() -> list[Row]:
    """Pairs a second: the teacher's right reply over its wrong ones behind the student's short prompt and behind its
    own long one, and turns of a game behind their rules."""
    return [
        _raced("pairs_per_s", support_pairs(), "support, the student's prompt"),
        _raced("pairs_per_s_babyai", babyai_pairs(), "BabyAI turns behind the rules"),
    ]


def success_rows() -> list[Row]:
    """Success of SFT + preference minus that of SFT on held-out cases, over seeds."""
    played = [_played(seed) for seed in SEEDS]
    before, after = ([each.before for each in played], [each.after for each in played])
    found = crossed_difference(after, before)
    shares = [wilson(round(sum(map(sum, rows))), sum(map(len, rows))) for rows in (before, after)]
    return [
        {
            "name": "preference_success_diff_low",
            "ours": found.low,
            "rival": None,
            "ratio": None,
            "unit": "share",
            "n": HELD_OUT,
            "seeds": len(SEEDS),
            "interval": [found.low, found.high],
            "value": found.value,
            "success_sft": shares[0].value,
            "success_preference": shares[1].value,
            "by_seed": [[sum(each.before) / HELD_OUT, sum(each.after) / HELD_OUT] for each in played],
            "pairs": [each.pairs for each in played],
            "figures": [each.figures for each in played],
            "note": f"examples/support; settings {', '.join(STUDENT)}; pairs from the student's own attempts and the "
            "teacher's recorded replies at training cases",
        }
    ]


@dataclass(frozen=True)
class Played:
    """Held-out cases before and after preference learning, 1 for each that was solved."""

    before: Sequence[float]
    after: Sequence[float]
    pairs: int
    figures: dict[str, float]


def _played(seed: int) -> Played:
    settings = (*STUDENT, f"train.sft.seed={seed}", f"train.preference.seed={seed}", f"pairs.seed={seed}")
    context = Context(Project(SUPPORT, settings), terminal_progress())
    project, progress = context.project, context.progress
    for stage in ("rollout", "curate"):
        run_stage(context, stage)
    dataset, home = context.folder("curate"), project.home / "bench-preference" / digest(list(settings))[:12]
    begun = time.perf_counter()
    student = student_before(project, dataset, progress)
    checkpoint = learn_chain(project, dataset, home / "train", progress)
    if not (home / "export" / "export.json").exists():
        assert student.safetensors is not None
        export(
            project.config.export,
            checkpoint=home / "train",
            base=student.safetensors,
            out=home / "export",
            rows=(),
            progress=progress,
        )
    cases = project.task.cases("test")[:HELD_OUT]
    ggufs = base_gguf(project, student, progress), next((home / "export").glob("*.gguf"))
    before, after = (_successes(project, gguf, cases, home) for gguf in ggufs)
    print(f"seed {seed}: {sum(before):.0f} → {sum(after):.0f} of {len(cases)}, {time.perf_counter() - begun:.0f} s")
    return Played(before, after, _pairs_of(project, checkpoint), dict(checkpoint.figures))


def _pairs_of(project: Project, checkpoint: Checkpoint) -> int:
    for folder in (project.home / "pairs").glob("*/manifest.json"):
        manifest, pairs = read_rows(folder.parent, PAIRS)
        if manifest.hash == checkpoint.dataset:
            return len(pairs)
    return 0


def _successes(project: Project, gguf: Path, cases: Sequence[Case], home: Path) -> list[float]:
    """Greedy, one try each, in a store of their own."""
    name = f"{gguf.parent.parent.name}/{gguf.parent.name}/{gguf.name}"
    with Store.open(home / "plays.db") as store:
        policy = LocalModel(gguf, name=name, threads=project.config.threads)
        rules, progress = project.held_out_rules, terminal_progress()
        run = play_all(project.task, policy, cases, store, rules, audience="student", identity=name, progress=progress)
        episodes = {e.case: e for e in store.episodes(run=run)}
    return [success(episodes[case.id], project.config.evaluate.metric) for case in cases]


def support_pairs() -> list[Pair]:
    """The teacher's right reply over its wrong ones, of the cases that it was recorded at several times."""
    project = Project(SUPPORT, [f"rollout.tries={TRIES}", f"rollout.cases={TRIED_CASES}"])
    return _made(project, project.config.teacher.model, TRIED_CASES, "student")


def babyai_pairs() -> list[Pair]:
    """The clumsy expert's action over the one it took in an attempt that failed, where the two part ways."""
    settings = ["task.level=GoToObj", "task.history=0", f"rollout.tries={TRIES}"]
    return _made(Project(engine_rows.BABYAI, settings), f"task:{CLUMSY}", engine_rows.BABYAI_CASES, "teacher")


def _made(project: Project, spec: str, count: int, audience: Audience) -> list[Pair]:
    """Pairs of a policy's attempts at the first training cases.

    Args:
        audience: whose prompt stands before them.
    """
    task, cases = project.task, project.task.cases("train")[:count]
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "store.db") as store:
        run = play_all(task, project.open_policy(spec), cases, store, project.config.rollout)
        render = partial(task.render, audience=audience)
        found = material(store.episodes(run=run), "success", render, Silent())
        curate_pairs(PairsConfig(val_share=0), found, from_episodes(found), Path(folder) / "pairs")
        return read_rows(Path(folder) / "pairs", PAIRS)[1]


def pair_rows(base: Path, pairs: Sequence[Pair]) -> list[Item]:
    """Both sides of each pair as rows of the engine."""
    return pair_items(open_checker(2048, Path("pairs"), base), pairs)


def _raced(name: str, pairs: list[Pair], what: str) -> Row:
    """Laps over the forest and over padded rows in turns, after one of each for warmth."""
    base = engine_rows.base_model()
    items = pair_rows(base, pairs[:RACED])
    if len(items) < 2 * RACED:
        sys.exit(f"{name}: {RACED} pairs are wanted, and there are {len(items) // 2}")
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    curves: dict[bool, list[float]] = {}
    for number in range(LAPS + 1):
        for padded in (False, True) if number % 2 == 0 else (True, False):
            times, curves[padded] = _lap(base, items, padded=padded)
            way = "padded" if padded else "forest"
            print(f"  {name}, {way}: {times[0]:.2f} s ({times[1]:.2f} CPU-s)", flush=True)
            if number:
                found[padded].append(times)
    _same_curve(name, curves)
    (ours, busy), (theirs, busy_theirs) = (
        (median(wall for wall, _ in found[padded]), median(cpu for _, cpu in found[padded])) for padded in (False, True)
    )
    longest = max(len(item.row.tokens) for item in items)
    mean = sum(len(item.row.tokens) for item in items) / len(items)
    return {
        "name": name,
        "ours": RACED / ours,
        "rival": RACED / theirs,
        "ratio": theirs / ours,
        "unit": "pairs/s",
        "n": LAPS,
        "pairs": [round(b / a, 3) for (a, _), (b, _) in zip(found[False], found[True], strict=True)],
        "cpu_ratio": busy_theirs / busy,
        "note": f"{what}: DPO on SmolLM2-135M, LoRA r 16, float32; {RACED} pairs, 16 a step, rows of {mean:.0f} tokens "
        f"(longest {longest}); the rival is our own engine on rows side by side, padded, the model's own attention",
    }


def _lap(base: Path, items: list[Item], *, padded: bool) -> tuple[tuple[float, float], list[float]]:
    """Seconds and processor seconds of the steps, and the losses; loading, proof and reference come before."""
    config = PreferenceConfig(save_seconds=1e9)
    clock = Clock()
    with TemporaryDirectory() as folder:
        model = open_model(config, base)
        if padded:
            model.obstacle, model.attention = "asked for", model.own_attention
            model.causal.set_attn_implementation(model.own_attention)
        source = ModelSource(name="smollm2-135m", source="path:base", sha256="0" * 64)
        start = Start(model, items, (), Path("pairs"))
        run = Run("lap", config, method_of(config), start, Origin(base, source, ""), Path(folder), unit=2)
        loop = run.loop()
        loop.run(clock)
    (begin, busy), (end, busy_end) = clock.marks[0], clock.marks[-1]
    return (end - begin, busy_end - busy), [line["loss"] for line in loop.course.curve]


def _same_curve(name: str, curves: dict[bool, list[float]]) -> None:
    worst = max(abs(a - b) for a, b in zip(curves[False], curves[True], strict=True))
    if worst > 1e-4:
        raise ValueError(f"{name}: the losses differ by {worst:.2g}: the two do not compute the same")


PARTS: dict[str, Callable[[], list[Row]]] = {
    "preference_speed": speed_rows,
    "preference_success": success_rows,
}

if __name__ == "__main__":
    # one part at a time, to be looked at; benchmarks/methods.py writes them to the results
    for wanted in sys.argv[1:] or list(PARTS):
        print(json.dumps(PARTS[wanted](), indent=1), flush=True)
