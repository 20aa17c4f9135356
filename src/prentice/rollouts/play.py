"""One episode: a policy plays one case to its end. A failure is part of it, named by the boundary it crossed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prentice.errors import JudgeError, MetricError, ModelError, PrenticeError
from prentice.models.policy import Policy
from prentice.records import Episode, Failure, Metric, Sampling, Turn, episode_id, utc_now
from prentice.tasks.contract import Case, Environment, Spender


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
    """Play `case` to its end and return the episode; failures of policy and environment end it as data.

    Raises: PrenticeError other than ModelError, JudgeError and MetricError: something the user has to fix before any
        episode makes sense.
    """
    started = utc_now()
    turns: list[Turn] = []
    metrics: tuple[Metric, ...] = ()
    failure: Failure | None = None
    try:
        with _boundary("environment"):
            request = await environment.reset(case)
        while True:
            with _boundary("model"):
                reply = await policy.generate(request, sampling)
            turns.append(Turn(request=request, reply=reply))
            with _boundary("environment"):
                step = await environment.step(reply)
            metrics += step.metrics + tuple(m.model_copy(update={"turn": len(turns) - 1}) for m in step.turn_metrics)
            if step.request is None:
                break
            request = step.request
    except _EndedEarly as ended:
        failure = ended.failure
    finally:
        if isinstance(environment, Spender):
            metrics += await environment.spent()
        await environment.close()
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


class _EndedEarly(Exception):  # noqa: N818 - not an error of the program
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextmanager
def _boundary(where: Literal["model", "environment"]) -> Iterator[None]:
    """Whatever is raised inside ends the episode as a failure of this side."""
    try:
        yield
    except ModelError as error:
        raise _EndedEarly(Failure(where=where, message=error.problem)) from error
    except (JudgeError, MetricError) as error:
        graded_by: Literal["judge", "metric"] = "judge" if isinstance(error, JudgeError) else "metric"
        raise _EndedEarly(Failure(where=graded_by, message=error.problem)) from error
    except PrenticeError:
        raise
    except Exception as error:  # what user code raises is data of this run, not its end
        raise _EndedEarly(Failure(where=where, message=f"{type(error).__name__}: {error}")) from error
