"""Bringing logs in: the import rows of benchmarks/results/yours.json.

The real conversations lie in the folder that PRENTICE_DATA names. At size they are repeated with other ids and other
texts, so that no episode equals another. Every import runs in a process of its own, as the command does.

`python benchmarks/yours_import.py import LOG STORE PROCESSES` is one such process; without arguments, all is measured.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prentice.records.importing import Rejected
from prentice.records.importing.storing import import_logs
from prentice.records.store import Store

Row = dict[str, Any]
MEGABYTES = 1_000
PROCESSES = 2
RUNS = 3
DAMAGED = 0.05
_COPIES = 20
"""Of the conversations, in the file of which some lines are damaged."""


def import_rows(megabytes: int = MEGABYTES) -> list[Row]:
    """Measure; a tenth of `megabytes` is imported too, to see whether memory grows."""
    log = Path(os.environ["PRENTICE_DATA"]) / "llm_logs_openai.jsonl"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = _import(log, folder / "real.db", 0)
        rows = [
            _row("import_episodes", real["episodes"], unit="episodes", n=76),
            _row("import_tool_calls", real["tool_calls"], unit="tool calls", n=76),
            _row("import_rewards", real["successes"], unit="rewards of 1", n=76),
            _damaged_row(log, folder),
        ]
        small, large = folder / "small.jsonl", folder / "large.jsonl"
        _repeat(log, small, megabytes // 10)
        _repeat(log, large, megabytes)
        before = _import(small, folder / "small.db", PROCESSES)
        runs = []
        for number in range(RUNS):
            runs.append(_import(large, folder / f"{number}.db", PROCESSES))
            (folder / f"{number}.db").unlink()
    whole = sorted(runs, key=lambda run: run["seconds"])[RUNS // 2]
    cpu = whole["cpu_s"]
    note = f"median; {PROCESSES} processes beside the one that writes; {cpu:.0f} CPU-s, {megabytes / cpu:.1f} MB/CPU-s"
    rates = [megabytes / run["seconds"] for run in runs]
    row = _row("import_mb_per_s", megabytes / whole["seconds"], unit="MB/s", n=whole["episodes"], note=note)
    rows.append(row | {"all": [round(rate, 1) for rate in rates]})
    note = f"all processes, upper bound; for a tenth of the log {before['mb']:.0f} MB"
    rows.append(_row("import_peak_mb", whole["mb"], unit="MB of memory", n=whole["episodes"], note=note))
    return rows


def _row(name: str, ours: float, **more: Any) -> Row:
    return {"name": name, "ours": ours, "rival": None, "ratio": None, **more}


def _import(log: Path, store: Path, processes: int) -> dict[str, float]:
    command = [sys.executable, __file__, "import", str(log), str(store), str(processes)]
    figures: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return figures


def _measure(log: Path, place: Path, processes: int) -> dict[str, float]:
    begun = time.perf_counter()
    with Store.open(place) as store:
        result = import_logs([log], store, processes=processes)
    seconds = time.perf_counter() - begun
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": seconds,
        "cpu_s": sum(each.ru_utime + each.ru_stime for each in used),
        # of the children the kernel keeps only the largest
        "mb": _peak_mb() + processes * used[1].ru_maxrss / 1024,
        "episodes": result.new,
        "tool_calls": result.tool_calls,
        "successes": result.successes,
    }


def _peak_mb() -> float:
    # not getrusage: its figure begins with what the parent held
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else float("nan")


def _repeat(log: Path, path: Path, megabytes: int) -> None:
    """Write the conversations again and again, each time with other ids and other words of users and tools."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    written = copy = 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            row = rows[copy % len(rows)]
            said = [
                {**message, "content": f"{message['content']} [{copy}]"}
                if message["role"] in {"user", "tool"}
                else message
                for message in row["messages"]
            ]
            written += file.write(json.dumps({**row, "id": f"{row['id']}-{copy}", "messages": said}) + "\n")
            copy += 1


def _damaged_row(log: Path, folder: Path) -> Row:
    """Good lines that did not come in, and bad ones that were not named, of a copy with damaged lines."""
    dice = random.Random(0)
    _repeat(log, folder / "copies.jsonl", _COPIES * log.stat().st_size // 1_000_000)
    lines = (folder / "copies.jsonl").read_bytes().splitlines()
    bad = sorted(dice.sample(range(len(lines)), int(len(lines) * DAMAGED)))
    for place, number in enumerate(bad):
        lines[number] = _damaged(lines[number], place % 8, dice)
    path = folder / "damaged.jsonl"
    path.write_bytes(b"\n".join(lines))
    told = list[Rejected]()
    with Store.open(folder / "damaged.db") as store:
        import_logs([path], store, refuse=told.append)
        stored = {episode.case for episode in store.episodes()}
    good = {json.loads(line)["id"] for number, line in enumerate(lines) if number not in set(bad)}
    missed = len(good - stored) + len({number + 1 for number in bad} - {each.line for each in told})
    return _row("import_damaged_missed", missed, unit="lines", n=len(lines), note=f"{len(bad)} damaged, in 8 ways")


def _damaged(line: bytes, kind: int, dice: random.Random) -> bytes:
    row = json.loads(line)
    said = row["messages"]
    if kind == 0:
        return line[: dice.randrange(1, len(line) - 1)]
    if kind == 1:
        place = dice.randrange(10, len(line) - 10)
        return line[:place] + b"\xff" + line[place:]
    if kind == 2:
        return line.replace(b'"content"', b'"cont\x00ent"', 1)
    if kind == 3:
        said[dice.randrange(len(said))]["role"] = "robot"
    elif kind == 4:
        said.insert(1, {"role": "tool", "tool_call_id": "gone", "content": "7"})
    elif kind == 5:
        said.insert(1, {"role": "assistant", "tool_calls": [{"id": "k", "function": {"name": "f"}}]})
    elif kind == 6:
        row["messages"] = said[:1]
    else:
        row["metadata"]["reward"] = "NaN"
    return json.dumps(row).encode()


def main() -> None:
    """Measure and print, or be one of the imports."""
    if sys.argv[1:2] == ["import"]:
        print(json.dumps(_measure(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        print(json.dumps(import_rows(int(sys.argv[1]) if sys.argv[1:] else MEGABYTES), indent=1))


if __name__ == "__main__":
    main()
