"""What a probe of a student's readiness has found, in the terminal; fits 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prentice.evaluation.wording import count, percent, seconds

if TYPE_CHECKING:
    from prentice.records.reports import Interval
    from prentice.training.grpo.probe import Probe

COLOURS = {"go": "bold green", "warm up": "bold yellow", "stop": "bold red"}


def print_probe(probe: Probe, console: Console, command: str) -> None:
    """The table, then the advice; last the next step.

    Args:
        command: that trains.
    """
    table = Table("", "found", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _rows(probe):
        table.add_row(name, value)
    console.print(table)
    console.print(Text.assemble("\n", (probe.advice, COLOURS[probe.advice]), f": {probe.reason}"))
    if probe.advice == "go":
        console.print(command, soft_wrap=True)


def _rows(probe: Probe) -> list[tuple[str, str]]:
    config, failed = probe.config, f", {count(probe.failed)} failed" if probe.failed else ""
    success = [("success", _share(probe.success))] if probe.success is not None else []
    return [
        ("played", f"{count(len(probe.groups))} cases, {config.group} tries each{failed}"),
        *success,
        ("mean reward", f"{probe.reward:.3g}"),
        ("groups with different rewards", _share(probe.varied)),
        ("a try", f"{probe.turns:.1f} turns, {probe.drawn:.0f} tokens drawn, {probe.read:.0f} read"),
        ("a try takes", f"{seconds(probe.pace.play)}, {config.slots} at once"),
        ("a round of play", f"{seconds(probe.play_seconds)}: {config.batch} cases, the server's start included"),
        ("learning from it", seconds(probe.update_seconds)),
        ("the whole run", f"{count(config.iterations(probe.cases))} rounds, {probe.hours:.1f} hours"),
    ]


def _share(interval: Interval) -> str:
    return f"{percent(interval.value)} [{percent(interval.low)}, {percent(interval.high)}]"
