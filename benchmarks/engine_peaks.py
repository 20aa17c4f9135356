"""Peak memory of the processes that train the four workloads, each in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import engine_rows
from engine_race import CHARACTERS, CONVERSATIONS, ROWS, ours_job
from engine_rows import Workload
from engine_sweep import Way, swept, trl_job
from engine_tokens import checked, per_row
from engine_workers import Answer, ask_once

GIB = 2**30
Row = dict[str, Any]


def peak_rows() -> list[Row]:
    """TRL's peak over ours; the least of the four ratios is the figure."""
    with TemporaryDirectory() as folder:
        workloads = [
            engine_rows.ner(ROWS),
            engine_rows.babyai(ROWS),
            engine_rows.history(CONVERSATIONS, CHARACTERS),
            engine_rows.unshared(ROWS, Path(folder) / "base"),
        ]
        found = {workload.name: _both(workload) for workload in workloads}
    worst = min(found, key=lambda name: _peak(found[name][1]) / _peak(found[name][0]))
    ours, theirs, _ = found[worst]
    return [
        {
            "name": "sft_peak_memory",
            "ours": _peak(ours) / GIB,
            "rival": _peak(theirs) / GIB,
            "ratio": _peak(theirs) / _peak(ours),
            "unit": "GiB",
            "n": len(found),
            "note": (
                f"the worst of the four workloads, {worst}; the whole process's most resident memory, TRL in its "
                f"fastest way; " + "; ".join(_words(name, *answers) for name, answers in found.items())
            ),
        }
    ]


def _both(workload: Workload) -> tuple[Answer, Answer, Answer]:
    """Ours, TRL in its fastest way, TRL with one row at once, which is its way of least memory."""
    rows, (way, _) = per_row(checked(workload)), swept(f"sft_{workload.name}_rows_per_s")
    least = replace(Way(), head=way.head, micro=1)
    print(f"  {workload.name}", flush=True)
    ours = ask_once("engine_ours.py", ours_job(workload))
    theirs, frugal = (ask_once("engine_trl.py", trl_job(workload.base, rows, w, workload.batch)) for w in (way, least))
    return ours, theirs, frugal


def _peak(answer: Answer) -> int:
    return max(int(answer["peak_bytes"]), int(answer["before_bytes"]))


def _words(name: str, ours: Answer, theirs: Answer, frugal: Answer) -> str:
    def gib(answer: Answer) -> str:
        return (
            f"{_peak(answer) / GIB:.2f} GiB ({answer['loaded_bytes'] / GIB:.2f} once loaded, "
            f"{answer['peak_bytes'] / GIB:.2f} while training)"
        )

    return (
        f"{name}: ours {gib(ours)}, TRL {gib(theirs)}, ratio {_peak(theirs) / _peak(ours):.2f}, "
        f"TRL one row at a time {gib(frugal)}"
    )
