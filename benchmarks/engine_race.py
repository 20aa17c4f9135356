"""Rows a second of prentice against TRL at its fastest: same rows, base, adapters and steps, in alternating pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import engine_rows
from engine_counts import step_flops
from engine_rows import Workload
from engine_sweep import Sweep, Way, swept, trl_job
from engine_tokens import TokenRow, checked, described, per_conversation, per_row
from engine_workers import Answer, Job, Worker
from prentice.training.shapes import shape_of
from side_by_side import quiet_or_exit

PAIRS = 3
ROWS = 64
"""Two steps: an epoch of them is trained, so that both sides see each row once."""
CONVERSATIONS, CHARACTERS = 4, 5000
Row = dict[str, Any]


@dataclass(frozen=True)
class Rival:
    """TRL on one form of the rows.

    Args:
        name: of the result's row.
        rows: what it trains on.
        batch: of these, per optimizer step.
        form: in words, what one of them is.
    """

    name: str
    rows: list[TokenRow]
    batch: int
    form: str = ""


def ner_rows() -> list[Row]:
    """Extraction: a short instruction, short texts."""
    return _plain(engine_rows.ner(ROWS))


def babyai_rows() -> list[Row]:
    """Turns of a game: a long instruction, short texts."""
    return _plain(engine_rows.babyai(ROWS)) + _plain(engine_rows.babyai(ROWS, "student"))


def unshared_rows() -> list[Row]:
    """Nothing in common."""
    with TemporaryDirectory() as folder:
        return _plain(engine_rows.unshared(ROWS, Path(folder) / "base"))


def history_rows() -> list[Row]:
    """Conversations: every turn shares all that was said before it."""
    workload = engine_rows.history(CONVERSATIONS, CHARACTERS)
    rows = checked(workload)
    turns, whole = per_row(rows), per_conversation(rows)
    per_step = max(1, round(workload.batch * len(whole) / len(turns)))
    rivals = [
        Rival("sft_history_rows_per_s", turns, workload.batch, ", one row a turn"),
        Rival("sft_history_vs_conversation_rows_per_s", whole, per_step, ", one row a conversation"),
    ]
    return race(workload, rivals, units=len(whole), unit="conversations/s")


def _plain(workload: Workload) -> list[Row]:
    rival = Rival(f"sft_{workload.name}_rows_per_s", per_row(checked(workload)), workload.batch)
    return race(workload, [rival], units=len(workload.examples), unit="rows/s")


def race(workload: Workload, rivals: list[Rival], *, units: int, unit: str) -> list[Row]:
    """Find each rival's fastest way, then train in turns: ours, theirs; theirs, ours; …

    Args:
        units: how many are counted in an epoch; a rate is these over its seconds.
    """
    with Worker("engine_ours.py") as ours, Worker("engine_trl.py") as trl:
        quiet_or_exit()
        found_ways = {rival.name: _way(trl, workload, rival) for rival in rivals}
        jobs = {r.name: trl_job(workload.base, r.rows, found_ways[r.name][0], r.batch) for r in rivals}
        found = _laps({"ours": (ours, ours_job(workload)), **{name: (trl, job) for name, job in jobs.items()}})
    return [
        _row(workload, rival, way, found, units, unit) | {"tried": tried}
        for rival in rivals
        for way, tried in [found_ways[rival.name]]
    ]


def _way(trl: Worker, workload: Workload, rival: Rival) -> tuple[Way, list[str]]:
    """TRL's fastest way and all that was tried; `SWEEP=no` takes those of the last sweep, which knew the same TRL."""
    if os.environ.get("SWEEP") == "no":
        return swept(rival.name)
    sweep = Sweep(trl, workload.base, rival.rows)
    return sweep.fastest(), sweep.words()


def ours_job(workload: Workload) -> Job:
    """What prentice's process is asked."""
    examples = [example.model_dump(mode="json") for example in workload.examples]
    return {"base": str(workload.base), "examples": examples, "batch": workload.batch}


def _laps(lanes: Mapping[str, tuple[Worker, Job]]) -> dict[str, list[Answer]]:
    """Each lane once for warmth, then all of them in turns, the order turned round each time."""
    found: dict[str, list[Answer]] = {name: [] for name in lanes}
    for worker, job in lanes.values():
        worker.ask(job)
    for number in range(PAIRS):
        quiet_or_exit()
        for name in list(lanes)[:: 1 if number % 2 == 0 else -1]:
            worker, job = lanes[name]
            answer = worker.ask(job)
            found[name].append(answer)
            print(f"  {name}: {answer['seconds']:.1f} s ({answer['cpu_seconds']:.1f} CPU-s)", flush=True)
    return found


def _row(workload: Workload, rival: Rival, way: Way, found: Mapping[str, list[Answer]], units: int, unit: str) -> Row:
    ours, theirs = found["ours"], found[rival.name]
    _same_work(rival.name, ours[0], theirs[0])
    rates = [units / median(a["seconds"] for a in answers) for answers in (ours, theirs)]
    token_ratio = theirs[0]["positions"] / ours[0]["positions"]
    return {
        "name": rival.name,
        "ours": rates[0],
        "rival": rates[1],
        "ratio": rates[0] / rates[1],
        "unit": unit,
        "n": len(ours),
        "bound": _bound(workload, way, ours[0], theirs[0]),
        "pairs": [round(b["seconds"] / a["seconds"], 3) for a, b in zip(ours, theirs, strict=True)],
        "cpu_ratio": median(a["cpu_seconds"] for a in theirs) / median(a["cpu_seconds"] for a in ours),
        "way": asdict(way),
        "note": (
            f"{workload.what}: {described(checked(workload))}; {workload.batch} rows a step; TRL's fastest: {way}"
            f"{rival.form}; it computes {theirs[0]['positions']:,} positions, our forests "
            f"{ours[0]['positions']:,} ({token_ratio:.2f} times fewer), and projects {theirs[0]['positions']:,} onto "
            f"the vocabulary, we {ours[0]['supervised']:,}; bound: the operations of both in that ratio, attention "
            "not counted"
        ),
    }


def _same_work(name: str, ours: Answer, theirs: Answer) -> None:
    if ours["supervised"] != theirs["supervised"]:
        raise ValueError(f"{name}: we supervise {ours['supervised']} tokens, TRL {theirs['supervised']}")


def _bound(workload: Workload, way: Way, ours: Answer, theirs: Answer) -> float:
    shape = shape_of(str(workload.base))
    # TRL's own loss computes the logits again on the way back
    passes = 3 if way.head == "trl" else 2
    theirs_flops = step_flops(shape, theirs["positions"], theirs["positions"], head_passes=passes)
    return theirs_flops / step_flops(shape, ours["positions"], ours["supervised"])
