"""How figures read, in the terminal and on the page alike."""

from __future__ import annotations

import math
from typing import NamedTuple

from prentice.records import Interval, PolicyResult, Report, Verdict

NONE = "—"
MARKS = {"scaled": "*", "recorded": "†"}
COSTS = (("cost_usd", "USD"), ("processing_s", "CPU-s"))
TITLES = {"promote": "Promote", "hold": "Hold", "more data": "More data needed"}


class Row(NamedTuple):
    """One policy as the tables show it."""

    name: str
    policy: str
    success: str
    difference: str
    tokens: str
    p50: str
    p95: str
    cost: str


def row(result: PolicyResult) -> Row:
    """The cells of one policy; times that were not measured in this run carry a mark."""
    mark = MARKS.get(result.timing, "")
    tokens = (result.input_tokens, result.output_tokens)
    return Row(
        name=result.name,
        policy=result.policy,
        success=f"{percent(result.success.value)} {_ends(result.success)}",
        difference=NONE if result.difference is None else difference_text(result.difference),
        tokens=NONE if None in tokens else " / ".join(_mean_tokens(t) for t in tokens if t is not None),
        p50=NONE if result.latency_p50_s is None else seconds(result.latency_p50_s) + mark,
        p95=NONE if result.latency_p95_s is None else seconds(result.latency_p95_s) + mark,
        cost=NONE if result.cost_unit is None else money(result.cost_per_success, result.cost_unit) + cost_mark(result),
    )


def measure_rows(report: Report) -> list[tuple[str, ...]]:
    """One row for each thing that the task measures beside success: its name, and each policy's figure in per cent."""
    names = dict.fromkeys(name for result in report.results for name in result.measures)
    return [(name, *(_measure(result.measures.get(name)) for result in report.results)) for name in names]


def measure_differences(report: Report) -> list[tuple[str, ...]]:
    """The same rows with the points to the teacher on the same cases, or nothing, in place of the figures."""
    names = dict.fromkeys(name for result in report.results for name in result.measures)
    return [(name, *(_to_teacher(result.measures_to_teacher.get(name)) for result in report.results)) for name in names]


def _to_teacher(value: Interval | None) -> str:
    return "" if value is None else difference_text(value)


def _measure(value: Interval | None) -> str:
    return NONE if value is None else f"{100 * value.value:.1f} [{100 * value.low:.0f}, {100 * value.high:.0f}]"


def cost_mark(result: PolicyResult) -> str:
    """The mark of a cost that comes from CPU time; a price that was paid needs none."""
    return MARKS.get(result.timing, "") if result.processing_s is not None else ""


def _mean_tokens(value: float) -> str:
    return count(round(value)) if value >= 10 or value == 0 else f"{value:.1f}"


def percent(share: float) -> str:
    """0.6213 -> `62.1 %`."""
    return f"{share * 100:.1f} %"


def _ends(interval: Interval) -> str:
    return f"[{interval.low * 100:.1f}, {interval.high * 100:.1f}]"


def difference_text(interval: Interval, digits: int = 1) -> str:
    """A difference of shares in percentage points: `+14.2 [+11.0, +17.4]`."""
    ends = (round(end * 100, digits) + 0.0 for end in (interval.value, interval.low, interval.high))  # no "-0.0"
    value, low, high = (f"{end:+.{digits}f}".replace("-", "−") for end in ends)
    return f"{value} [{low}, {high}]"


def points(share: float) -> str:
    """-0.02 -> `−2`: percentage points as the user wrote them."""
    return f"{share * 100:g}".replace("-", "−")


