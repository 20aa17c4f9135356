"""The measured claims of "your own task, your own logs, your own people", by `make bench-yours`.

Rows go to benchmarks/results/yours.json.
Parts are measured one after the other and written as they come; `python benchmarks/yours.py PART …` measures some of
them anew and leaves the others' rows as they are. Times need a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parts import measure
from yours_import import import_rows
from yours_privacy import privacy_rows
from yours_record import record_rows
from yours_record_soak import soak_rows
from yours_task import task_rows

Row = dict[str, Any]
PARTS: dict[str, Callable[[], list[Row]]] = {
    "record": record_rows,
    "import": import_rows,
    "privacy": privacy_rows,
    "soak": soak_rows,
    "task": task_rows,
}

if __name__ == "__main__":
    measure("yours.json", PARTS)
