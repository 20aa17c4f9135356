"""Walk the stages: skip what has been done with the same inputs, do the rest, leave a record of each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prentice.errors import ConfigError, PrenticeError, UnknownNameError
from prentice.pipeline.lineage import mark_of
from prentice.pipeline.project import Project
from prentice.pipeline.stages import STAGES, Context, Stage, all_played
from prentice.progress import Progress, Silent
from prentice.records import Report, digest
from prentice.runs import StageRecord, read_record, write_atomic
from prentice.tasks import functions_of

_CONTEST = "evaluate"
"""The first stage that is about all students at once."""
_BEFORE_THE_CONTEST = STAGES[: next(n for n, stage in enumerate(STAGES) if stage.name == _CONTEST)]


ONE_EACH = "students, one a function"
"""How the report calls students that have one function each."""
Others = Mapping[str, Mapping[str, Context]]


@dataclass(frozen=True)
class Outcome:
    """What a walk came to."""

    report: Report
    page: Path
    student: Path
    """The folder of the exported student: GGUF, Modelfile, model card."""
    skipped: tuple[str, ...]
    """Stages whose inputs had not changed."""


def run(
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    start: str | None = None,
    live_teacher: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Run a project: recorded or live teacher → curated dataset → student → report.

    Args:
        folder: the project, a folder with a `prentice.toml`.
        overrides: `section.key=value`, laid over that file.
        start: run this stage and those after it again, whatever was done before. Episodes of the teacher that are
            stored stay, since they cost what is to be saved; held-out cases are played anew.
        live_teacher: measure the teacher now, where it is a recording.

    Raises: PrenticeError; what was finished before stays, and the next call goes on from there.
    """
    context = Context(Project(folder, overrides), progress or Silent(), live_teacher)
    _others(context)  # refuses what cannot be trained before hours are spent
    first = len(STAGES) if start is None else STAGES.index(stage_named(start))
    skipped = []
    for position, stage in enumerate(STAGES):
        if stage.name == _CONTEST:
            context.others = _train_others(context, first)
        if _do(context, stage, force=position >= first):
            skipped.append(stage.name)
    report = read_record(Report, context.folder("evaluate") / "report.json")
    return Outcome(report, _newest_page(context), context.folder("export"), tuple(skipped))


def _train_others(context: Context, first: int) -> Others:
    """Further students of the project, taken as far as the first one has come.

    Args:
        first: number of the stage from which on everything is done again.
    """
    # what the students of other bases learn from is the same, and has been made
    own = ("train", "export")
    others = _others(context)
    for name, walks in others.items():
        for function, other in walks.items():
            context.progress.say(f"{name}, {function}:" if function else f"{name}:")
            for position, stage in enumerate(_BEFORE_THE_CONTEST):
                again = stage.name in own or (bool(function) and stage.name == "curate")
                _do(other, stage, force=again and position >= first)
    return others


def _trained_others(context: Context) -> Others | None:
    """Further students of the project; None if one of them is not trained with this configuration."""
    others = _others(context)
    for other in (other for walks in others.values() for other in walks.values()):
        for stage in _BEFORE_THE_CONTEST:
            record = _finished(other, stage)
            if record is None:
                return None
            other.done[stage.name] = record
    return others


def _others(context: Context) -> Others:
    """Name in the report → function → walk of each student but the first; one of all functions has no function's name.

    Raises: ConfigError if a student for each function is asked for where there is one function alone.
    """
    project = context.project

    def walk(other: Project) -> Context:
        return Context(other, context.progress, context.live_teacher)

    found: dict[str, dict[str, Context]] = {}
    for base in project.config.students[1:]:
        found[f"student {base}"] = {"": walk(project.of_student(base))}
    if project.config.student.one_each:
        functions = functions_of(project.task)
        if len(functions) == 1:
            raise ConfigError(
                f"{project.file}: [student] one_each = true: the task {project.task.name!r} has one function alone",
                "leave it out",
            )
        found[ONE_EACH] = {function: walk(project.of_function(function)) for function in functions}
    return found


