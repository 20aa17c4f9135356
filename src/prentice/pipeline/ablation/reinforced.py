"""`prentice ablate sizes` where the chain ends with play: how many cases it needs, from the base and from SFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prentice import __version__
from prentice.evaluation.ablation import Ablation, ArmResult, Table, summarised
from prentice.models.catalogue import Model
from prentice.pipeline.ablation.plan import PlayRun
from prentice.pipeline.ablation.work import Results, Work
from prentice.pipeline.bases import trainable_base
from prentice.pipeline.learning import student_before
from prentice.pipeline.learning.grpo import LINK
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import digest, utc_now
from prentice.rollouts import SHAPE_REPLIES


def ablate_play(project: Project, dataset: Path, progress: Progress) -> tuple[Ablation, Path]:
    """Let students of every size play and learn; returns the result and the folder of its files.

    Args:
        dataset: that the methods before it learn from.
    """
    work = Work.of(project, progress)
    runs, references = play_runs(work, starts_of(project, dataset, progress)), work.references()
    return work.carry_out(runs, lambda results: _told(work, runs, results, references))


def starts_of(project: Project, dataset: Path, progress: Progress) -> dict[str, Model]:
    """What students start from, by name: the base, and what the methods before play have made of it."""
    base, _ = trainable_base(project, progress)
    before = project.config.train.chain[:-1]
    if not before:
        return {"base": base}
    return {"base": base, "+".join(before): student_before(project, dataset, progress, "grpo")}


def play_runs(work: Work, starts: Mapping[str, Model]) -> list[PlayRun]:
    """Every student: of each start and seed one that does not play at all, and one a size, all for as many rounds."""
    config, own = work.project.config.ablate, work.project.config.train.grpo
    there = len(work.project.task.cases("train"))
    rounds = own.iterations(min(own.cases, there))
    sizes = [0, *sorted({min(size, there) for size in config.case_sizes})]
    runs = []
    for seed in range(config.seeds):
        for name, start in starts.items():
            for size in sizes:
                changed = {"seed": own.seed + seed, "cases": max(1, size)}
                grpo = own.model_copy(update=changed)
                grpo = grpo.model_copy(update={"epochs": rounds / grpo.rounds(max(1, size))})
                arm = f"{name}, {size} cases" if size else name
                key = _key(work, start, grpo.recipe() if size else None)
                runs.append(PlayRun(arm, seed, start, grpo, size, key))
    return runs


def _key(work: Work, start: Model, recipe: object) -> str:
    """What makes a run another run; a student that does not play is the same for every seed."""
    project = work.project
    rules = project.held_out_rules.model_dump(mode="json", include={*SHAPE_REPLIES, "max_turns"})
    held_out = [project.config.evaluate.split, [case.id for case in work.cases], project.config.evaluate.metric, rules]
    made = [start.source.sha256, project.config.export.quantization, __version__]
    return digest([recipe, made, LINK.inputs(project) if recipe else None, project.task.fingerprint(), held_out])[:16]


def _told(work: Work, runs: Sequence[PlayRun], results: Results, references: Mapping[str, float]) -> Ablation:
    """The record of what is known."""
    config, names = work.project.config.evaluate, list(dict.fromkeys(run.arm for run in runs))
    reference = [name for name in names if "," not in name][-1]
    arms = [
        ArmResult(name=name, students={r.seed: results[r.key] for r in runs if r.arm == name and r.key in results})
        for name in names
    ]
    table = Table(title="reinforcement by training cases", reference=reference, arms=summarised(arms, reference))
    return Ablation(
        kind="play",
        task=work.project.task.name,
        cases=len(work.cases),
        split=config.split,
        metric=config.metric,
        tables=(table,),
        notes=("rows: tries in a pass over the cases; all sizes play for as many rounds", *_idle(runs, results)),
        references=dict(references),
        created=utc_now().isoformat(timespec="seconds"),
    )


def _idle(runs: Sequence[PlayRun], results: Results) -> list[str]:
    """Who had nothing to learn from, and so played as it had begun."""
    idle = [r.arm for r in runs if r.cases and r.key in results and not results[r.key].visits]
    return [f"{arm}: no tries of a case differed in reward, so nothing was learnt" for arm in dict.fromkeys(idle)]


def forecast_play(project: Project, progress: Progress) -> list[str]:
    """The students, and how much they would play; nothing is trained to know it."""
    base, _ = trainable_base(project, progress)
    before = project.config.train.chain[:-1]
    starts = dict.fromkeys(("base", *(["+".join(before)] if before else [])), base)
    runs = play_runs(Work.of(project, progress), starts)
    lines = [f"{run.arm}: {run.visits:,.0f} tries" for run in runs if run.seed == 0]
    return [*lines, f"{len(runs)} students, {sum(run.visits for run in runs):,.0f} tries in all"]
