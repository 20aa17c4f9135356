"""The measured claims of environments, rollouts and store, by `make bench-environments`.

Rows go to benchmarks/results/environments.json.
Parts are measured one after the other and written as they come; `python benchmarks/environments.py PART …` measures
some of them anew and leaves the others' rows as they are. Times need a quiet machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from environments_babyai import babyai_rows
from environments_providers import provider_rows
from environments_rollouts import rollout_rows, soak_rows
from environments_store import store_rows
from main import RESULTS, machine
from prentice.runs import write_atomic

COMMAND = "make bench-environments"
FILE = RESULTS / "environments.json"

Row = dict[str, Any]


def _store_rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        return store_rows(Path(scratch), million=True)


PARTS: dict[str, Callable[[], list[Row]]] = {
    "rollouts": rollout_rows,
    "providers": provider_rows,
    "store": _store_rows,
    "kills": soak_rows,
    "babyai": babyai_rows,
}


def main() -> None:
    """Measure the parts that were named, or all."""
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        sys.exit(f"no part named {unknown[0]!r}; known: {', '.join(PARTS)}")
    for name in wanted:
        print(f"\n== {name}", flush=True)
        _write(name, PARTS[name]())


def _write(part: str, rows: list[Row]) -> None:
    known: list[Row] = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []
    kept = [row for row in known if row["part"] != part]
    rows = [{**row, "part": part, "command": f"{COMMAND} ({part})", "machine": machine()} for row in rows]
    write_atomic(FILE, json.dumps({"machine": machine(), "rows": [*kept, *rows]}, indent=1) + "\n")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"  ({row['ratio']:.2f} times the rival's)"
        Console(width=110).print(f"{row['name']}: {row['ours']:.4g} {row['unit']}{ratio}", highlight=False)


if __name__ == "__main__":
    main()
