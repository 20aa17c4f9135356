"""Kill a stage at random points, again and again, then compare with a project that was left in peace.

The stages run in children of one process that has imported everything, so that a kill costs a fork and not a start.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import prentice
from prentice.pipeline import Context, Project, run_stage
from prentice.progress import Silent
from prentice.records.filters import Filter

STAGES = ("rollout", "curate", "train", "export", "evaluate", "report")
HEAVY = ["prentice.pipeline", "prentice.training.sft", "prentice.training.export", "polars", "scipy.stats", "xllamacpp"]
LONGEST_S = 300.0
"""A stage of a tiny project that takes longer hangs."""


@dataclass(frozen=True)
class Damage:
    """What the kills have cost; all zero is the claim."""

    kills: int = 0
    lost: int = 0
    doubled: int = 0
    unequal: int = 0
    """Files of the dataset that differ from the undisturbed ones, or exist on one side only."""

    @property
    def total(self) -> int:
        """Everything that should be zero."""
        return self.lost + self.doubled + self.unequal


def soak(project: Path, scratch: Path, kills: int, seed: int = 0) -> dict[str, Damage]:
    """Kill each stage of a copy of `project` so many times; return stage → what it cost.

    Args:
        project: a folder that has not been run.
        scratch: an empty folder for two copies of it.
    """
    quiet, disturbed = (Path(shutil.copytree(project, scratch / name)) for name in ("quiet", "disturbed"))
    dice, found = random.Random(seed), {}
    for stage in STAGES:
        seconds = _undisturbed(quiet, stage)
        _kill_often(disturbed, stage, kills, seconds, dice)
        _undisturbed(disturbed, stage)
        found[stage] = _damage(quiet, disturbed, kills)
    return found


def _kill_often(folder: Path, stage: str, kills: int, seconds: float, dice: random.Random) -> None:
    done = 0
    while done < kills:
        child = _start(folder, stage)
        child.join(dice.uniform(0, seconds))
        if child.exitcode is None:
            child.kill()
            child.join()
            done += 1
        else:
            _begin_anew(folder, stage)


def _undisturbed(folder: Path, stage: str) -> float:
    """Run a stage to its end; return the seconds it took, without those that its process took to come up."""
    child = _start(folder, stage)
    begun = time.perf_counter()
    child.join(LONGEST_S)
    if child.exitcode != 0:
        raise AssertionError(f"{stage} in {folder} ended with exit code {child.exitcode}")
    return time.perf_counter() - begun


def _start(folder: Path, stage: str) -> Any:
    """A child that is just beginning the stage."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(HEAVY)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(folder, stage, theirs), daemon=True)
    child.start()
    theirs.close()
    with ours:
        ours.recv()
    return child


def _run(folder: Path, stage: str, begun: Connection) -> None:
    begun.send(stage)
    if stage in ("evaluate", "report"):
        prentice.run(folder)  # a stage that is asked for by name measures everything anew
    else:
        run_stage(Context(Project(folder), Silent()), stage)


def _begin_anew(folder: Path, stage: str) -> None:
    """Forget a stage that came to its end before it could be killed."""
    project = Project(folder)
    later = STAGES[STAGES.index(stage) :]
    for name in later:
        shutil.rmtree(project.home / name, ignore_errors=True)
    if stage in ("rollout", "evaluate") and project.has_store:
        with project.store() as store:
            store.delete(Filter() if stage == "rollout" else Filter(split="test"))


def _damage(quiet: Path, disturbed: Path, kills: int) -> Damage:
    right, found = _episodes(quiet), _episodes(disturbed)
    files, theirs = _dataset(quiet), _dataset(disturbed)
    return Damage(
        kills=kills,
        lost=(right - found).total(),
        doubled=(found - right).total(),
        unequal=sum(files.get(name) != theirs.get(name) for name in files | theirs),
    )


def _episodes(folder: Path) -> Counter[tuple[str, str, int, str]]:
    with Project(folder).store() as store:
        return Counter((e.split, e.case, e.attempt, e.policy.partition(":")[0]) for e in store.episodes())


def _dataset(folder: Path) -> dict[str, bytes]:
    place = folder / ".prentice" / "curate"
    return {
        str(file.relative_to(place)): file.read_bytes()
        for file in place.glob("*/*")  # not the record beside it: that says how long the stage took
        if file.is_file()
    }
