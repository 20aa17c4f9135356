"""What a run would do and cost, before it does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from prentice.evaluation.compare import TEACHER
from prentice.models.budget import spent_in
from prentice.models.prices import cost, in_words
from prentice.models.specs import LOCAL, RECORDED, price_of
from prentice.pipeline.project import TASK, Project
from prentice.pipeline.stages import Context
from prentice.pipeline.walk import ONE_EACH, states
from prentice.progress import Silent
from prentice.records import Usage
from prentice.rollouts import run_id
from prentice.rollouts.spending import LEDGER
from prentice.tasks import Case, Task, begins_with_models, functions_of

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
    config, spec = project.config, project.config.teacher.model
    if stage == "rollout":
        played = project.task.cases("train")[: config.rollout.cases or None]
        cases = [case for case in played for _ in range(config.rollout.tries)]
        run = run_id(project.task, project.identity(spec), "teacher", "train", config.rollout)
        return f": {calls_ahead(project, spec, cases, run)}"
    if stage == "train":
        return _others_to_train(project)
    if stage == "evaluate":
        return _cases_to_play(project)
    return ""


def _others_to_train(project: Project) -> str:
    config = project.config
    more = f", then for {', '.join(others)} too" if (others := config.students[1:]) else ""
    each = [f"one for {function}" for function in functions_of(project.task)] if config.student.one_each else []
    return f"{more}, then {', '.join(each)}" if each else more


def _cases_to_play(project: Project) -> str:
    config = project.config
    cases = list(project.task.cases(config.evaluate.split)[: config.evaluate.cases or None])
    students = [*config.students[1:], *([ONE_EACH] if config.student.one_each else [])]
    text = f": {len(cases):,} cases for each of {', '.join([*config.evaluate.policies, *students])}"
    if TEACHER not in config.evaluate.policies:
        return text
    return f"{text}; the teacher's: {calls_ahead(project, config.teacher.model, cases)}"


def calls_ahead(project: Project, spec: str, cases: Sequence[Case], run: str = "") -> str:
    """The first call of each of `cases`, in words: how many, their tokens (estimated), their price.

    Args:
        run: whose budget they are paid from; without it a new one.
    """
    if spec.startswith(RECORDED):
        return f"{len(cases):,} recorded episodes to replay, no call, no cost"
    own = " and the calls of the environment's own models" if begins_with_models(project.task) else ""
    if spec.startswith(TASK):
        return f"{len(cases):,} episodes of a policy that the task brings{own or ', no cost'}"
    if own:  # its first prompts would already cost calls
        return f"{len(cases):,} episodes of at least one call each{own}"
    return _first_calls(project, spec, cases, run)


def _first_calls(project: Project, spec: str, cases: Sequence[Case], run: str) -> str:
    tokens = sum(_prompt_characters(project.task, case) for case in cases) // CHARACTERS_PER_TOKEN
    text = f"{len(cases):,} episodes of at least one call each, about {tokens:,} tokens to read"
    if spec.startswith(LOCAL):
        return f"{text}, on this machine, no dollars"
    rollout = project.config.rollout
    price = price_of(spec, project.config.providers)
    if price is None:
        more = "; budget_usd cannot be kept without a price" if rollout.budget_usd else ""
        return f"{text}, price unknown{more}"
    dollars = cost(Usage(input_tokens=tokens, output_tokens=len(cases) * rollout.max_tokens), price) or 0.0
    text = f"{text}, these calls cost at most ${dollars:,.2f} ({in_words(price)})"
    if rollout.budget_usd is None:
        return text
    spent_usd = spent_in(project.home / LEDGER, run) if run else 0.0
    return f"{text}, {_budget(rollout.budget_usd, spent_usd, dollars, len(cases))}"


def _budget(limit_usd: float, spent_usd: float, ahead_usd: float, episodes: int) -> str:
    left = max(0.0, limit_usd - spent_usd)
    text = f"budget ${limit_usd:,.2f}, ${left:,.2f} of it left: "
    if ahead_usd <= left:
        return text + "it suffices for them"
    return text + f"it lasts for at least {int(episodes * left / ahead_usd):,} of {episodes:,} such calls"


def _prompt_characters(task: Task, case: Case) -> int:
    request = asyncio.run(task.environment("teacher").reset(case))
    return sum(len(message.content) for message in request.messages)
