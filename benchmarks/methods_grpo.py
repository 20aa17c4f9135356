"""Reinforcement, measured: the update and the whole step against TRL's GRPOTrainer, and what it does for a student.

Rows in the form of the other benchmarks; `benchmarks/methods.py` writes them. Times need a quiet machine. Both sides
train LoRA of rank 16 in float32 with the clipped objective of DAPO, no divergence, one update a round.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from engine_workers import Answer, Job, Worker
from grpo_students import BABYAI, PLAYING, SUPPORT, Pupil, pupil, stored
from prentice.app.cli.terminal import terminal_progress
from prentice.models.chat import ChatFormat
from prentice.models.local import LocalModel
from prentice.pipeline.learning import learn_chain, success
from prentice.pipeline.learning.grpo import LINK
from prentice.pipeline.probing import probe
from prentice.records import Checkpoint, digest
from prentice.records.store import Store
from prentice.rollouts import play_all
from prentice.statistics import paired_difference, wilson
from prentice.training.export import write_merged
from prentice.training.gguf import write_gguf
from prentice.training.grpo.losses import ADVANTAGE
from prentice.training.grpo.rolled import Rolled
from prentice.training.grpo.round import Round, rows_of
from side_by_side import quiet_or_exit

Row = dict[str, Any]
PAIRS, STEPS, ROUNDS = 3, 3, 2
MICRO = (4, 8, 16)
"""Rows at once that TRL is tried with: 64 take more than 24 GiB, and a processor is slower on large parts."""
KNOWN = 8
"""The fastest of these where it was measured; SWEEP=no takes it, and whole steps do."""
ROWS = 64
"""Of an update: a whole round of BabyAI has a thousand turns, with which TRL is busy for ten minutes a step."""
HELD_OUT = 200
SETTINGS = (
    "train.grpo.kl=0",
    f"train.grpo.cases={8 * ROUNDS}",
    "train.grpo.epochs=1",
)


def update_rows() -> list[Row]:
    """The update alone, on stored rollouts: 8 cases × 8."""
    return [_update("grpo_update", pupil("support", SUPPORT), "support: one turn, a group shares its prompt")]


def babyai_rows() -> list[Row]:
    """The update alone where a conversation has many turns."""
    return [_update("grpo_update_babyai", pupil("babyai", BABYAI), "BabyAI GoToLocal: a row a turn")]


def _update(name: str, who: Pupil, what: str) -> Row:
    rows = _rows(stored(who))[:ROWS]
    job: Job = {"kind": "update", "base": str(who.weights), "rows": rows, "batch": len(rows), "steps": STEPS}
    with Worker("grpo_ours.py") as ours, Worker("grpo_trl.py") as trl:
        quiet_or_exit()
        micro = _fastest(trl, job)
        found = _laps({"ours": lambda: ours.ask(job), "trl": lambda: trl.ask({**job, "micro": micro})})
    words = f"{what}; {len(rows)} rows, {_positions(found)}; TRL's fastest micro-batch of {MICRO}: {micro}"
    return _row(
        name, found, "updates/s", f"{words}; loss, gradient and optimizer step, the same rollouts on both sides"
    )


def step_rows() -> list[Row]:
    """The whole step, rollouts included: llama.cpp against transformers' generate."""
    who = pupil("support", PLAYING)
    cases = [
        {"prompt": _prompt(who, case.inputs["text"]), "answer": str(case.expected)}
        for case in who.ground.cases[: 8 * ROUNDS]
    ]
    room = max(len(row["answer"]) for row in cases) + 8
    theirs: Job = {"kind": "step", "base": str(who.weights), "cases": cases, "batch": 64, "steps": ROUNDS, "room": room}
    mine: Job = {"kind": "step", "settings": SETTINGS, "steps": ROUNDS}
    with Worker("grpo_ours.py") as ours, Worker("grpo_trl.py") as trl:
        quiet_or_exit()
        found = _laps({"ours": lambda: ours.ask(mine), "trl": lambda: trl.ask({**theirs, "micro": KNOWN})})
    play = median(a["play_seconds"] for a in found["ours"]) / ROUNDS
    words = f"support, 8 cases × 8; {play:.1f} s of ours are play; TRL's micro-batch {KNOWN}, as fast as any"
    return [_row("grpo_step", found, "steps/s", words)]


