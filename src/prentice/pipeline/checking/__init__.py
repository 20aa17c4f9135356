"""What is wrong with a project, in plain words and all at once. Nothing is called, spent, made or changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from prentice.curation.expression import Expression
from prentice.curation.facts import FACTS
from prentice.errors import PrenticeError
from prentice.pipeline.checking.cases import Seen, look_at_cases
from prentice.pipeline.checking.findings import Finding, State, bad, from_error, good
from prentice.pipeline.checking.grading import look_at_grader, look_at_prompt
from prentice.pipeline.checking.models import look_at_lengths, look_at_models
from prentice.pipeline.checking.settings import Settings
from prentice.pipeline.project import Project
from prentice.records.database import is_url
from prentice.tasks import Task
from prentice.tasks.text import FUNCTION, Text

__all__ = ["Finding", "State", "check"]


def check(folder: str | Path) -> list[Finding]:
    """Look at a project; what is bad comes first, then what is doubtful, then what is good."""
    path = Path(folder)
    settings = Settings(path if path.suffix == ".toml" else path / "prentice.toml")
    findings = list(settings.findings)
    if settings.config is not None:
        if not findings:
            findings.append(good("settings", f"{settings.file}: all keys are known"))
        try:
            findings += _project(Project(settings.file, config=settings.config))
        except PrenticeError as error:
            findings.append(from_error("settings", error))
    order = ("bad", "doubtful", "good")
    # what is wrong with a file stops whatever reads it, and is said once
    once: dict[str, Finding] = {}
    for finding in findings:
        once.setdefault(finding.text, finding)
    return sorted(once.values(), key=lambda finding: order.index(finding.state))


def _project(project: Project) -> Iterator[Finding]:
    task: Task | None = None
    metrics: frozenset[str] = frozenset()
    if project.config.task:
        try:
            task = project.task
        except PrenticeError as error:
            yield from_error("task", error)
    if task is not None:
        seen, findings = look_at_cases(task)
        yield from findings
        if isinstance(task, Text):
            task.rows = tuple((s.line or 0, s.split, s.case) for s in seen)  # the rest goes on with what can be used
            metrics, found = look_at_grader(task, seen)
            yield from (*found, *look_at_prompt(task, seen))
            yield from _lengths(project, task, seen)
    judge = task.grader.judge if isinstance(task, Text) and metrics else None
    yield from look_at_models(project, judge)
    yield from _keep(project, metrics)
    yield from _store(project)


def _lengths(project: Project, task: Text, seen: list[Seen]) -> Iterator[Finding]:
    try:
        requests = [(s, task.render(FUNCTION, s.case.inputs, "student")) for s in seen]
    except PrenticeError:
        return  # said before
    yield from look_at_lengths(project, requests)


def _keep(project: Project, metrics: frozenset[str]) -> Iterator[Finding]:
    """Whether the expressions of [curate] name what episodes will have; only a text task says so beforehand."""
    curate = project.config.curate
    asked = {"keep": curate.keep, "keep_turns": curate.keep_turns, "rank_by": curate.rank_by or ""}
    known = sorted({*metrics, *FACTS})
    for key, text in asked.items():
        names = Expression(text, key).names if text and metrics else ()
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                yield bad("curate", f"{key} = {text!r}: the task gives no metric {name!r}", hint)


def _store(project: Project) -> Iterator[Finding]:
    """Whether there is one; it is not opened, since that would bring an older one up to date."""
    try:
        there = project.has_store
    except PrenticeError as error:
        yield from_error("store", error)
        return
    place = project.config.store or str(project.home / "store.db")
    yield good(
        "store", f"{place}: not asked" if is_url(place) else place if there else "none yet; the first run makes it"
    )
