"""A report in the terminal: a table, what to know beside it, and the verdict in words; fits 100 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from prentice.evaluation.wording import TITLES, count, headline, measure_rows, notes, row
from prentice.records import PolicyResult, Report

COLOURS = {"promote": "green", "hold": "red", "more data": "yellow"}
SIGNS = {"met": ("✓", "green"), "not met": ("✗", "red"), "undecided": ("?", "yellow"), "not judged": ("–", "yellow")}
STUDENT = "student"


def terminal_table(report: Report) -> RenderableType:
    """The report as something rich can print."""
    said = [f"{r.name} = {r.policy}" for r in report.results if r.policy != r.name] + notes(report)
    lines = [Text(line, style="dim", overflow="fold") for line in said]
    return Group(_table(report), *_measures(report), Text(), *lines, *([Text()] if lines else []), _verdict(report))


def _table(report: Report) -> Table:
    measured = f" · {count(report.cases)} cases of the {report.split} split · 95 % intervals"
    title = Text.assemble((report.task, "bold"), measured, "\n")
    table = Table(title=title, title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("policy", min_width=8, overflow="fold")
    table.add_column("success", no_wrap=True)
    table.add_column("points to teacher", no_wrap=True)
    table.add_column("tokens\nin / out", justify="right", no_wrap=True)
    table.add_column("latency\np50", justify="right", no_wrap=True)
    table.add_column("\np95", justify="right", no_wrap=True)
    table.add_column("cost per\nsuccess", justify="right", no_wrap=True)
    for result in report.results:
        table.add_row(*_cells(result), style="bold" if result.name == STUDENT else "")
    return table


def _measures(report: Report) -> list[RenderableType]:
    """What the task measures beside success; nothing where there is no such thing."""
    rows = measure_rows(report)
    if not rows:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("per cent", overflow="fold")
    for result in report.results:
        table.add_column(result.name, overflow="fold", min_width=len("61.2 [58, 64]"))
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    return [Text(), table]


def _cells(result: PolicyResult) -> list[Text]:
    cells = row(result)
    shown = (cells.name, cells.success, cells.difference, cells.tokens, cells.p50, cells.p95, cells.cost)
    return [Text(text) for text in shown]


def _verdict(report: Report) -> Panel:
    if report.verdict is None:
        return Panel(Text(headline(report)), title="No verdict", title_align="left", border_style="dim")
    lines = [_reason(reason) for reason in report.verdict.reasons]
    colour = COLOURS[report.verdict.answer]
    title = Text(TITLES[report.verdict.answer], style=f"bold {colour}")
    return Panel(
        Group(Text(headline(report)), *lines), title=title, title_align="left", border_style=colour, padding=(0, 1)
    )


def _reason(reason: str) -> Table:
    """A grid, so that a wrapped line stays behind its sign."""
    state, _, text = reason.partition(": ")
    sign, colour = SIGNS.get(state, ("→", "yellow"))
    line = Table.grid(padding=(0, 1))
    shown = text if state == "met" else f"{state}: {text}"
    line.add_row(Text(sign, style=colour), Text(shown))
    return line
