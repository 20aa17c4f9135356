"""The measured claims of environments, rollouts and store, by `make bench-environments`.

Rows go to benchmarks/results/environments.json.
Parts are measured one after the other and written as they come; `python benchmarks/environments.py PART …` measures
some of them anew and leaves the others' rows as they are. Times need a quiet machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments_babyai import babyai_rows
from environments_providers import provider_rows
from environments_rollouts import rollout_rows, soak_rows
from environments_store import store_rows
from parts import measure

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


if __name__ == "__main__":
    measure("environments.json", PARTS)
