"""One episode: a policy plays one case to its end. A failure is part of it, named by the boundary it crossed."""

from __future__ import annotations

from prentice.errors import ModelError, PrenticeError
from prentice.models.policy import Policy
from prentice.records import Episode, Failure, Metric, Sampling, Turn, episode_id, utc_now
from prentice.tasks.contract import Case, Environment


async def play(
    policy: Policy,
    environment: Environment,
    case: Case,
    *,
    run: str,
    task: str,
    attempt: int = 0,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
) -> Episode:
    """Play `case` to its end and return the episode; failures of policy and environment end it as data."""
    started = utc_now()
    turns: list[Turn] = []
    metrics: tuple[Metric, ...] = ()
    failure: Failure | None = None
    try:
        request = await environment.reset(case)
        while True:
            reply = await policy.generate(request, sampling)
            turns.append(Turn(request=request, reply=reply))
            step = await environment.step(reply)
            metrics += step.metrics
            if step.request is None:
                break
            request = step.request
    except ModelError as error:
        failure = Failure(where="model", message=error.problem)
    except PrenticeError:
        raise
    except Exception as error:  # whatever user code in an environment raises is data of this run, not its end
        failure = Failure(where="environment", message=f"{type(error).__name__}: {error}")
    return Episode(
        id=episode_id(run, case.id, attempt),
        run=run,
        task=task,
        case=case.id,
        split=case.split,
        attempt=attempt,
        policy=policy.name,
        turns=tuple(turns),
        metrics=metrics,
        failure=failure,
        started_at=started,
    )