def success_rows() -> list[Row]:
    """Held-out success of the student after reinforcement minus before, on the same cases, and what the probe said."""
    who = pupil("babyai", BABYAI)
    found = probe(who.project, terminal_progress())
    checkpoint = learn_chain(who.project, who.dataset, _out(who), terminal_progress())
    model = _out(who) / "merged"
    if not model.exists():
        write_merged(_out(who), who.weights, model)
    before, after = _played(who, who.weights, "before"), _played(who, model, "after")
    apart = paired_difference(after, before)
    shares = [wilson(sum(each), len(each)) for each in (before, after)]
    told = "; ".join(
        f"{name} {s.value:.3f} [{s.low:.3f}, {s.high:.3f}]" for name, s in zip(("before", "after"), shares, strict=True)
    )
    return [
        {
            "name": "grpo_success_diff_low",
            "ours": apart.low,
            "rival": None,
            "ratio": None,
            "unit": "points of success / 100",
            "n": len(before),
            "interval": [apart.low, apart.high],
            "value": apart.value,
            "seeds": [who.project.config.train.grpo.seed],
            "note": f"BabyAI GoToLocal, {who.ground.config.cases} training cases, {len(before)} held-out cases played "
            f"greedily: {told}; the probe had advised {found.advice!r}: {found.reason}; {_told(checkpoint)}",
        }
    ]


def _out(who: Pupil) -> Path:
    return who.project.home / "reinforced" / digest([str(who.weights), LINK.inputs(who.project)])[:16]


def _told(checkpoint: Checkpoint) -> str:
    figures = checkpoint.figures
    return (
        f"{figures['rounds']:.0f} rounds, {figures['tries']:.0f} tries, {checkpoint.steps} updates; training reward "
        f"{figures['reward_first']:.2f} in the first round, {figures['reward_last']:.2f} in the last; llama.cpp's "
        f"log-probabilities were {figures['sampler_gap']:.3f} a token from the trainer's"
    )


def _played(who: Pupil, model: Path, name: str) -> list[bool]:
    """Success on the held-out cases, as the report plays them."""
    project = who.project
    folder = _out(who) / "plays"
    folder.mkdir(parents=True, exist_ok=True)
    gguf = folder / f"{name}.gguf"
    if not gguf.exists():
        write_gguf(model, gguf, project.config.export.quantization, "student")
    cases = project.task.cases("test")[:HELD_OUT]
    policy = LocalModel(gguf, name=name, slots=4, threads=project.config.threads)
    with Store.open(folder / f"{name}.db") as store:
        run = play_all(
            project.task,
            policy,
            cases,
            store,
            project.held_out_rules,
            audience="student",
            identity=name,
            progress=terminal_progress(),
        )
        episodes = {e.case: e for e in store.episodes(run=run)}
    return [success(episodes[case.id], project.config.evaluate.metric) == 1 for case in cases]


def _rows(tries: Sequence[Rolled]) -> list[Row]:
    """Every turn of every try, those of equal groups too: both sides compute them all."""
    worth = {item.id: item.row.given[ADVANTAGE][0] for item in Round.of(tries).items(scale=True)}
    return [
        {
            "prompt": said.prompt,
            "reply": said.reply,
            "advantage": worth.get(item.id, 0.5),  # any number takes the same time
            "old": said.sampled or (-1.0,) * len(said.reply),
        }
        for each in tries
        for item, said in zip(rows_of(each), each.turns, strict=True)
    ]


def _prompt(who: Pupil, text: object) -> str:
    request = who.project.task.render("classify", {"text": str(text)}, "student")
    return ChatFormat.from_folder(who.weights).prompt(request.messages)


def _fastest(trl: Worker, job: Job) -> int:
    """Rows at once with which TRL is fastest."""
    if os.environ.get("SWEEP") == "no":
        return KNOWN
    took = {micro: trl.ask({**job, "micro": micro, "steps": 2})["seconds"] for micro in MICRO}
    print(f"  TRL by micro-batch: {json.dumps(took)}", flush=True)
    return min(took, key=lambda micro: took[micro])


def _laps(lanes: Mapping[str, Callable[[], Answer]]) -> dict[str, list[Answer]]:
    """All lanes in turns, the order turned round each time."""
    found: dict[str, list[Answer]] = {name: [] for name in lanes}
    for number in range(PAIRS):
        quiet_or_exit()
        for name in list(lanes)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(lanes[name]())
            print(f"  {name}: {found[name][-1]}", flush=True)
    return found


def _positions(found: Mapping[str, list[Answer]]) -> str:
    ours, theirs = (found[name][0]["positions"] for name in ("ours", "trl"))
    return f"TRL computes {theirs:,} positions, our forests {ours:,.0f}"


def _row(name: str, found: Mapping[str, list[Answer]], unit: str, note: str) -> Row:
    ours, theirs = (median(a["seconds"] for a in found[side]) for side in ("ours", "trl"))
    return {
        "name": name,
        "ours": 1 / ours,
        "rival": 1 / theirs,
        "ratio": theirs / ours,
        "unit": unit,
        "n": PAIRS,
        "pairs": [round(b["seconds"] / a["seconds"], 3) for a, b in zip(found["ours"], found["trl"], strict=True)],
        "cpu_ratio": median(a["cpu_seconds"] for a in found["trl"]) / median(a["cpu_seconds"] for a in found["ours"]),
        "note": note,
    }
