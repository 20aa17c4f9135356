"""The store at size: rows of benchmarks/results/environments.json.

Every import runs in a process of its own, through `Store.add`, episodes being made as they are stored. The rival is
what one would write by hand: each episode as one JSON text in an SQLite table, found again by nothing but its id.

`python benchmarks/environments_store.py import|rival FILE NUMBER` is one such process.
"""

from __future__ import annotations

import json
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from many_episodes import made_episodes
from prentice.records import Episode
from prentice.records.filters import Filter
from prentice.records.store import Store

Row = dict[str, Any]
SMALL, LARGE = 100_000, 1_000_000
FILTERS = (
    ("success=true", "steps<10"),
    ("tag.level=GoToObj", "ending=solved"),
    ("tag.shard=7",),
    ("task=made", "split=train"),
    ("failure=any",),
    ("run=run-3", "return>=0.5"),
)
"""A list of 20 and a count are asked for by each."""


def store_rows(scratch: Path, *, million: bool) -> list[Row]:
    """Measure; `million` adds the import of 1 000 000 (some ten minutes, some 6 GB of disk while it runs)."""
    file = scratch / "store.db"
    ours, rival = _import("import", file, SMALL), _import("rival", scratch / "rival.db", SMALL)
    note = "rival: each episode as one JSON text in an SQLite table, without anything to find it by"
    rows = [
        _row("store_import_s", ours["seconds"], rival["seconds"], unit="s", n=SMALL, note=note),
        _row("store_import_mb", ours["mb"], rival["mb"], unit="MB of memory", n=SMALL, note=note),
        _row("store_file_mb", file.stat().st_size / 1e6, _size(scratch / "rival.db"), unit="MB of disk", n=SMALL),
        _row(
            "store_filter_s", _slowest_list(file), unit="s", n=SMALL, note=f"slowest of {len(FILTERS)}, list and count"
        ),
    ]
    for path in scratch.iterdir():
        path.unlink()
    if million:
        whole = _import("import", file, LARGE)
        ratio = (whole["seconds"] / LARGE) / (whole["seconds_small"] / SMALL)
        note = f"{whole['seconds']:.0f} s, {whole['mb']:.0f} MB of memory, {_size(file) / 1e3:.1f} GB of disk"
        rows.append(_row("store_million_linear", ratio, unit="time an episode, 10⁶ ÷ 10⁵", n=LARGE, note=note))
        rows.append(_row("store_million_filter_s", _slowest_list(file), unit="s", n=LARGE))
        for path in scratch.iterdir():
            path.unlink()
    return rows


def _row(name: str, ours: float, rival: float | None = None, **more: Any) -> Row:
    return {"name": name, "ours": ours, "rival": rival, "ratio": None if rival is None else rival / ours, **more}


def _size(file: Path) -> float:
    return file.stat().st_size / 1e6


def _import(kind: str, file: Path, number: int) -> dict[str, float]:
    command = [sys.executable, __file__, kind, str(file), str(number)]
    figures: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return figures


def _slowest_list(file: Path) -> float:
    """Seconds of the slowest of the filters, each the median of five."""
    with Store.open(file) as store:
        return max(statistics.median(_list_seconds(store, texts) for _ in range(5)) for texts in FILTERS)


def _list_seconds(store: Store, texts: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    wanted = Filter.parse(texts)
    store.summaries(wanted, limit=20)
    store.count(wanted)
    return time.perf_counter() - begun


def _measure(kind: str, file: Path, number: int) -> dict[str, float]:
    """Import here; seconds at the hundred thousandth and at the last, and the most memory held."""
    begun = time.perf_counter()
    marks = {}

    def marked() -> Iterator[Episode]:
        for position, episode in enumerate(made_episodes(number)):
            if position == SMALL:
                marks["seconds_small"] = time.perf_counter() - begun
            yield episode

    if kind == "rival":
        _add_as_json(file, marked())
    else:
        with Store.open(file) as store:
            store.add(marked())
    seconds = time.perf_counter() - begun
    return {"seconds_small": seconds, **marks, "seconds": seconds, "mb": _peak_mb()}


def _add_as_json(file: Path, episodes: Iterator[Episode]) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute("PRAGMA synchronous=NORMAL").close()
        connection.execute("CREATE TABLE episodes (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
        while batch := list(islice(episodes, 256)):
            rows = [(episode.id, episode.model_dump_json()) for episode in batch]
            connection.executemany("INSERT OR IGNORE INTO episodes VALUES (?, ?)", rows)
            connection.commit()


def _peak_mb() -> float:
    # not getrusage: its figure begins with what the parent held
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
