"""One episode: a policy plays one case to its end. A failure is part of it, named by the boundary it crossed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from prentice.errors import MetricError
from prentice.models.policy import Policy
from prentice.records import Episode, Failure, Metric, Request, Sampling, Turn, episode_id, utc_now
from prentice.rollouts.boundary import EndedEarly, ask_environment, boundary
from prentice.tasks.contract import Case, Environment, Spender, Step


@dataclass(frozen=True)
class Rules:
    """What every episode of a rollout is held to."""

    max_turns: int = 200
    step_timeout_s: float | None = 600.0
    """For one answer of the environment; None where something else keeps watch."""
    now: Callable[[], datetime] = utc_now
    """The wall clock. It may jump: nothing but `started_at` is read from it."""


async def play(
    policy: Policy,
    environment: Environment,
    case: Case,
    *,
    run: str,
    task: str,
    attempt: int = 0,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    rules: Rules = Rules(),
) -> Episode:
    """Play `case` to its end and return the episode; failures of policy and environment end it as data.

    Raises: PrenticeError other than ModelError, JudgeError and MetricError: something the user has to fix before any
        episode makes sense.
    """
    started = rules.now()
    turns: list[Turn] = []
    metrics: list[Metric] = []
    failures: list[Failure] = []
    try:
        with _kept(failures):
            await _take_turns(policy, environment, case, sampling, rules, turns, metrics)
    finally:
        with _kept(failures):
            metrics += await _leave(environment, rules)
    return Episode(
        id=episode_id(run, case.id, attempt),
        run=run,
        task=task,
        case=case.id,
        split=case.split,
        attempt=attempt,
        policy=policy.name,
        turns=tuple(turns),
        metrics=tuple(metrics),
        failure=failures[0] if failures else None,
        started_at=started,
    )


async def _take_turns(
    policy: Policy,
    environment: Environment,
    case: Case,
    sampling: Sampling,
    rules: Rules,
    turns: list[Turn],
    metrics: list[Metric],
) -> None:
    """Append to `turns` and `metrics` until the environment ends the episode."""
    request: Request | None = await ask_environment(rules.step_timeout_s, environment.reset, case)
    _check_type(request, Request, "reset")
    while request is not None:
        if len(turns) == rules.max_turns:
            message = f"did not end within {rules.max_turns} turns ([rollout] max_turns)"
            raise EndedEarly(Failure(where="environment", message=message))
        with boundary("model"):
            reply = await policy.generate(request, sampling)
        turns.append(Turn(request=request, reply=reply))
        step = await ask_environment(rules.step_timeout_s, environment.step, reply)
        _check_type(step, Step, "step")
        with boundary("environment"):
            _check_finite(step)
        metrics += step.metrics
        metrics += [Metric(name=m.name, value=m.value, source=m.source, turn=len(turns) - 1) for m in step.turn_metrics]
        request = step.request


async def _leave(environment: Environment, rules: Rules) -> tuple[Metric, ...]:
    spent: tuple[Metric, ...] = ()
    try:
        if isinstance(environment, Spender):
            spent = await ask_environment(rules.step_timeout_s, environment.spent)
    finally:
        await ask_environment(rules.step_timeout_s, environment.close)
    return spent


def _check_type(value: object, kind: type, method: str) -> None:
    if not isinstance(value, kind):
        message = f"{method} returned {type(value).__name__}, not a {kind.__name__}"
        raise EndedEarly(Failure(where="environment", message=message))


def _check_finite(step: Step) -> None:
    """A metric made without validation may still be NaN, which is no number and no score of 0."""
    for metric in (*step.metrics, *step.turn_metrics):
        if isinstance(metric.value, float) and not math.isfinite(metric.value):
            raise MetricError(f"metric {metric.name!r} is {metric.value}")


@contextmanager
def _kept(failures: list[Failure]) -> Iterator[None]:
    try:
        yield
    except EndedEarly as ended:
        failures.append(ended.failure)
