"""Where a failure came from: what is raised inside a boundary ends the episode as data of that side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal, ParamSpec, TypeVar

from pydantic import ValidationError

from prentice.errors import JudgeError, MetricError, ModelError, PrenticeError
from prentice.records import Failure, Metric
from prentice.records.base import first_fault
from prentice.rollouts.printing import environment_speaks

P = ParamSpec("P")
T = TypeVar("T")


class EndedEarly(Exception):  # noqa: N818 - not an error of the program
    """The episode ends here, as this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class PlayAgain(Exception):  # noqa: N818 - not an error of the program
    """The episode was cut off through no fault of its own, and has to begin anew."""


@contextmanager
def boundary(where: Literal["model", "environment"]) -> Iterator[None]:
    """Whatever is raised inside ends the episode as a failure of this side.

    Raises: EndedEarly; PrenticeError other than ModelError, JudgeError, MetricError, which are the user's to fix.
    """
    try:
        yield
    except (EndedEarly, PlayAgain):
        raise
    except ModelError as error:
        raise EndedEarly(Failure(where=where, message=error.problem)) from error
    except (JudgeError, MetricError) as error:
        graded_by: Literal["judge", "metric"] = "judge" if isinstance(error, JudgeError) else "metric"
        raise EndedEarly(Failure(where=graded_by, message=error.problem)) from error
    except PrenticeError:
        raise
    except ValidationError as error:
        # a metric that is NaN cannot even be made
        side = "metric" if error.title == Metric.__name__ else where
        raise EndedEarly(Failure(where=side, message=f"{error.title}: {first_fault(error)[1]}")) from error
    except Exception as error:  # what user code raises is data of this run, not its end
        raise EndedEarly(Failure(where=where, message=f"{type(error).__name__}: {error}")) from error


async def ask_environment(
    limit_s: float | None, method: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What a method of the environment answers; it has failed if that takes longer than `limit_s` seconds.

    Raises: as `boundary`.
    """
    with boundary("environment"), environment_speaks():
        clock = asyncio.timeout(limit_s)
        try:
            async with clock:
                return await method(*args, **kwargs)
        except TimeoutError:
            if not clock.expired():
                raise  # the environment's own
            message = f"gave no answer within {limit_s:g} s ([rollout] step_timeout_s)"
            raise EndedEarly(Failure(where="environment", message=message)) from None
