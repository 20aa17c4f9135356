"""An ablation for people: a table in the terminal that fits 100 columns, the same as Markdown for a page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from prentice.evaluation.ablation import Ablation, ArmResult, Table
from prentice.records import Interval

HEADS = {"curation": "trained on", "sizes": "rows asked", "stages": "trained by", "play": "plays from"}
NUMBERS = slice(1, 4)
"""The columns that are numbers alone."""


def columns(ablation: Ablation, table: Table) -> tuple[str, ...]:
    """What stands above the cells."""
    other = table.reference + (" rows" if ablation.kind == "sizes" else "")
    return (HEADS[ablation.kind], "rows", "seen", "tokens", "success", "by seed", f"points to {other}")


def cells(arm: ArmResult) -> tuple[str, ...]:
    """One row of the table, as text."""
    if not arm.students:
        return (arm.name, "–", "–", "–", "left out" if arm.left_out else "not yet", "", "")
    students = list(arm.students.values())
    return (
        arm.name,
        _mean([s.rows for s in students]),
        _mean([s.visits for s in students]),
        _mean([s.tokens for s in students]),
        percent(arm.success),
        " ".join(f"{100 * value:.1f}" for value in arm.seeds),
        _points(arm.difference),
    )


def heading(ablation: Ablation, table: Table) -> str:
    """What a table shows."""
    return f"{ablation.task}, {table.title}: {ablation.metric} on {ablation.cases:,} held-out cases"


def notes(ablation: Ablation) -> list[str]:
    """What to know beside the tables."""
    reasons = {arm.name: arm.left_out for table in ablation.tables for arm in table.arms if arm.left_out}
    alone = all(len(arm.students) < 2 for table in ablation.tables for arm in table.arms)
    others = ", ".join(f"{name} {100 * value:.1f} %" for name, value in ablation.references.items())
    return [
        *ablation.notes,
        *(f"left out: {name}: {reason}" for name, reason in reasons.items()),
        *([f"on the same cases: {others}"] if others else []),
        *(["one student an arm: the intervals speak for these students alone"] if alone else []),
        f"rows: to train on; seen: rows over all epochs; tokens: supervised, over all epochs{_counted(ablation)}; "
        "95 % intervals over seeds and cases",
    ]


def _counted(ablation: Ablation) -> str:
    return "; of several methods the last one's" if ablation.kind == "stages" else ""


def terminal_view(ablation: Ablation) -> RenderableType:
    """Tables and notes, as something rich can print."""
    parts: list[RenderableType] = []
    for table in ablation.tables:
        parts += [_rich(ablation, table), Text()]
    return Group(*parts, *(Text(note, style="dim", overflow="fold") for note in notes(ablation)))


def markdown(ablation: Ablation) -> str:
    """The same as Markdown."""
    lines: list[str] = []
    for table in ablation.tables:
        heads = columns(ablation, table)
        lines += [f"### {heading(ablation, table)}", "", _line(heads), "|---" * len(heads) + "|"]
        lines += [*(_line(cells(arm)) for arm in table.arms), ""]
    return "\n".join([*lines, *(f"- {note}" for note in notes(ablation))]) + "\n"


def percent(interval: Interval | None) -> str:
    """A share with its interval, in percent."""
    if interval is None:
        return ""
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _rich(ablation: Ablation, table: Table) -> RichTable:
    title = Text(heading(ablation, table), style="bold")
    shown = RichTable(title=title, title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    heads = columns(ablation, table)
    for name in heads:
        shown.add_column(name, justify="right" if name in heads[NUMBERS] else "left", no_wrap=name != "by seed")
    for arm in table.arms:
        shown.add_row(*map(Text, cells(arm)), style="bold" if arm.name == table.reference else "")
    return shown


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):,.0f}"


def _points(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
