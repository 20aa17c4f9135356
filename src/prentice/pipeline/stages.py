"""The stages in order, each with what goes in and what it does. Stages meet only in records on disk.

`recorded teacher → rollout → curate → train → export → evaluate → report`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from prentice import __version__
from prentice.curation import curate, summary
from prentice.errors import DataError, PrenticeError
from prentice.evaluation import write_report
from prentice.models import catalogue
from prentice.pipeline.bases import base_gguf, trainable_base
from prentice.pipeline.contest import contest
from prentice.pipeline.learning import chain_inputs, learn_chain, student_before
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Checkpoint, Episode, Report, Split, digest
from prentice.records.filters import Filter
from prentice.records.parquet import read_dataset
from prentice.records.store import Store
from prentice.rollouts import SHAPE_REPLIES, play_all, run_id
from prentice.runs import StageRecord, read_record, write_atomic
from prentice.tasks import Sifting, begins_with_models

Facts = dict[str, JsonValue]


@dataclass
class Context:
    """One walk through the stages."""

    project: Project
    progress: Progress
    live_teacher: bool = False
    """Measure the teacher now instead of scaling what was recorded."""
    again: bool = False
    """The stage at work was asked to run again: what it measures is measured anew."""
    done: dict[str, StageRecord] = field(default_factory=dict)
    """Finished stages of this walk, by name."""
    others: Mapping[str, Mapping[str, Context]] = field(default_factory=dict)
    """Walks up to `export` of further students, by their names in the report and, where a student has one function
    alone, by that function; else that name is empty."""

    @property
    def teacher(self) -> str:
        """The teacher's spec."""
        return self.project.config.teacher.model

    def folder(self, stage: str) -> Path:
        """Where a finished stage of this walk put its files."""
        return self.project.home / self.done[stage].outputs["folder"]


@dataclass(frozen=True)
class Stage:
    """One stage: `inputs` is hashed to know whether it has to run again, `work` runs it and returns its figures."""

    name: str
    makes: str
    """The file in the stage's folder that shows it has been done; empty for what goes to the store."""
    inputs: Callable[[Context], JsonValue]
    work: Callable[[Context, Path], Facts]


def _rollout_inputs(context: Context) -> JsonValue:
    project = context.project
    return [
        project.task.fingerprint(),
        project.identity(context.teacher),
        project.config.rollout.model_dump(mode="json", include={"cases", "tries", *SHAPE_REPLIES}),
        _asked(project, "train", project.config.rollout.cases),
        project.config.context,
        *([project.config.store] if project.config.store else []),  # another store has not what this one has
    ]


def _asked(project: Project, split: Split, limit: int) -> str:
    """A hash of the cases that are asked for: the same task may have got others, seeds for instance."""
    return digest([case.id for case in project.task.cases(split)[: limit or None]])


def all_played(context: Context) -> bool:
    """Whether the store holds every attempt of the rollout: `prentice rollout` stores them and leaves no record."""
    project, config = context.project, context.project.config.rollout
    if not project.has_store:
        return False
    run = run_id(project.task, project.identity(context.teacher), "teacher", "train", config)
    cases = project.task.cases("train")[: config.cases or None]
    with project.store() as store:
        return {(case.id, attempt) for case in cases for attempt in range(config.tries)} <= store.attempts(run)


def _rollout(context: Context, out: Path) -> Facts:
    del out
    project, config = context.project, context.project.config
    with project.store() as store:
        policy = project.open_policy(
            context.teacher,
            slots=config.rollout.concurrency or 1,
            threads=config.threads,
            progress=context.progress,
        )
        run = play_all(
            project.task,
            policy,
            project.task.cases("train")[: config.rollout.cases or None],
            store,
            config.rollout,
            identity=project.identity(context.teacher),
            progress=context.progress,
        )
        episodes = _played(project, store, run)
    failed = [e.failure for e in episodes if e.failure is not None]
    if failed and len(failed) == len(episodes):
        raise PrenticeError(
            f"all {len(failed)} episodes failed; the first at the {failed[0].where}: {failed[0].message}"
        )
    right = sum(e.metric("success") is True for e in episodes)
    context.progress.say(f"teacher {policy.name}: {len(episodes):,} episodes, {right:,} right, {len(failed):,} failed")
    if (guard := project.guard) is not None and (told := guard.told(guard.found)):
        context.progress.say(told)
    return {"run": run, "episodes": len(episodes), "right": right, "failed": len(failed)}


def _played(project: Project, store: Store, run: str) -> list[Episode]:
    """The run's episodes that this configuration asks for: another one may have played more cases or tries."""
    config = project.config.rollout
    wanted = {case.id for case in project.task.cases("train")[: config.cases or None]}
    return [e for e in store.episodes(run=run) if e.case in wanted and e.attempt < config.tries]


def _curate_inputs(context: Context) -> JsonValue:
    inputs: list[JsonValue] = [context.done["rollout"].inputs, context.project.config.curate.model_dump(mode="json")]
    return [*inputs, *_what_was_said_since(context)]


def _what_was_said_since(context: Context) -> list[JsonValue]:
    """A hash of the feedback on the run's episodes; nothing where there is none."""
    with context.project.store() as store:
        said = store.feedback_where(Filter(run=str(context.done["rollout"].facts["run"])))
    return [digest([each.model_dump(mode="json") for each in said])] if said else []