def significant(value: float) -> str:
    """Three significant digits, never an exponent: 1283.4 -> `1 283`, 0.01234 -> `0.0123`."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")
    # format() rounds first, so that 99.96 counts as 100
    exponent = int(f"{value:.2e}".partition("e")[2])
    text = f"{value:.{max(0, 2 - exponent)}f}"
    return text.rstrip("0").rstrip(".") if value == int(value) else text


def count(number: int) -> str:
    """12345 -> `12 345`."""
    return f"{number:,}".replace(",", "\N{NO-BREAK SPACE}")


def seconds(value: float) -> str:
    """0.085 -> `85.0 ms`, 1.5 -> `1.50 s`."""
    return f"{significant(value)} s" if value >= 1 else f"{significant(value * 1000)} ms"


def money(value: float | None, unit: str | None) -> str:
    """A cost in its unit; None stands for the cost of a success that never came."""
    if value is None:
        return "no success"
    return f"${significant(value)}" if unit == "USD" else f"{significant(value)} {unit}"


def change(ours: float, theirs: float) -> str:
    """`, 9.1 times lower`; empty where a ratio says nothing."""
    if ours <= 0 or theirs <= 0 or math.isclose(ours, theirs):
        return ""
    return f", {times(theirs / ours)} times lower" if ours < theirs else f", {times(ours / theirs)} times higher"


def times(ratio: float) -> str:
    """A ratio: 9.012 -> `9.0`, 1.034 -> `1.03`, so that it never reads as 1.0 when it is not."""
    return f"{ratio:.1f}" if 2 <= ratio < 100 else significant(ratio)


def headline(report: Report) -> str:
    """The verdict in one sentence."""
    by_name = {r.name: r for r in report.results}
    if report.verdict is None:
        absent = " and no ".join(name for name in ("teacher", "student") if name not in by_name)
        return f"There is no verdict: the report holds no {absent}."
    teacher, student = by_name["teacher"], by_name["student"]
    figures = f"{percent(student.success.value)} of {count(student.n)} cases against {percent(teacher.success.value)}"
    if report.verdict.answer == "promote":
        return f"The student may replace the teacher: it succeeds on {figures}{_cheaper(teacher, student)}."
    if report.verdict.answer == "more data":
        return f"It is too early to tell: the student succeeds on {figures}, and more cases are needed."
    return f"The teacher stays: the student succeeds on {figures}, and {_unmet(report.verdict)}."


def _cheaper(teacher: PolicyResult, student: PolicyResult) -> str:
    ours, theirs = student.cost_per_success, teacher.cost_per_success
    if not ours or not theirs:
        return ""
    return f", and each success costs {times(theirs / ours)} times less"


def _unmet(verdict: Verdict) -> str:
    met = sum(reason.startswith("met: ") for reason in verdict.reasons)
    return f"{met} of {len(verdict.reasons)} conditions are met"


def _factors(processing: float, latency: float | None) -> str:
    alike = latency is None or significant(latency) == significant(processing)
    both = f"{significant(processing)} (CPU-seconds) and {significant(latency or processing)} (latency)"
    return significant(processing) if alike else both


def notes(report: Report) -> list[str]:
    """What a reader must know beside the table: marks, turns, the environment's own models, failures."""
    timings = {r.timing for r in report.results}
    found = []
    if "scaled" in timings and report.scale is not None:
        found.append(
            f"* recorded times, multiplied by {_factors(report.scale, report.latency_scale)}: how the base model runs "
            "now over how it ran when they were recorded"
        )
    if "recorded" in timings:
        found.append("† times as they were recorded, perhaps on another machine; not scaled")
    found += [_per_turn(result) for result in report.results if (result.turns or 0) > 1]
    found += [_environment(result) for result in report.results if result.environment]
    for result in report.results:
        if result.failures:
            parts = ", ".join(f"{number} at the {where}" for where, number in sorted(result.failures.items()))
            found.append(
                f"{result.name}: {sum(result.failures.values())} of {count(result.n)} episodes failed ({parts}); "
                "they count as not successful, and their latency is left out"
            )
    return found


def _environment(result: PolicyResult) -> str:
    parts = []
    for role, took in result.environment.items():
        cost = next((money(took[key], unit) for key, unit in COSTS if key in took), "at an unknown cost")
        parts.append(f"{role} {significant(took['calls'])} calls, {cost}")
    return f"{result.name}: the environment's own models took, an episode: {'; '.join(parts)}"


def _per_turn(result: PolicyResult) -> str:
    median = "" if result.turn_p50_s is None else f", {seconds(result.turn_p50_s)} a turn at the median"
    return f"{result.name}: {significant(result.turns or 0)} turns an episode{median}"
