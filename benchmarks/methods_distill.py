"""Distillation on support: the tuned 30-layer student into a 15-layer cut of itself.

All arms learn from the same rows for the same steps: messages of Banking77's training part with the reply that the
tuned student itself gives, right or wrong (no label is looked at). PRENTICE_DATA names the folder of banking77.csv.
What is stored is not done twice: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from prentice.app.cli.terminal import terminal_progress
from prentice.curation import CurateConfig, curate
from prentice.models.catalogue import Model
from prentice.models.local import LocalModel
from prentice.pipeline import Context, Project, run_stage
from prentice.pipeline.bases import base_gguf, trainable_base
from prentice.pipeline.learning import Lesson, student_before
from prentice.pipeline.learning.distill import learn
from prentice.progress import Silent
from prentice.records import Sampling, digest
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.runs import write_atomic
from prentice.statistics import paired_difference, quantile, wilson
from prentice.tasks import Case
from prentice.training.config import ExportConfig
from prentice.training.export import export
from side_by_side import THREADS, quiet_or_exit

Row = dict[str, Any]
SUPPORT = Path(__file__).parents[1] / "examples" / "support"
LAYERS = 15
MESSAGES = 4000
"""That the tuned student answers; a tenth of them validate."""
TUNED = ("curate.max_rows=1000", "train.sft.precision=bfloat16", 'train.stages=["sft", "distill"]')
COMMON = (
    "train.distill.epochs=3",
    "train.distill.batch=16",
    "train.distill.learning_rate=3e-4",
    "train.distill.precision=bfloat16",
)
ARMS = {
    "text": ("train.distill.alpha=0",),
    "probabilities": (),
    "hidden": ("train.distill.hidden=1",),
    "context": ("train.distill.context=true",),
}
"""What each lays over the settings: the replies alone; the teacher's 32 likeliest tokens at each place of them; hidden
states besides; the teacher's word on the messages too."""
TURNS, BLOCK = 120, 10
"""Held-out messages that both sizes answer for the speed, and how many in a row."""


def success_rows() -> list[Row]:
    """Points of success lost by half of the layers, and what a teacher's probabilities are worth."""
    held_out = _project().task.cases("test")
    teacher = _played("teacher", (), held_out)
    text, probabilities = (_played(name, ARMS[name], held_out) for name in ("text", "probabilities"))
    note = f"one seed; {MESSAGES} messages; text {_share(text)}, probabilities {_share(probabilities)}"
    lost = paired_difference(teacher, probabilities)
    return [
        {
            **_row("distill_half_depth_success_loss", 100 * lost.value, "points", len(teacher)),
            "interval": [round(100 * lost.low, 2), round(100 * lost.high, 2)],
            "limit": 3,
            "success_30_layers": _share(teacher),
            "success_15_layers": _share(probabilities),
            "note": note,
        },
        _gain("distill_probs_vs_text_low", probabilities, text, note),
    ]


def hidden_rows() -> list[Row]:
    """What hidden states add to probabilities."""
    return [_added("hidden")]


def context_rows() -> list[Row]:
    """What the teacher's word on the messages adds to its word on the replies."""
    return [_added("context")]


def _added(name: str) -> Row:
    held_out = _project().task.cases("test")
    arm, without = (_played(each, ARMS[each], held_out) for each in (name, "probabilities"))
    note = f"one seed; {MESSAGES} messages; {name} {_share(arm)}, without it {_share(without)}"
    return _gain(f"distill_{name}_vs_probs_low", arm, without, note)


def speed_rows() -> list[Row]:
    """A turn of the student with half of the layers against one of the whole: medians in turns on llama.cpp."""
    cases = _project().task.cases("test")[:TURNS]
    files = [_gguf("teacher", ()), _gguf("probabilities", ARMS["probabilities"])]
    quiet_or_exit()
    whole, half = asyncio.run(_alternating(files, cases))
    ratio = quantile(whole, 0.5) / quantile(half, 0.5)
    row = _row("distill_half_depth_speed", quantile(half, 0.5), "s", len(cases))
    return [row | {"rival": quantile(whole, 0.5), "ratio": ratio, "note": f"median turn, {THREADS} threads"}]


def _row(name: str, ours: float, unit: str, n: int) -> Row:
    return {"name": name, "ours": ours, "rival": None, "ratio": None, "unit": unit, "n": n}


def _gain(name: str, with_it: Sequence[bool], without: Sequence[bool], note: str) -> Row:
    found = paired_difference(with_it, without)
    row = _row(name, found.low, "share", len(with_it))
    return row | {"value": found.value, "interval": [found.low, found.high], "note": note}


def _share(hits: Sequence[bool]) -> str:
    found = wilson(sum(hits), len(hits))
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _project(more: Sequence[str] = ()) -> Project:
    return Project(SUPPORT, [*TUNED, f"train.distill.layers={LAYERS}", *COMMON, *more])