def _curate(context: Context, out: Path) -> Facts:
    task = context.project.task
    with context.project.store() as store:
        facts = context.done["rollout"].facts
        episodes, played = _played(context.project, store, str(facts["run"])), int(str(facts["episodes"]))
        if len(episodes) < played:
            raise PrenticeError(
                f"{store.place}: of {played:,} episodes to learn from only {len(episodes):,} are still there",
                f"play the others again: prentice run {context.project.folder} --from rollout",
            )
        manifest = curate(
            context.project.config.curate,
            episodes,
            # the environment keeps the answer key: curation gets episodes and the student's prompt, nothing else
            render=lambda function, inputs: task.render(function, inputs, "student"),
            out=out,
            progress=context.progress,
        )
    for line in summary(manifest):
        context.progress.say(line)
    return {"hash": manifest.hash, "ledger": manifest.ledger.model_dump(mode="json"), "splits": dict(manifest.splits)}


def _train_inputs(context: Context) -> JsonValue:
    project = context.project
    base = project.base
    # a folder of one's own may get other weights under the same name; the catalogue's files are checked by their hash
    weights = catalogue.get(base).source.sha256 if base != project.config.student.base else base
    return [context.done["curate"].facts["hash"], weights, chain_inputs(project), __version__]


def _train(context: Context, out: Path) -> Facts:
    checkpoint = learn_chain(context.project, context.folder("curate"), out, context.progress)
    rate = checkpoint.figures.get("rows_per_second", 0.0)
    context.progress.say(f"trained {checkpoint.steps:,} steps in {checkpoint.seconds:.0f} s ({rate:.1f} rows/s)")
    return {"checkpoint": checkpoint.id, "seconds": checkpoint.seconds, "figures": dict(checkpoint.figures)}


def _export_inputs(context: Context) -> JsonValue:
    return [context.done["train"].inputs, context.project.config.export.model_dump(mode="json"), __version__]


def _export(context: Context, out: Path) -> Facts:
    from prentice.training.export import export

    base, _ = trainable_base(context.project, context.progress)
    before = student_before(context.project, context.folder("curate"), context.progress)
    _see_that_it_is_its_base(context.folder("train"), before)
    assert before.safetensors is not None
    manifest, examples = read_dataset(context.folder("curate"))
    exported = export(
        context.project.config.export,
        checkpoint=context.folder("train"),
        base=before.safetensors,
        out=out,
        rows=[e for e in examples if e.split == "val"],
        progress=context.progress,
        manifest=manifest,
        choices=_choices(context.project),
    )
    served = base_gguf(context.project, base, context.progress)
    return {
        "gguf": exported.gguf,
        "base": str(served.relative_to(context.project.home)),
        "agreement": exported.agreement,
    }


def _see_that_it_is_its_base(checkpoint: Path, base: catalogue.Model) -> None:
    """An adapter fits every base of its shapes, and would make nonsense of another's weights."""
    trained = read_record(Checkpoint, checkpoint / "checkpoint.json").base
    if trained.sha256 != base.source.sha256:
        raise DataError(
            f"{checkpoint}: it was trained from weights with SHA-256 {trained.sha256[:12]}…, and {base.name!r} has "
            f"{base.source.sha256[:12]}…",
            f"train again: remove {checkpoint}",
        )


def _choices(project: Project) -> tuple[str, ...]:
    """What the first reply of a case is held to, where it can be known without a call."""
    if begins_with_models(project.task):
        return ()
    case = project.task.cases("train")[0]
    return asyncio.run(project.task.environment("student").reset(case)).choices


def _evaluate_inputs(context: Context) -> JsonValue:
    project = context.project
    others: list[JsonValue] = [
        [name, *([function] if function else []), other.done["export"].inputs]
        for name, walks in context.others.items()
        for function, other in walks.items()
    ]
    return [
        context.done["export"].inputs,
        project.task.fingerprint(),
        project.identity(context.teacher),
        context.live_teacher,
        project.config.evaluate.model_dump(mode="json"),
        _asked(project, project.config.evaluate.split, project.config.evaluate.cases),
        project.config.context,
        project.config.rollout.max_tokens,
        project.config.threads,
        *others,
    ]


def _evaluate(context: Context, out: Path) -> Facts:
    report = contest(
        context.project,
        export=context.folder("export"),
        others={
            name: {function: other.folder("export") for function, other in walks.items()}
            for name, walks in context.others.items()
        },
        base=context.project.home / str(context.done["export"].facts["base"]),
        live_teacher=context.live_teacher,
        anew=context.again,
        facts=_known_facts(context),
        progress=context.progress,
    )
    write_atomic(out / "report.json", report.model_dump_json(indent=2) + "\n")
    return {"answer": report.verdict.answer if report.verdict else None}


def _known_facts(context: Context) -> Mapping[str, JsonValue]:
    curated, trained, task = context.done["curate"].facts, context.done["train"].facts, context.project.task
    return {
        "command": context.project.command,
        "dataset": {"ledger": curated["ledger"], "splits": curated["splits"], "hash": curated["hash"]},
        "training": {"seconds": trained["seconds"], **_figures(trained["figures"])},
        "export": {"greedy answers equal to torch's": context.done["export"].facts["agreement"]},
        **({"cases left out": dict(task.left_out)} if isinstance(task, Sifting) else {}),
    }


def _figures(fact: JsonValue) -> dict[str, JsonValue]:
    return fact if isinstance(fact, dict) else {}


def _report(context: Context, out: Path) -> Facts:
    write_report(read_record(Report, context.folder("evaluate") / "report.json"), out)
    return {}


STAGES = (
    Stage("rollout", "", _rollout_inputs, _rollout),
    Stage("curate", "manifest.json", _curate_inputs, _curate),
    Stage("train", "checkpoint.json", _train_inputs, _train),
    Stage("export", "export.json", _export_inputs, _export),
    Stage("evaluate", "report.json", _evaluate_inputs, _evaluate),
    Stage("report", "report.html", lambda context: [context.done["evaluate"].inputs, __version__], _report),
)
