"""The verdict, branch by branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from prentice.evaluation.verdict import judge
from prentice.records import Interval, PolicyResult, Verdict
from prentice.statistics import wilson

TEACHER = PolicyResult(
    name="teacher",
    policy="recorded:teacher",
    n=400,
    successes=200,
    success=wilson(200, 400),
    latency_p95_s=1.0,
    processing_s=2.0,
    cost_per_success=4.0,
    cost_unit="CPU-s",
    timing="scaled",
)
BETTER, STRADDLING, WORSE = (
    Interval(value=0.05, low=0.01, high=0.09),
    Interval(value=0.0, low=-0.04, high=0.04),
    Interval(value=-0.08, low=-0.12, high=-0.04),
)


def verdict(difference: Interval, teacher: Mapping[str, object] | None = None, **student: Any) -> Verdict:
    """A student four times cheaper and faster than the teacher, unless said otherwise."""
    usual = {"name": "student", "difference": difference, "latency_p95_s": 0.25, "cost_per_success": 1.0}
    ours = TEACHER.model_copy(update={**usual, "timing": "measured", **student})
    return judge(TEACHER.model_copy(update=teacher or {}), ours, 0.02)


def states(found: Verdict) -> list[str]:
    return [reason.partition(": ")[0] for reason in found.reasons]


def test_a_student_that_meets_all_conditions_is_promoted_with_the_figures() -> None:
    found = verdict(BETTER)
    assert found.answer == "promote"
    assert found.reasons == (
        "met: lower end of the difference above −2 points; measured +5.00 [+1.00, +9.00]",
        "met: cost per success below the teacher's; 1 CPU-s against 4 CPU-s, 4.0 times lower",
        "met: latency p95 below the teacher's; 250 ms against 1 s, 4.0 times lower",
    )


@pytest.mark.parametrize(
    ("difference", "student", "answer", "expected"),
    [
        (STRADDLING, {}, "more data", ["undecided", "met", "met", "to settle"]),
        (WORSE, {}, "hold", ["not met", "met", "met"]),
        (BETTER, {"cost_per_success": 4.0}, "hold", ["met", "not met", "met"]),
        (BETTER, {"latency_p95_s": 1.0}, "hold", ["met", "met", "not met"]),
        (STRADDLING, {"latency_p95_s": 2.0}, "hold", ["undecided", "met", "not met"]),
        (BETTER, {"cost_unit": None, "cost_per_success": None}, "hold", ["met", "not judged", "met"]),
        (BETTER, {"cost_unit": "USD"}, "hold", ["met", "not judged", "met"]),
        (BETTER, {"latency_p95_s": None}, "hold", ["met", "met", "not judged"]),
        (BETTER, {"cost_per_success": None, "successes": 0}, "hold", ["met", "not met", "met"]),
    ],
)
def test_each_condition_alone_can_hold_the_student(
    difference: Interval, student: dict[str, Any], answer: str, expected: list[str]
) -> None:
    found = verdict(difference, **student)
    assert (found.answer, states(found)) == (answer, expected)


@pytest.mark.parametrize(
    ("low", "high", "answer"), [(-0.02, 0.04, "more data"), (-0.0199, 0.04, "promote"), (-0.1, -0.02, "hold")]
)
def test_an_end_on_the_margin_is_not_above_it(low: float, high: float, answer: str) -> None:
    assert verdict(Interval(value=(low + high) / 2, low=low, high=high)).answer == answer


def test_more_data_says_how_many_cases() -> None:
    # half width 0.04, distance from 0 to the margin 0.02: four times the 400 cases
    assert verdict(STRADDLING).reasons[-1] == (
        "to settle: about 1\N{NO-BREAK SPACE}600 cases, if the difference stays as measured; 400 played"
    )


def test_a_difference_on_the_margin_is_said_to_need_more_than_cases() -> None:
    found = verdict(Interval(value=-0.02, low=-0.05, high=0.01))
    assert found.answer == "more data"
    assert "lies on the margin" in found.reasons[-1]


def test_different_units_are_named_with_the_way_out() -> None:
    reason = verdict(BETTER, {"cost_unit": "USD"}).reasons[1]
    assert "units differ: teacher in USD, student in CPU-s" in reason
    assert "evaluate.cpu_hour_usd" in reason


def test_any_cost_is_below_that_of_a_teacher_without_success() -> None:
    found = verdict(BETTER, {"successes": 0, "cost_per_success": None})
    assert found.reasons[1] == "met: cost per success below the teacher's; 1 CPU-s against no success"


def test_times_recorded_on_another_machine_are_not_judged() -> None:
    assert states(verdict(BETTER, {"timing": "recorded"})) == ["met", "not judged", "not judged"]


def test_times_of_a_hosted_teacher_count_as_recorded() -> None:
    hosted = {"timing": "recorded", "processing_s": None, "cost_unit": "USD", "cost_per_success": 0.01}
    assert verdict(BETTER, hosted, cost_unit="USD", cost_per_success=0.001).answer == "promote"


def test_a_student_without_a_paired_difference_is_not_judged() -> None:
    with pytest.raises(ValueError, match="no paired difference"):
        judge(TEACHER, TEACHER, 0.02)