def _unlabelled() -> Project:
    """The project with more messages to learn from: their labels stand in the file, and nobody asks for them."""
    file = _home() / "messages.csv"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, _messages())
    return _project([f"task.cases={json.dumps(str(file.resolve()))}"])


def _messages() -> str:
    """The example's cases, those that train being MESSAGES of Banking77's training part that equal no other's text."""
    if "PRENTICE_DATA" not in os.environ:
        sys.exit("PRENTICE_DATA is not set: it names the folder that holds banking77.csv")
    own = pl.read_csv(SUPPORT / "cases.csv")
    kept = own.filter(pl.col("split") != "train")
    found = pl.read_csv(Path(os.environ["PRENTICE_DATA"]) / "banking77.csv").filter(pl.col("split") == "train")
    found = found.select("id", "split", pl.col("text").str.strip_chars(), label="intent").unique(
        "text", maintain_order=True
    )
    found = found.join(kept, on="text", how="anti").sample(fraction=1, shuffle=True, seed=0)
    text: str = pl.concat([kept, found.head(MESSAGES)]).write_csv()
    return text


def _home() -> Path:
    return _project().home / f"half-depth-{digest([TUNED, COMMON, MESSAGES, LAYERS])[:8]}"


def _tuned() -> Model:
    """The student of 30 layers after supervised fine-tuning."""
    context = Context(_project(), terminal_progress())
    run_stage(context, "rollout")
    run_stage(context, "curate")
    return student_before(context.project, context.folder("curate"), context.progress)


def _rows(tuned: Model) -> Path:
    """The dataset: training messages as the tuned student answers them."""
    project, out = _unlabelled(), _home() / "rows"
    if (out / "manifest.json").exists():
        return out
    cases = project.task.cases("train")
    with Store.open(_home() / "answers.db") as store:
        policy = LocalModel(_exported(tuned, None), name="tuned")
        run = play_all(
            project.task,
            policy,
            cases,
            store,
            project.held_out_rules,
            audience="student",
            progress=terminal_progress(),
        )
        curate(
            CurateConfig(keep="not failed"),
            store.episodes(run=run),
            render=lambda function, inputs: project.task.render(function, inputs, "student"),
            out=out,
        )
    return out


def _learnt(name: str, more: Sequence[str]) -> Path:
    """The checkpoint's folder of an arm, trained if it is not there."""
    tuned, out = _tuned(), _home() / name
    if not (out / "checkpoint.json").exists():
        project, progress = _project(more), terminal_progress()
        gguf = base_gguf(project, trainable_base(project, progress)[0], progress)
        learn(Lesson(project, tuned, gguf, _rows(tuned), out, progress))
    return out


def _gguf(name: str, more: Sequence[str]) -> Path:
    return _exported(_tuned(), None if name == "teacher" else _learnt(name, more))


def _exported(tuned: Model, checkpoint: Path | None) -> Path:
    out = _home() / f"{checkpoint.name if checkpoint else 'teacher'}-gguf"
    if not (out / "export.json").exists():
        assert tuned.safetensors is not None
        config = ExportConfig(check_rows=0)
        export(config, checkpoint=checkpoint, base=tuned.safetensors, out=out, rows=(), progress=Silent())
    return next(out.glob("*.gguf"))


def _played(name: str, more: Sequence[str], cases: Sequence[Case]) -> list[bool]:
    """Which of the cases an arm solves, in their order."""
    known = _home() / f"{name}-{cases[0].split}.json"
    if not known.exists():
        project = _project()
        policy = LocalModel(_gguf(name, more), name=name)
        with Store.open(_home() / "plays.db") as store:
            run = play_all(
                project.task,
                policy,
                cases,
                store,
                project.held_out_rules,
                audience="student",
                progress=terminal_progress(),
            )
            hits = {e.case: e.metric("success") is True for e in store.episodes(run=run)}
        write_atomic(known, json.dumps([hits[case.id] for case in cases]))
    outcomes: list[bool] = json.loads(known.read_text(encoding="utf-8"))
    return outcomes


async def _alternating(files: Sequence[Path], cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """Seconds of every turn of both models, block by block in turns."""
    task = _project().task
    requests = [await task.environment("student").reset(case) for case in cases]
    models = [LocalModel(file, threads=THREADS) for file in files]
    for model in models:
        await model.warm_up(requests[0])
    seconds: tuple[list[float], list[float]] = ([], [])
    for begin in range(0, len(requests), BLOCK):
        for model, taken in zip(models, seconds, strict=True):
            replies = [await model.generate(r, Sampling(max_tokens=24)) for r in requests[begin : begin + BLOCK]]
            taken += [reply.latency_s or 0.0 for reply in replies]
    for model in models:
        await model.close()
    return seconds
