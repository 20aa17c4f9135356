"""The table of docs/results.md, from benchmarks/results/tasks.json: `python benchmarks/tasks_table.py`."""

from __future__ import annotations

import json
from typing import Any

from main import RESULTS
from prentice.models.prices import find_price, price_list

Row = dict[str, Any]
HOSTED = ("anthropic", "claude-haiku-4-5")
"""Whose price the column of hosted prices takes."""
NEXT_CALL = "_next_call_"
CALLERS = {"student": "student", "base": "base", "frequent": "most frequent call"}
HEAD = "| part | policy | success | cases | latency p50, s | CPU-s a case | CPU-s per success | hosted, $ per 1 000 |"


def table(rows: list[Row]) -> str:
    """A line a policy of each report, an arm, and a policy that is asked for next calls."""
    price = find_price(*HOSTED)
    assert price is not None
    lines = [HEAD, "|---" * 8 + "|"]
    for row in rows:
        if "policy" in row:
            tokens = (row["input_tokens"], row["output_tokens"])
            is_model = None not in tokens and row["processing_s"] is not None
            is_hosted = is_model and row["policy"] == "teacher"
            dollars = 1000 * (tokens[0] * price.input_usd + tokens[1] * price.output_usd) / 1e6 if is_hosted else None
            timed = (_number(row["latency_p50_s"]), _number(row["processing_s"]), _number(row["cost_per_success"]))
            told = [row["policy"], _share(row), f"{row['n']}", *(timed if is_model else ("–", "–", "–"))]
            lines.append(_line([_where(row), *told, _number(dollars)]))
        elif "arm" in row and row["budget"].startswith("equal supervised"):
            told = [f"student of {row['arm']} rows, {row['seeds']} seeds", _share(row), f"{row['n'] // row['seeds']}"]
            lines.append(_line([row["part"], *told, "–", "–", "–", "–"]))
        elif NEXT_CALL in row["name"]:
            who = CALLERS[row["name"].partition(NEXT_CALL)[2]]
            lines.append(_line([f"{row['part']}, next calls", who, _share(row), f"{row['n']}", "–", "–", "–", "–"]))
    day = price.as_of.isoformat() if price.as_of else "today"
    note = (
        f"Hosted: what the teacher's tokens of 1 000 cases cost at {'/'.join(HOSTED)} ({price_list()}, "
        f"the prices of {day}), were no prompt cached and were a hosted model as wordy as this one; nobody hosts the "
        "students. A line is measured by `python benchmarks/tasks.py PART`."
    )
    return "\n".join([*lines, "", note])


def _where(row: Row) -> str:
    """The part, and which of its reports where it has several: "babyai, unseen"."""
    part, task = row["part"], row["task"]
    return f"{part}, {task.removeprefix(f'{part}_')}" if task.startswith(f"{part}_") else part


def _share(row: Row) -> str:
    low, high = row["interval"]
    return f"{100 * row['ours']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(json.loads((RESULTS / "tasks.json").read_text(encoding="utf-8"))["rows"]))
