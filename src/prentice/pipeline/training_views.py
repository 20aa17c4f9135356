"""A project's training before it begins: what it would teach, and what it would need. Nothing is trained or stored."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from prentice.errors import ConfigError, PrenticeError
from prentice.models import catalogue
from prentice.pipeline.bases import base_gguf, trainable_base
from prentice.pipeline.project import Project
from prentice.pipeline.stages import STAGES, Context, all_played
from prentice.pipeline.walk import _finished
from prentice.progress import Progress
from prentice.records.parquet import ROWS, read_dataset

if TYPE_CHECKING:
    from prentice.training.config import SFTConfig
    from prentice.training.estimate import Setup, Work
    from prentice.training.truth import Truth


def look_at_rows(folder: Path, overrides: Sequence[str], progress: Progress) -> Truth:
    """What the project's curated dataset would teach, tokens compared with those that its server sees.

    Raises: PrenticeError naming the command to run first, if there is no dataset.
    """
    from prentice.models.local import LocalModel
    from prentice.training.start import is_padded, open_checker
    from prentice.training.truth import look

    context = Context(Project(folder, overrides), progress)
    dataset, config = curated(context), context.project.config.train.sft
    _, examples = read_dataset(dataset)
    model, base = trainable_base(context.project, progress)
    server = LocalModel(base_gguf(context.project, model, progress), threads=1, context=512)
    try:
        # replies come again and again: each text is asked for once
        checker = open_checker(config.max_tokens, dataset / ROWS, base, cache(server.tokens))
        return look(checker, examples, config, progress, padded=is_padded(base))
    finally:
        asyncio.run(server.close())


def curated(context: Context) -> Path:
    """The folder of the dataset that the project's curate stage has made with this configuration.

    Raises: PrenticeError naming the command that makes it.
    """
    folder = context.project.folder
    for stage in STAGES:
        record = _finished(context, stage)
        if record is None:
            command = f"prentice curate {folder}"
            if stage.name == "rollout" and not all_played(context):
                command = f"prentice rollout {folder}, then {command}"
            raise PrenticeError(f"{folder}: no dataset has been curated with this configuration yet", command)
        context.done[stage.name] = record
        if stage.name == "curate":
            break
    return context.folder("curate")


@dataclass(frozen=True)
class What:
    """What is to be estimated instead of what the project says.

    Args:
        base: another student, by name or folder; empty: the project's.
        on: accelerators, such as `8xh100`; empty: this machine.
        rows, tokens: rows that nobody has seen, and tokens of each; 0: the curated dataset.
    """

    base: str = ""
    on: str = ""
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Outlook:
    """An estimate and what it rests on.

    Args:
        setup: the run.
        quantization: of the GGUF files.
        free: bytes of disk that are free where the run would write; None: elsewhere.
        counted: how the tokens were counted.
        faulty: rows of the dataset that are left out, since they cannot be trained on.
    """

    setup: Setup
    quantization: str
    free: float | None
    counted: str
    faulty: int


def estimate_run(folder: Path, overrides: Sequence[str], what: What, progress: Progress) -> Outlook:
    """What training the project's student would need. The student's weights are not read.

    Raises: PrenticeError if neither a dataset nor numbers say how much there is to learn.
    """
    from prentice.training.estimate import Setup
    from prentice.training.hardware import accelerators, launched, this_machine
    from prentice.training.shapes import shape_of

    project = Project(folder, overrides)
    config = project.config.train.sft
    shape = shape_of(what.base or project.base)
    if what.on:
        machine = accelerators(what.on)
    else:
        processes, sharded = launched(project.config.train.launch, project.folder)
        wide, inner = shape.hidden, shape.intermediate
        machine = this_machine(config.precision, wide, inner, processes, sharded=sharded)
    config = config.on(gpu=machine.gpu)
    work, counted, faulty = _work(project, config, what, machine.processes, progress)
    return Outlook(
        setup=Setup(shape, config, work, machine),
        quantization=project.config.export.quantization,
        free=None if what.on else shutil.disk_usage(project.folder).free,
        counted=counted,
        faulty=faulty,
    )


def _work(project: Project, config: SFTConfig, what: What, processes: int, progress: Progress) -> tuple[Work, str, int]:
    """What there is to compute, how that was counted, and rows that are left out."""
    from prentice.training.estimate import SUPERVISED, assumed_work

    if bool(what.rows) != bool(what.tokens):
        raise ConfigError("--rows and --tokens belong together", "--rows 5000 --tokens 600: of about 600 tokens each")
    if what.rows:
        if what.tokens > config.max_tokens:
            raise ConfigError(
                f"--tokens {what.tokens} is above train.sft.max_tokens = {config.max_tokens}, and no row is cut",
                f"--set train.sft.max_tokens={what.tokens}",
            )
        work = assumed_work(config, what.rows, what.tokens, processes)
        return work, f"rows of one length, {SUPERVISED:.0%} of each supervised, no shared beginnings", 0
    return _counted(project, config, processes, progress)


def _counted(project: Project, config: SFTConfig, processes: int, progress: Progress) -> tuple[Work, str, int]:
    from prentice.training.start import is_padded, open_checker
    from prentice.training.truth import check_all
    from prentice.training.workload import work_of

    try:
        dataset = curated(Context(project, progress))
        base = catalogue.get(project.base, offline=True).safetensors
    except PrenticeError as error:
        raise PrenticeError(error.problem, f"{error.hint}, or say how much there is: --rows N --tokens N") from error
    if base is None:
        raise PrenticeError(f"student {project.base!r} cannot be trained: it comes as GGUF only", "choose another base")
    _, examples = read_dataset(dataset)
    rows, _, faults = check_all(open_checker(config.max_tokens, dataset / ROWS, base), examples, progress)
    if not any(row.example.split == "train" for row in rows):
        raise PrenticeError(
            f"{dataset / ROWS}: none of its {len(examples)} rows can be trained on",
            f"prentice train --check {project.folder}",
        )
    work = work_of(rows, config, processes, padded=is_padded(base))
    return work, f"tokens of {Path(project.base).name}'s tokenizer", len(faults)
