"""One run: train a student, export it, play the held-out cases; what is left is a record of a few kilobytes.

A run that was killed goes on where it stood: training from its saved state, play from the cases that are stored.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prentice.evaluation.ablation import Trained
from prentice.models.catalogue import Model
from prentice.pipeline.ablation.plan import AnyRun, PlayRun, Run
from prentice.pipeline.ablation.student import Student
from prentice.pipeline.learning import Lesson, grpo, learn_chain, student_before, success
from prentice.pipeline.project import Project
from prentice.progress import Bar, Progress, Silent
from prentice.records import Checkpoint, Episode, Ledger, Manifest
from prentice.records.parquet import KEPT, LedgerRow, rows_hash, write_dataset
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.runs import LOCK, read_record, write_atomic
from prentice.tasks import Case

RESULT = "result.json"


def finished(home: Path, run: AnyRun) -> Trained | None:
    """What is known of a run that was done before, or None."""
    file = home / run.key / RESULT
    return read_record(Trained, file) if file.exists() else None


def carry_out(run: AnyRun, student: Student, cases: Sequence[Case], home: Path, bar: Bar) -> Trained:
    """Do the run, or what is left of it; returns what it came to, which is on disk by then.

    Args:
        home: folder that gets a folder named after the run's key.
        bar: advanced by the rows visited and the cases played.
    """
    folder = home / run.key
    checkpoint = _train(run, student, folder, _Within(bar, run.visits))
    figures = checkpoint.figures if checkpoint else {}
    begun = time.perf_counter()
    learnt = None if checkpoint is None else folder / "train"
    episodes = _play(run, student, learnt, cases, folder, _Within(bar, len(cases)))
    metric = student.project.config.evaluate.metric
    result = Trained(
        key=run.key,
        rows=run.size,
        epochs=run.epochs,
        visits=figures.get("visits", 0.0),
        tokens=figures.get("supervised_seen", 0.0),
        seconds=checkpoint.seconds if checkpoint else 0.0,
        play_seconds=round(time.perf_counter() - begun, 3),
        figures=dict(figures),
        successes=tuple(success(episodes[case.id], metric) for case in cases),
    )
    write_atomic(folder / RESULT, result.model_dump_json(indent=1) + "\n")
    tidy(folder)
    return result


def tidy(folder: Path) -> None:
    """Remove what a finished run no longer needs; 145 MB a student would fill a disk."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (RESULT, LOCK):
            path.unlink(missing_ok=True)


def _train(run: AnyRun, student: Student, folder: Path, progress: Progress) -> Checkpoint | None:
    return (
        _by_play(run, student, folder, progress)
        if isinstance(run, PlayRun)
        else _by_rows(run, student, folder, progress)
    )


def _by_play(run: PlayRun, student: Student, folder: Path, progress: Progress) -> Checkpoint | None:
    """None: it does not learn, or there is nothing to learn for it."""
    from prentice.training.grpo.rows import NothingToLearnError

    if not run.cases:
        return None
    project = student.project
    train = project.config.train.model_copy(update={"grpo": run.grpo})
    own = Project(project.file, home=project.home, config=project.config.model_copy(update={"train": train}))
    try:
        return grpo.learn(Lesson(own, run.start, Path(), Path(), folder / "train", progress))
    except NothingToLearnError:
        return None


def _by_rows(run: Run, student: Student, folder: Path, progress: Progress) -> Checkpoint:
    examples = run.rows.examples
    ledger = [LedgerRow(episode=e.episode, turn=e.turn, case=e.case, fate=KEPT) for e in examples]
    splits = {name: len(run.rows.split(name)) for name in ("train", "val")}
    counted = Ledger(rows_in=len(ledger), kept=len(ledger))
    manifest = Manifest(hash=rows_hash(examples), ledger=counted, splits=splits, config={})
    write_dataset(folder / "rows", examples, ledger, manifest)
    return learn_chain(_taught(run, student), folder / "rows", folder / "train", progress)


def _before(run: Run, student: Student, folder: Path) -> Model:
    """What its last method has started from."""
    return student_before(_taught(run, student), folder / "rows", Silent())


def _taught(run: Run, student: Student) -> Project:
    return student.taught_by(run.stages, run.seed, run.sft)


def _play(
    run: AnyRun,
    student: Student,
    learnt: Path | None,
    cases: Sequence[Case],
    folder: Path,
    progress: Progress,
) -> dict[str, Episode]:
    """Case → episode.

    Args:
        learnt: folder of the checkpoint; None: the student as it begins.
    """
    from prentice.training.export import export

    project = student.project
    out = folder / "export"
    if not (out / "export.json").exists():
        unchecked = project.config.export.model_copy(update={"check_rows": 0})
        before = run.start if isinstance(run, PlayRun) else _before(run, student, folder)
        assert before.safetensors is not None
        export(unchecked, checkpoint=learnt, base=before.safetensors, out=out, rows=(), progress=Silent())
    # a store of its own, which goes with the student: its episodes are nobody's to learn from
    with Store.open(folder / "plays.db", project.guard) as store:
        policy = project.open_student(next(out.glob("*.gguf")), f"student:{run.key}")
        run_id = play_all(
            project.task,
            policy,
            cases,
            store,
            project.held_out_rules,
            audience="student",
            identity=run.key,
            progress=progress,
        )
        return {e.case: e for e in store.episodes(run=run_id)}


class _Within:
    """Progress of a part of a run: it moves the bar over all runs by `share` in all."""

    def __init__(self, bar: Bar, share: float) -> None:
        self._bar, self._share = bar, share

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """Pass on what is done, in the proportion of `share` to `total`."""
        del title, unit
        each = self._share / max(total, 1)
        part = _Part(self._bar.advance, each)
        if done:
            part.advance(done)
        yield part

    def say(self, text: str) -> None:
        """Say nothing: a line for every student would hide the table."""


class _Part:
    def __init__(self, advance: Callable[..., None], each: float) -> None:
        self._advance, self._each = advance, each

    def advance(self, amount: float = 1, **facts: str) -> None:
        del facts
        self._advance(amount * self._each)
