"""The report's plots as SVG text. matplotlib loads on the first plot, without pyplot and its global state."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from prentice.evaluation.wording import MARKS, cost_mark
from prentice.records import PolicyResult, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# the colours of white paper; a page puts its own in their place by these values
INK, MUTED, LINE, PAPER = "#1c2127", "#5b6570", "#d8dde3", "#ffffff"
COLOURS = {"teacher": "#8a4bd0", "base": "#b3630a", "student": "#0b7a5b"}
TRIVIAL = "#7d8792"
VARIABLES = {
    INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper", TRIVIAL: "trivial",
    **{colour: name for name, colour in COLOURS.items()},
}  # fmt: skip
SIZE = (5.0, 3.5)
ALMOST_NOTHING = 1e-3
"""A rule answers in microseconds: below this part of the largest, a figure is not drawn to scale."""
SHORT, LONG = 4, 30
"""Ratios of a logarithmic axis's ends: below the first its powers of ten are too few, above the second enough."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prentice",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "lines.linewidth": 1.8,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
}


def success_cost_plot(report: Report) -> str:
    """Success against cost per success as one SVG document on white, for a README; empty text without any cost."""
    return _draw(report, _success_cost) if _placed(report) else ""


def page_plots(report: Report) -> dict[str, str]:
    """The plots that the report can fill, by name, as SVG elements that take their colours from CSS variables."""
    drawn = {}
    if _placed(report):
        drawn["success_cost"] = _draw(report, _success_cost)
    if _timed(report):
        drawn["latency"] = _draw(report, _latency)
    return {name: _inline(svg, name) for name, svg in drawn.items()}


