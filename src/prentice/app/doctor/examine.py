"""All that doctor looks at, in the order in which it is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prentice.app.doctor.findings import Diagnosis, Finding, diagnose
from prentice.app.doctor.software import installed, llamacpp, torch
from prentice.app.doctor.surroundings import disk, hub, keys, machine, models
from prentice.errors import PrenticeError
from prentice.models.catalogue import default_folder
from prentice.models.specs import LOCAL, RECORDED
from prentice.pipeline import Project
from prentice.pipeline.project import TASK

PROJECT = "prentice.toml"


def examine(folder: Path, *, offline: bool = False) -> Diagnosis:
    """Look at the installation, the machine, and the project in `folder` if there is one.

    Args:
        offline: do not ask whether the network is there.
    """
    slow: tuple[Callable[[], list[Finding]], ...] = (
        lambda: [llamacpp()],
        lambda: [torch()],
        lambda: keys(os.environ),
        lambda: [] if offline else [hub()],
    )
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(look) for look in slow]
        findings = [
            machine(),
            *installed(),
            *(finding for found in waiting for finding in found.result()),
            disk("models", default_folder()),
            *models(),
            disk("folder", folder),
            *project(folder),
        ]
    return diagnose(findings, f"prentice run {folder}" if (folder / PROJECT).is_file() else "prentice demo")


def project(folder: Path) -> list[Finding]:
    """Whether the project's file, cases, store and teacher can be opened; nothing if there is no project."""
    if not (folder / PROJECT).is_file():
        return []
    try:
        opened = Project(folder)
        cases = len(opened.task.cases("train"))
        if (opened.home / "store.db").exists():
            opened.store().close()
        teacher = opened.config.teacher.model
        if not teacher.startswith((LOCAL, RECORDED, TASK)):
            opened.open_policy(teacher)  # makes no call; says which key is missing
    except PrenticeError as error:
        step = error.hint or f"mend {folder / PROJECT}"
        return [Finding(topic="project", state="bad", text=error.problem, step=step)]
    return [
        Finding(topic="project", state="good", text=f"{folder / PROJECT}: {cases:,} cases to learn from, {teacher}")
    ]
