"""May the student replace the teacher? Three conditions, each with what was asked and what was measured."""

from __future__ import annotations

from typing import Literal, NamedTuple

from prentice.evaluation.wording import change, count, difference_text, money, points, seconds
from prentice.records import Interval, PolicyResult, Verdict
from prentice.statistics import cases_to_settle

State = Literal["met", "not met", "undecided", "not judged"]


class Condition(NamedTuple):
    """One condition of the verdict."""

    state: State
    text: str

    def __str__(self) -> str:
        return f"{self.state}: {self.text}"


def judge(teacher: PolicyResult, student: PolicyResult, margin: float) -> Verdict:
    """Decide whether the student may replace the teacher.

    Promote when all three conditions are met; "more data" when the difference alone is undecided; else hold.

    Raises: ValueError if the student has no paired difference.
    """
    if student.difference is None:
        raise ValueError(f"{student.name!r} has no paired difference to {teacher.name!r}")
    success = _success(student.difference, margin)
    others = [_cost(teacher, student), _latency(teacher, student)]
    reasons = [str(condition) for condition in (success, *others)]
    answer: Literal["promote", "hold", "more data"] = "hold"
    if all(condition.state == "met" for condition in others):
        if success.state == "met":
            answer = "promote"
        elif success.state == "undecided":
            answer = "more data"
            reasons.append(_to_settle(student.difference, student.n, margin))
    return Verdict(answer=answer, margin=margin, reasons=tuple(reasons))


def _success(difference: Interval, margin: float) -> Condition:
    asked = f"lower end of the difference above {points(-margin)} points"
    measured = f"measured {difference_text(difference, digits=2)}"
    if difference.low > -margin:
        return Condition("met", f"{asked}; {measured}")
    return Condition("undecided" if difference.high > -margin else "not met", f"{asked}; {measured}")


def _cost(teacher: PolicyResult, student: PolicyResult) -> Condition:
    asked = "cost per success below the teacher's"
    if teacher.cost_unit is None or student.cost_unit is None:
        missing = " and ".join(r.name for r in (teacher, student) if r.cost_unit is None)
        return Condition("not judged", f"{asked}; no cost is known for {missing}")
    if teacher.cost_unit != student.cost_unit:
        units = f"{teacher.name} in {teacher.cost_unit}, {student.name} in {student.cost_unit}"
        return Condition("not judged", f"{asked}; units differ: {units} (evaluate.cpu_hour_usd gives CPU time a price)")
    if _from_another_machine(teacher):
        return Condition("not judged", f"{asked}; the teacher's CPU-seconds were recorded elsewhere and not scaled")
    ours, theirs = student.cost_per_success, teacher.cost_per_success
    measured = f"{money(ours, student.cost_unit)} against {money(theirs, teacher.cost_unit)}"
    if ours is None:  # no success at all: the cost of one has no bound
        return Condition("not met", f"{asked}; {measured}")
    if theirs is None:
        return Condition("met", f"{asked}; {measured}")
    return Condition("met" if ours < theirs else "not met", f"{asked}; {measured}{change(ours, theirs)}")


def _latency(teacher: PolicyResult, student: PolicyResult) -> Condition:
    asked = "latency p95 below the teacher's"
    ours, theirs = student.latency_p95_s, teacher.latency_p95_s
    if ours is None or theirs is None:
        missing = " and ".join(r.name for r in (teacher, student) if r.latency_p95_s is None)
        return Condition("not judged", f"{asked}; no latency is known for {missing}")
    if _from_another_machine(teacher):
        return Condition("not judged", f"{asked}; the teacher's times were recorded elsewhere and not scaled")
    measured = f"{seconds(ours)} against {seconds(theirs)}{change(ours, theirs)}"
    return Condition("met" if ours < theirs else "not met", f"{asked}; {measured}")


def _from_another_machine(result: PolicyResult) -> bool:
    """Whether times depend on a machine that was not this one; a hosted model's (no CPU-seconds) do not."""
    return result.timing == "recorded" and result.processing_s is not None


def _to_settle(difference: Interval, n: int, margin: float) -> str:
    needed = cases_to_settle(difference, n, -margin)
    if needed is None or needed > 1000 * n:
        return f"to settle: the measured difference lies on the margin, so more cases alone may not; {count(n)} played"
    return f"to settle: about {count(needed)} cases, if the difference stays as measured; {count(n)} played"
