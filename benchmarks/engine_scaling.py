"""How speed and memory follow the number of rows and their length: tokens a second should stay as they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import engine_rows
from engine_race import ours_job
from engine_rows import BATCH, Workload
from engine_tokens import checked
from engine_workers import Answer, ask_once
from main import RESULTS
from prentice.evaluation.plots import COLOURS, PAPER, STYLE
from prentice.runs import write_atomic
from side_by_side import quiet_or_exit

COUNTS, SHORT = (100, 1_000, 10_000), 30
LENGTHS, STEP_TOKENS = (128, 512, 2_048), 4_096
SHORT_STEPS, LONG_STEPS = 12, 4
"""Optimizer steps of a run, the first of which is not measured."""
GIB = 2**30
DRAWN = ("tokens_per_s", "peak_gib")
Row = dict[str, Any]


def scaling_rows() -> list[Row]:
    """One run for each number of rows and for each length; the plot lies beside the results."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        by_count = [
            _measured(f"scaling_{n}_rows", engine_rows.of_length(n, SHORT, place / str(n)), SHORT_STEPS) for n in COUNTS
        ]
        by_length = [
            _measured(
                f"scaling_{n}_tokens",
                engine_rows.of_length(
                    STEP_TOKENS // n * LONG_STEPS, n, place / f"of-{n}", min(BATCH, STEP_TOKENS // n)
                ),
                LONG_STEPS,
            )
            for n in LENGTHS
        ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_atomic(RESULTS / "engine-scaling.svg", drawn(by_count, by_length))
    return [*by_count, *by_length, _flat("rows", by_count), _flat("length", by_length)]


def _measured(name: str, workload: Workload, steps: int) -> Row:
    quiet_or_exit()
    per_epoch = -(-len(workload.examples) // workload.batch)
    answer = ask_once("engine_ours.py", ours_job(workload) | {"skip": 1, "epochs": steps / per_epoch})
    rows = checked(workload)
    mean = sum(len(r.row.tokens) for r in rows) / len(rows)
    print(f"  {name}: {_tokens_per_s(answer):.0f} tokens/s", flush=True)
    return {
        "name": name,
        "ours": answer["rows"] / answer["seconds"],
        "rival": None,
        "ratio": None,
        "unit": "rows/s",
        "n": answer["rows"],
        "rows": len(rows),
        "tokens_per_row": round(mean, 1),
        "tokens_per_s": _tokens_per_s(answer),
        "peak_gib": max(answer["peak_bytes"], answer["before_bytes"]) / GIB,
        "note": (
            f"{len(rows):,} {workload.what} of {mean:.0f} tokens, nothing shared, {workload.batch} rows a step; "
            f"{answer['steps']} steps measured, {_tokens_per_s(answer):.0f} tokens/s, whole process's peak "
            f"{max(answer['peak_bytes'], answer['before_bytes']) / GIB:.2f} GiB"
        ),
    }


def _tokens_per_s(answer: Answer) -> float:
    return float(answer["positions"] / answer["seconds"])


def _flat(over: str, rows: Sequence[Row]) -> Row:
    speeds = [row["tokens_per_s"] for row in rows]
    return {
        "name": f"scaling_flatness_over_{over}",
        "ours": min(speeds) / max(speeds),
        "rival": None,
        "ratio": None,
        "unit": "share",
        "n": len(rows),
        "note": "slowest tokens per second over the fastest: 1 is flat",
    }


def drawn(by_count: Sequence[Row], by_length: Sequence[Row]) -> str:
    """Tokens a second above, peak memory below, as one SVG document; equal rows give equal text."""
    from matplotlib import rc_context  # noqa: PLC0415 - loads slowly, and a race needs none of it
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = (("rows of 30 tokens", "rows", by_count), ("tokens a row", "tokens_per_row", by_length))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.2), layout="constrained", facecolor=PAPER)
        grid = figure.subplots(2, 2, sharex="col", sharey="row")
        for (above, below), (over, place, rows) in zip(grid.T, columns, strict=True):
            for axes, what in zip((above, below), DRAWN, strict=True):
                _line(axes, rows, place, what)
            below.set_xlabel(over)
        for axes, label, what in zip(grid[:, 0], ("tokens per second", "peak memory, GiB"), DRAWN, strict=True):
            axes.set_ylabel(label)
            axes.set_ylim(0, 1.1 * max(row[what] for row in (*by_count, *by_length)))  # both columns share it
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return text.getvalue()


def _line(axes: Any, rows: Sequence[Row], over: str, what: str) -> None:
    axes.plot([row[over] for row in rows], [row[what] for row in rows], marker="o", color=COLOURS["student"])
    axes.set_xscale("log")
    axes.set_xticks([row[over] for row in rows], [f"{round(row[over]):,}" for row in rows])
    axes.minorticks_off()
