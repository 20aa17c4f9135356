"""The measured claims about the study's tasks, by `make bench-tasks`: entities, agentic retrieval, customer service.

Rows go to benchmarks/results/tasks.json. Parts are measured one after the other and written as they come;
`python benchmarks/tasks.py PART …` measures some of them anew. Times need a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tasks_retail
from parts import measure

Row = dict[str, Any]
PARTS: dict[str, Callable[[], list[Row]]] = {"retail_gold": tasks_retail.gold_rows}

if __name__ == "__main__":
    measure("bench-tasks", "tasks.json", PARTS)
