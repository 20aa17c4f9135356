"""An ablation's plot as SVG text: arms as points with intervals, or success against rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from prentice.evaluation.ablation import Ablation, ArmResult
from prentice.evaluation.plots import COLOURS, INK, MUTED, PAPER, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = ("o", "D", "s")
"""One a table."""
WIDTH = 6.4


def plot(ablation: Ablation) -> str:
    """The plot that fits the kind of ablation, as one SVG document on white."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    arms = len(ablation.tables[0].arms)
    height = 4.0 if ablation.kind == "sizes" else 1.6 + 0.5 * arms
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)
        axes = figure.add_subplot(facecolor=PAPER)
        (_sizes if ablation.kind == "sizes" else _arms)(axes, ablation)
        axes.tick_params(which="both", length=0)
        axes.spines["left"].set_visible(False)
        drawn = io.StringIO()
        # no date and no metadata: equal results give equal files
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return drawn.getvalue()


def _arms(axes: Axes, ablation: Ablation) -> None:
    names = [arm.name for arm in ablation.tables[0].arms]
    for number, table in enumerate(ablation.tables):
        offset = 0.3 * (number / (len(ablation.tables) - 1) - 0.5) if len(ablation.tables) > 1 else 0.0
        shown = [(place + offset, arm) for place, arm in enumerate(table.arms) if arm.success is not None]
        for place, arm in shown:
            _seeds(axes, [100 * value for value in arm.seeds], [place] * len(arm.seeds))
        axes.errorbar(
            [_value(arm) for _, arm in shown],
            [place for place, _ in shown],
            xerr=[[_below(arm) for _, arm in shown], [_above(arm) for _, arm in shown]],
            fmt=MARKS[number % len(MARKS)],
            color=COLOURS["student"] if number == 0 else INK,
            markerfacecolor=COLOURS["student"] if number == 0 else PAPER,
            label=table.title,
        )
    for place, arm in enumerate(ablation.tables[0].arms):
        if arm.left_out:
            axes.annotate("left out", (0.01, place), xycoords=("axes fraction", "data"), color=MUTED, va="center")
    for name, value in ablation.references.items():
        axes.axvline(100 * value, color=COLOURS.get(name, MUTED), linestyle="--", label=name)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"{ablation.metric} on {ablation.cases:,} held-out cases, %, with 95 % intervals")
    _legend(axes)


def _sizes(axes: Axes, ablation: Ablation) -> None:
    (table,) = ablation.tables
    shown = [arm for arm in table.arms if arm.success is not None]
    rows = [float(arm.name) for arm in shown]
    for place, arm in zip(rows, shown, strict=True):
        _seeds(axes, [place] * len(arm.seeds), [100 * value for value in arm.seeds])
    colour = COLOURS["student"]
    axes.fill_between(
        rows,
        [_value(arm) - _below(arm) for arm in shown],
        [_value(arm) + _above(arm) for arm in shown],
        color=colour,
        alpha=0.18,
        linewidth=0,
    )
    axes.plot(rows, [_value(arm) for arm in shown], color=colour, marker="o", label="student")
    for name, value in ablation.references.items():
        axes.axhline(100 * value, color=COLOURS.get(name, MUTED), linestyle="--", label=name)
    axes.set_xscale("log")
    axes.set_xticks(rows, [f"{int(each):,}" for each in rows])
    axes.minorticks_off()
    axes.set_xlabel("curated rows to train on")
    axes.set_ylabel(f"{ablation.metric} on {ablation.cases:,} held-out cases, %")
    axes.set_ylim(bottom=0)
    _legend(axes)


def _seeds(axes: Axes, x: list[float], y: list[float]) -> None:
    axes.scatter(x, y, s=12, color=MUTED, alpha=0.6, linewidths=0, zorder=3)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _value(arm: ArmResult) -> float:
    return 100 * arm.success.value if arm.success else 0.0


def _below(arm: ArmResult) -> float:
    return 100 * (arm.success.value - arm.success.low) if arm.success else 0.0


def _above(arm: ArmResult) -> float:
    return 100 * (arm.success.high - arm.success.value) if arm.success else 0.0
