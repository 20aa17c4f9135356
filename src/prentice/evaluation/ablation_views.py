"""An ablation for people: a table in the terminal, the same as Markdown for a page."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from prentice.evaluation.ablation import Ablation, ArmResult, Table
from prentice.records import Interval

COLUMNS = ("trained on", "rows", "rows seen", "tokens learnt", "success", "by seed", "points to curated", "teacher")


def cells(arm: ArmResult) -> tuple[str, ...]:
    """One row of the table, as text."""
    if arm.left_out or not arm.students:
        return (arm.name, *("–",) * 3, f"left out: {arm.left_out}" if arm.left_out else "not yet", "", "", arm.cost)
    students = list(arm.students.values())
    return (
        arm.name,
        _mean([s.rows for s in students]),
        _mean([s.visits for s in students]),
        _mean([s.tokens for s in students]),
        _percent(arm.success),
        " ".join(f"{100 * value:.1f}" for value in arm.seeds),
        _points(arm.difference),
        arm.cost,
    )


def terminal_view(ablation: Ablation) -> RenderableType:
    """Both tables and the notes, as something rich can print."""
    parts: list[RenderableType] = []
    for table in ablation.tables:
        parts += [_rich(table, heading(ablation, table)), Text()]
    notes = [Text(note, style="dim", overflow="fold") for note in ablation.notes]
    return Group(*parts, *notes)


def markdown(ablation: Ablation) -> str:
    """The same as Markdown."""
    lines: list[str] = []
    for table in ablation.tables:
        lines += [f"### {heading(ablation, table)}", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(cells(arm))} |" for arm in table.arms]
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in ablation.notes)]).rstrip() + "\n"


def heading(ablation: Ablation, table: Table) -> str:
    """What a table shows."""
    held_out = f"{ablation.metric} on {ablation.cases:,} held-out cases"
    return f"{ablation.task}, {table.title}: {held_out}, 95 % intervals over seeds and cases"


def _rich(table: Table, title: str) -> RichTable:
    shown = RichTable(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in COLUMNS:
        shown.add_column(name, justify="right" if name in COLUMNS[1:4] else "left", overflow="fold")
    for arm in table.arms:
        shown.add_row(*(Text(text) for text in cells(arm)))
    return shown


def _mean(values: list[float] | list[int]) -> str:
    return f"{sum(values) / len(values):,.0f}"


def _percent(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
