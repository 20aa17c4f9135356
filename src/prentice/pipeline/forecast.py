"""What a run would do and cost, before it does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from prentice.models.specs import LOCAL, RECORDED
from prentice.pipeline.project import TASK, Project
from prentice.pipeline.stages import Context
from prentice.pipeline.walk import states
from prentice.progress import Silent
from prentice.records import Usage
from prentice.tasks import Case, Task

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for European languages; providers differ by a fifth or so."""


def forecast(folder: str | Path, overrides: Sequence[str] = (), *, live_teacher: bool = False) -> list[str]:
    """Each stage with what it would do; the teacher's calls with their tokens and dollars."""
    project = Project(folder, overrides)
    context = Context(project, Silent(), live_teacher)
    return [
        f"{name}: skipped, nothing has changed" if done else f"{name}: runs{_detail(project, name)}"
        for name, done in states(context)
    ]


def _detail(project: Project, stage: str) -> str:
    config = project.config
    if stage == "rollout":
        played = project.task.cases("train")[: config.rollout.cases or None]
        cases = [case for case in played for _ in range(config.rollout.tries)]
        return f": {calls_ahead(project.task, config.teacher.model, cases, config.rollout.max_tokens)}"
    if stage == "evaluate":
        cases = list(project.task.cases(config.evaluate.split)[: config.evaluate.cases or None])
        teacher = calls_ahead(project.task, config.teacher.model, cases, config.rollout.max_tokens)
        return f": {len(cases):,} cases for each of {', '.join(config.evaluate.policies)}; the teacher's: {teacher}"
    return ""


def calls_ahead(task: Task, spec: str, cases: Sequence[Case], max_tokens: int) -> str:
    """The first call of each of `cases`, in words: how many, their tokens (estimated), their price."""
    if spec.startswith(RECORDED):
        return f"{len(cases):,} recorded episodes to replay, no call, no cost"
    tokens = sum(_prompt_characters(task, case) for case in cases) // CHARACTERS_PER_TOKEN
    text = f"{len(cases):,} episodes of at least one call each, about {tokens:,} tokens to read"
    if spec.startswith(TASK):
        return f"{len(cases):,} episodes of a policy that the task brings, no cost"
    if spec.startswith(LOCAL):
        return f"{text}, on this machine, no dollars"
    return f"{text}, {_dollars(spec, tokens, len(cases) * max_tokens)}"


def _prompt_characters(task: Task, case: Case) -> int:
    request = asyncio.run(task.environment("teacher").reset(case))
    return sum(len(message.content) for message in request.messages)


def _dollars(spec: str, read: int, written: int) -> str:
    from prentice.models.prices import cost, find_price, price_list
    from prentice.models.remote import parse_spec

    endpoint = parse_spec(spec)
    price = find_price(endpoint.provider, endpoint.model)
    if price is None:
        return "price unknown"
    most = cost(Usage(input_tokens=read, output_tokens=written), price) or 0.0
    return f"at most ${most:,.2f} ({price_list()})"
