"""When a student would have paid for itself: always a range, with every assumption written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from prentice.config import StageConfig, build
from prentice.errors import ConfigError
from prentice.estimation.prompts import Prompts
from prentice.estimation.spending import Spent
from prentice.records import Record

SECONDS_PER_HOUR = 3_600
DAYS_PER_MONTH = 30.4375
HOURS_PER_MONTH = 24 * DAYS_PER_MONTH

_Share = Annotated[float, Field(gt=0, le=1)]
_More = Annotated[float, Field(gt=0)]
_Amount = Annotated[float, Field(ge=0)]


class Assumptions(StageConfig):
    """What the range rests on; of each pair the first is careful, the second hopeful."""

    taken: tuple[_Share, _Share] = (0.5, 0.9)
    """Share of the calls that the student answers itself."""
    examples: tuple[_More, _More] = (3_000, 1_500)
    """Rows that the student learns from."""
    calls_per_example: tuple[_Amount, _Amount] = (3, 2)
    """Calls of the large model for each of those rows."""
    passes: tuple[_More, _More] = (4, 3)
    """Times each row is learnt from."""
    trained_tokens_per_s: tuple[_More, _More] = (150, 300)
    """Tokens learnt from in a second, on one machine."""
    read_cpu_s: tuple[_Amount, _Amount] = (0.013, 0.0043)
    """CPU-seconds of the student for a token of the prompt."""
    write_cpu_s: tuple[_Amount, _Amount] = (0.03, 0.02)
    """CPU-seconds of the student for a token of the answer."""
    core_hour_usd: tuple[_Amount, _Amount] = (0.05, 0.0045)
    """Dollars for an hour of a core: rented, or its electricity."""
    busy: tuple[_Share, _Share] = (0.5, 1.0)
    """Share of the paid time in which a core works."""
    always_on: tuple[bool, bool] = (True, False)
    """Whether machines are paid for all month, idle or not."""
    cores: int = Field(2, ge=1)
    """Cores of a machine."""
    cheaper_at_most: tuple[_More, _More] = (9, 30)
    """Times cheaper than now that a call is reckoned at most."""
    one_off_usd: tuple[_Amount, _Amount] = (0.0, 0.0)
    """What else making it costs, such as people's hours."""


def parse_assumptions(texts: Sequence[str]) -> Assumptions:
    """Assumptions as people write them: `taken=0.5,0.9`; one value stands for both ends.

    Raises: ConfigError naming what cannot be read, or the nearest right name.
    """
    found: dict[str, object] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"--assume {text!r} has no `=`", "write a careful and a hopeful value: taken=0.5,0.9")
        field = Assumptions.model_fields.get(name)
        ends = value.split(",")
        one = field is not None and not isinstance(field.default, tuple)
        found[name] = value if one else ends * 2 if len(ends) == 1 else ends
    return build(Assumptions, found, "--assume")


class Outlook(Record):
    """One end of the range."""

    teacher_usd: float
    """For the large model's answers to learn from."""
    training_hours: float
    make_usd: float
    """All that making the student costs: answers, training, and what the user added."""
    student_usd: float
    """For the student's work; per month where that is known, else for 1 000 calls."""
    saved_usd: float
    """Less to pay than now, for the same time or calls; negative if it costs more."""
    times_cheaper: float | None
    """A call of the large model over one of the student."""
    calls: float | None
    """Calls until what was saved has paid for the making; None: never."""
    months: float | None
    """The same in months; None: never, or the calls of a month are not known."""


class BreakEven(Record):
    """Both ends."""

    per: Literal["month", "1 000 calls"]
    careful: Outlook
    hopeful: Outlook


def break_even(
    spent: Spent, prompts: Prompts, graded: int, calls_per_month: float | None, assumptions: Assumptions
) -> BreakEven | None:
    """The range for one function; None where its calls have no known cost.

    Args:
        graded: calls in the log whose outcome is known: the hopeful case learns from them first.
    """
    if not spent.usd_per_call:
        return None
    careful, hopeful = (
        _Case(assumptions, end, spent, prompts, graded if end else 0).outlook(calls_per_month) for end in (0, 1)
    )
    return BreakEven(per="month" if calls_per_month else "1 000 calls", careful=careful, hopeful=hopeful)


class _Case:
    """One end of the range: `end` picks it from each pair."""

    def __init__(self, assumptions: Assumptions, end: int, spent: Spent, prompts: Prompts, graded: int) -> None:
        self._assumed, self._end, self._graded = assumptions, end, graded
        self._now_usd = spent.usd_per_call or 0.0
        # the hopeful student needs no instructions, and history is in its own cache
        self._read = spent.input_tokens / spent.calls * (1 - prompts.shared * end)
        self._write = spent.output_tokens / spent.calls

    def outlook(self, calls_per_month: float | None) -> Outlook:
        calls = calls_per_month or 1_000.0
        teacher_usd, hours = self._teacher_usd(), self._training_hours()
        make_usd = teacher_usd + hours * self._machine_hour_usd() + self._of("one_off_usd")
        student_usd = self._student_usd(calls, whole_month=calls_per_month is not None)
        saved_usd = calls * self._now_usd * self._of("taken") - student_usd
        until = make_usd / saved_usd * calls if saved_usd > 0 else None
        return Outlook(
            teacher_usd=teacher_usd,
            training_hours=hours,
            make_usd=make_usd,
            student_usd=student_usd,
            saved_usd=saved_usd,
            times_cheaper=self._now_usd * calls / student_usd if student_usd > 0 else None,
            calls=until,
            months=until / calls_per_month if until is not None and calls_per_month else None,
        )

    def _teacher_usd(self) -> float:
        calls = self._of("examples") * self._of("calls_per_example")
        return max(0.0, calls - self._graded) * self._now_usd

    def _training_hours(self) -> float:
        tokens = self._of("examples") * self._of("passes") * (self._read + self._write)
        return tokens / self._of("trained_tokens_per_s") / SECONDS_PER_HOUR

    def _student_usd(self, calls: float, *, whole_month: bool) -> float:
        seconds = self._read * self._of("read_cpu_s") + self._write * self._of("write_cpu_s")
        machine_hours = calls * seconds / self._of("busy") / self._assumed.cores / SECONDS_PER_HOUR
        if whole_month and self._assumed.always_on[self._end]:
            machine_hours = max(1, math.ceil(machine_hours / HOURS_PER_MONTH)) * HOURS_PER_MONTH
        least_usd = calls * self._now_usd / self._of("cheaper_at_most")
        return max(machine_hours * self._machine_hour_usd(), least_usd)

    def _machine_hour_usd(self) -> float:
        return self._assumed.cores * self._of("core_hour_usd")

    def _of(self, name: str) -> float:
        pair: tuple[float, float] = getattr(self._assumed, name)
        return pair[self._end]
