"""A benchmark in parts: each measured by itself, its rows written as they come, the others' left as they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from main import RESULTS, machine
from prentice.runs import write_atomic

Row = dict[str, Any]


class MissingDataError(Exception):
    """A part needs data that are not here; says which, and where they come from."""


def measure(file: str, parts: Mapping[str, Callable[[], list[Row]]]) -> None:
    """Measure the parts that the command line names, or all; a part whose data are missing is left out.

    Args:
        file: in benchmarks/results.
    """
    wanted = sys.argv[1:] or list(parts)
    if unknown := [name for name in wanted if name not in parts]:
        sys.exit(f"no part named {unknown[0]!r}; known: {', '.join(parts)}")
    for name in wanted:
        print(f"\n== {name}", flush=True)
        try:
            _write(file, name, parts[name]())
        except MissingDataError as error:
            print(f"left out: {error}", flush=True)


def _write(file: str, part: str, rows: list[Row]) -> None:
    path = RESULTS / file
    known: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    kept = [row for row in known if row["part"] != part]
    command = f"python benchmarks/{Path(sys.argv[0]).name} {part}"
    rows = [{**row, "part": part, "command": command, "machine": machine()} for row in rows]
    write_atomic(path, json.dumps({"machine": machine(), "rows": [*kept, *rows]}, indent=1) + "\n")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"  ({row['ratio']:.2f} times the rival's)"
        Console(width=110).print(f"{row['name']}: {row['ours']:.4g} {row['unit']}{ratio}", highlight=False)