def _draw(report: Report, plot: Callable[[Axes, Report], None]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained", facecolor=PAPER)
        axes = figure.add_subplot(facecolor=PAPER)
        plot(axes, report)
        axes.tick_params(which="both", length=0)
        axes.spines["left"].set_visible(False)
        drawn = io.StringIO()
        # no date and no metadata: equal reports give equal files
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return drawn.getvalue()


def _inline(svg: str, name: str) -> str:
    """An SVG document as an element of a page: no header, no fixed size, ids of its own, colours from the page."""
    svg = svg[svg.index("<svg") :]
    for size in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", svg, count=1)
    # the figure around it has the words
    svg = svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _placed(report: Report) -> list[PolicyResult]:
    """The results with a place on the cost axis: in its one unit, and not so cheap that they squeeze the rest."""
    unit = _unit(report)
    costs = {r.name: r.cost_per_success or 0.0 for r in report.results if unit is not None and r.cost_unit == unit}
    return [r for r in report.results if costs.get(r.name, 0.0) > ALMOST_NOTHING * max(costs.values(), default=0.0)]


def _unit(report: Report) -> str | None:
    """The student's unit where it has one, else the first found: two units do not share an axis."""
    ordered = sorted(report.results, key=lambda r: r.name != "student")
    return next((r.cost_unit for r in ordered if r.cost_unit is not None and r.cost_per_success), None)


def _colour(result: PolicyResult) -> str:
    # further students are called after their bases
    return COLOURS.get("student" if result.name.startswith("student ") else result.name, TRIVIAL)


def _success_cost(axes: Axes, report: Report) -> None:
    placed = _placed(report)
    for result in placed:
        _point(axes, result)
    axes.set_xscale("log")
    low = min(_cost_ends(r)[0] for r in placed)
    high = max(_cost_ends(r)[1] for r in placed)
    axes.set_xlim(low / 1.6, high * 1.6)
    top = max(r.success.high for r in report.results) * 100
    axes.set_ylim(0, min(100, top * 1.12))
    for result in report.results:
        if result not in placed:
            _level(axes, result, placed, _unit(report))
    unit = {"USD": "dollars", "CPU-s": "CPU-seconds"}[str(_unit(report))]
    axes.set_xlabel(f"cost per success, {unit} (log scale; cheaper is left)")
    axes.set_title("success, %", loc="left", color=MUTED, fontsize=10)
    _number(axes.xaxis, high / low)


def _point(axes: Axes, result: PolicyResult) -> None:
    cost = result.cost_per_success or 0.0
    left, right = _cost_ends(result)
    value, success = result.success.value * 100, result.success
    axes.errorbar(
        [cost],
        [value],
        xerr=[[cost - left], [right - cost]],
        yerr=[[value - success.low * 100], [success.high * 100 - value]],
        fmt="o",
        color=_colour(result),
        markersize=8 if result.name == "student" else 6.5,
        elinewidth=1.4,
        capsize=3,
    )
    axes.annotate(
        result.name + cost_mark(result),
        (cost, value),
        xytext=(9, 7),
        textcoords="offset points",
        color=_colour(result),
        weight="bold" if result.name == "student" else "normal",
    )


def _cost_ends(result: PolicyResult) -> tuple[float, float]:
    """What the ends of the success interval make of the cost per success; an end at 0 has no cost, so it is cut off."""
    cost, success = result.cost_per_success or 0.0, result.success
    right = cost * success.value / success.low if success.low > 0 else cost
    return cost * success.value / success.high, right


def _level(axes: Axes, result: PolicyResult, placed: list[PolicyResult], unit: str | None) -> None:
    """A policy without a place on the cost axis, as a line at its success."""
    value = result.success.value * 100
    axes.axhline(value, color=_colour(result), linewidth=1.2, linestyle=(0, (4, 3)))
    near = [p for p in placed if abs(p.success.value * 100 - value) < axes.get_ylim()[1] / 6]
    middle = math.sqrt(math.prod(axes.get_xlim()))
    left = any((p.cost_per_success or 0.0) > middle for p in near)
    # a point's own name stands above it
    under = any(abs(p.success.value * 100 - value) < axes.get_ylim()[1] / 30 for p in near)
    axes.annotate(
        f"{result.name} ({_why_not_placed(result, unit)})",
        (0.01 if left else 0.99, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, -13 if under else 4),
        textcoords="offset points",
        ha="left" if left else "right",
        color=_colour(result),
    )


def _why_not_placed(result: PolicyResult, unit: str | None) -> str:
    if result.cost_unit is None:
        return "cost unknown"
    if result.successes == 0:
        return "no success"
    return "almost no cost" if result.cost_unit == unit else f"cost in {result.cost_unit}"


def _latency(axes: Axes, report: Report) -> None:
    timed = _timed(report)
    for result in timed:
        values = sorted(v for v in result.latencies_s if v > 0)
        share = [100 * (i + 1) / len(values) for i in range(len(values))]
        axes.step([values[0], *values], [0, *share], where="post", color=_colour(result), linestyle=_line(result))
    axes.set_xscale("log")
    axes.set_ylim(0, 103)
    axes.set_yticks([0, 25, 50, 75, 95])
    axes.set_xlabel("latency per episode, seconds (log scale)")
    axes.set_title("episodes finished, %", loc="left", color=MUTED, fontsize=10)
    low, high = (end(v for r in timed for v in r.latencies_s if v > 0) for end in (min, max))
    _number(axes.xaxis, high / low)
    _legend(axes, timed)


def _timed(report: Report) -> list[PolicyResult]:
    slowest = max((r.latency_p50_s or 0.0 for r in report.results), default=0.0)
    return [r for r in report.results if r.latencies_s and (r.latency_p50_s or 0.0) > ALMOST_NOTHING * slowest]


def _line(result: PolicyResult) -> Literal["-"] | tuple[float, tuple[float, float]]:
    return "-" if result.timing == "measured" else (0, (5, 2))


def _legend(axes: Axes, timed: list[PolicyResult]) -> None:
    """Names in their colours above the plot, where no line can run through them."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_colour(r), linestyle=_line(r)) for r in timed]
    labels = [r.name + MARKS.get(r.timing, "") for r in timed]
    axes.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=min(len(timed), 3), frameon=False,
        handlelength=1.6, columnspacing=1.2, borderaxespad=0.2, labelcolor=[_colour(r) for r in timed],
    )  # fmt: skip


def _number(axis: Axis, ratio: float) -> None:
    """Numbers along a logarithmic axis whose ends have this ratio."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    axis.set_major_formatter(_plain)
    if ratio < SHORT:
        axis.set_major_locator(MaxNLocator(6))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_minor_formatter(_few_minor if ratio < LONG else _nothing)


def _plain(value: float, _: float = 0) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _few_minor(value: float, _: float = 0) -> str:
    """Labels at 2 and 5 between the powers of ten."""
    leading = value / 10 ** math.floor(math.log10(value) + 1e-9)
    return _plain(value) if round(leading, 6) in (2, 5) else ""


def _nothing(value: float, _: float = 0) -> str:
    del value
    return ""