def _newest_page(context: Context) -> Path:
    """The page at one place whatever its inputs were: what people keep open in a browser."""
    page = context.project.home / "report.html"
    write_atomic(page, (context.folder("report") / page.name).read_bytes())
    return page


def run_stage(context: Context, name: str) -> StageRecord:
    """Run one stage (again), on what the stages before it have left.

    Raises: PrenticeError naming the command to run first, if one of them has not been run with this configuration.
    """
    wanted = stage_named(name)
    for stage in STAGES[: STAGES.index(wanted)]:
        if stage.name == _CONTEST:
            _add_others(context)
        record = _finished(context, stage)
        if record is not None:
            context.done[stage.name] = record
        elif stage.name == "rollout" and all_played(context):
            _do(context, stage, force=False)
        else:
            raise PrenticeError(
                f"{name} needs `{stage.name}`, which has not been run with this configuration",
                f"prentice {stage.name} {context.project.folder}, or all stages: prentice run {context.project.folder}",
            )
    if wanted.name == _CONTEST:
        _add_others(context)
    _do(context, wanted, force=True)
    if wanted.name == "report":
        _newest_page(context)
    return context.done[name]


def _add_others(context: Context) -> None:
    others = _trained_others(context)
    if others is None:
        raise PrenticeError(
            f"the further students ({', '.join(_others(context))}) are not all trained with this configuration",
            f"prentice run {context.project.folder}",
        )
    context.others = others


def states(context: Context) -> list[tuple[str, bool]]:
    """Each stage with whether it would be skipped; what follows a stage that has to run has to run too."""
    _others(context)
    rows: list[tuple[str, bool]] = []
    for stage in STAGES:
        ready = all(done for _, done in rows)
        if ready and stage.name == _CONTEST:
            others = _trained_others(context)
            context.others, ready = others or {}, others is not None
        record = _finished(context, stage) if ready else None
        if record is not None:
            context.done[stage.name] = record
        rows.append((stage.name, record is not None))
    return rows


def stage_named(name: str) -> Stage:
    """The stage of that name."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise UnknownNameError(f"no stage named {name!r}", f"known: {', '.join(stage.name for stage in STAGES)}")


def _do(context: Context, stage: Stage, *, force: bool) -> bool:
    """Run a stage unless it is done; return whether it was skipped."""
    record = None if force else _finished(context, stage)
    if record is not None:
        context.progress.say(f"{stage.name}: skipped, nothing it depends on has changed")
        if (mark := mark_of(context.project.home / record.outputs["folder"])) is not None:
            gone = f"{len(mark.episodes):,} episodes that it was made from are deleted"
            context.progress.say(f"{stage.name}: {gone}; to make it without them: --from {stage.name}")
        context.done[stage.name] = record
        return True
    inputs = digest(stage.inputs(context))
    folder = context.project.home / stage.name / inputs[:16]
    if force and _record_file(folder).exists():
        # a finished stage is taken away whole; one that was killed half way goes on
        _record_file(folder).unlink()
        shutil.rmtree(folder, ignore_errors=True)
    context.again = force
    begun = time.perf_counter()
    facts = stage.work(context, folder)
    record = StageRecord(
        stage=stage.name,
        inputs=inputs,
        outputs={"folder": str(folder.relative_to(context.project.home))},
        seconds=round(time.perf_counter() - begun, 3),
        facts=facts,
    )
    write_atomic(_record_file(folder), record.model_dump_json(indent=2) + "\n")
    context.done[stage.name] = record
    return False


def _finished(context: Context, stage: Stage) -> StageRecord | None:
    folder = context.project.home / stage.name / digest(stage.inputs(context))[:16]
    made = (folder / stage.makes).exists() if stage.makes else context.project.has_store
    file = _record_file(folder)
    return read_record(StageRecord, file) if file.exists() and made else None


def _record_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
