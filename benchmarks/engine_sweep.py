"""TRL at its fastest: which of its ways to batch, and of its losses, trains these rows in the least time here."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine_tokens import TokenRow
from engine_workers import Worker
from main import RESULTS

SAMPLE_TOKENS, SAMPLE_ROWS = 3000, 32
"""Of what a way is tried on: enough for the slowest to take half a minute."""
MOST_AT_ONCE = 8192
"""Positions in one micro-batch: the logits of more would not fit beside the model."""
ALIKE = 2e-3
"""Ways whose first loss differs by more do not compute the same thing."""


@dataclass(frozen=True)
class Way:
    """How TRL is set.

    Args:
        sampling: `random`, `group_by_length` or `batch_rebalance` pad; `flat` is padding-free, `packing` fills rows.
        micro: rows at once; packed rows where `packing`.
        width: tokens of a packed row.
        head: `trl`: its own loss; `plain`: that of its base class, transformers' Trainer.
        attention: of transformers.
    """

    sampling: str = "group_by_length"
    micro: int = 4
    width: int = 0
    head: str = "plain"
    attention: str = "sdpa"

    def __str__(self) -> str:
        size = f"{self.width} tokens" if self.width else str(self.micro)
        return f"{self.sampling} {size}, {self.head} loss, {self.attention}"


@dataclass
class Sweep:
    """Tries ways one after the other.

    Args:
        trl: the process that trains.
        base: transformers folder.
        rows: all of the workload's; a sample is trained on.
    """

    trl: Worker
    base: Path
    rows: list[TokenRow]
    tried: dict[Way, float] = field(default_factory=dict)
    """Way → rows a second."""
    loss: float | None = None

    def fastest(self) -> Way:
        """Climb from a usual setting: loss, rows at once, how they are drawn, packed or flat, attention."""
        sample, start = self.sample, Way()
        if not self.tried:
            self._try(start)  # what a process does first is slower: not counted
            self.tried.clear()
        self._climb([start])
        self._climb([replace(start, head="trl")])
        best = self.best
        self._climb(replace(best, micro=n) for n in (8, 16, 32) if n <= len(sample))
        self._climb(replace(best, micro=n) for n in (2, 1))
        best = self.best
        self._climb([replace(best, sampling="random")])
        self._climb([replace(best, sampling="batch_rebalance")])
        longest = max(len(row["input_ids"]) for row in self.rows)
        widths = [n for n in (256, 512, 1024, 2048) if n >= longest] or [longest]
        self._climb(replace(best, sampling="packing", micro=1, width=n) for n in widths)
        self._climb(replace(best, sampling="flat", micro=n) for n in (2, 4, 8) if n <= len(sample))
        self._climb([replace(self.best, attention="eager")])
        return self.best

    @property
    def best(self) -> Way:
        """The fastest so far."""
        return max(self.tried, key=lambda way: self.tried[way])

    @property
    def sample(self) -> list[TokenRow]:
        """Some rows, whatever order they stand in, up to a number of tokens."""
        chosen: list[TokenRow] = []
        for row in random.Random(0).sample(self.rows, len(self.rows))[:SAMPLE_ROWS]:
            chosen.append(row)
            if sum(len(r["input_ids"]) for r in chosen) >= SAMPLE_TOKENS:
                break
        return chosen

    def words(self) -> list[str]:
        """What was tried, the fastest first."""
        ranked = sorted(self.tried.items(), key=lambda item: -item[1])
        return [f"{way}: {rate:.3g} rows/s" for way, rate in ranked]

    def _climb(self, ways: Iterable[Way]) -> None:
        """Try one after the other while each is faster than the one before."""
        before = 0.0
        longest = max(len(row["input_ids"]) for row in self.sample)
        for way in ways:
            if way.micro > 1 and way.micro * longest > MOST_AT_ONCE:
                return
            rate = self._try(way)
            if rate < before:
                return
            before = rate

    def _try(self, way: Way) -> float:
        if way in self.tried:
            return self.tried[way]
        sample = self.sample
        answer = self.trl.ask(trl_job(self.base, sample, way, len(sample)))
        self._same_loss(way, answer)
        self.tried[way] = len(sample) / answer["seconds"]
        print(f"  {way}: {self.tried[way]:.3g} rows/s", flush=True)
        return self.tried[way]

    def _same_loss(self, way: Way, answer: dict[str, Any]) -> None:
        if answer["rows"] != len(self.sample):
            raise ValueError(f"{way}: trained on {answer['rows']} rows instead of {len(self.sample)}")
        if answer["steps"] > 1:
            return
        self.loss = self.loss or answer["loss"]
        if abs(answer["loss"] - self.loss) > ALIKE:
            raise ValueError(f"{way}: its loss is {answer['loss']}, not {self.loss}: it computes something else")


def swept(name: str) -> tuple[Way, list[str]]:
    """TRL's fastest way as the last sweep of that result found it, and all that it tried."""
    path = RESULTS / "engine.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        sys.exit(f"{path.name} has no row {name}: measure that part first, it finds TRL's fastest way")
    return Way(**row["way"]), row["tried"]


def trl_job(base: Path, rows: list[TokenRow], way: Way, batch: int) -> dict[str, Any]:
    """What the rival's process is asked."""
    return {"base": str(base), "rows": rows, "way": asdict(way), "batch": batch}
