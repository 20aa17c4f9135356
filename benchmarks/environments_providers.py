"""A provider that fails one call in five: what is lost to it, and whether the budget holds.

A thousand episodes against a server of our own that answers with 429, 500, garbage, half a reply or not at all. The
first go has money for four hundred; it stops, and the next ones, with more, finish the run. What a real provider would
bill is counted by the server.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faulty_provider import ONE_CALL_USD, FaultyServer, serving
from prentice.models.budget import BudgetSpentError
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks.classify import Classify, ClassifyConfig

EPISODES, SHARE, SEED = 1000, 0.2, 7
CONCURRENCY = 64
TIMEOUT_S = 1.0
GOES = 4


@dataclass(frozen=True)
class Outcome:
    """What came of the run."""

    lost: int
    """Episodes that are not stored whole after all goes, and those stored twice."""
    overshoot_calls: float
    """Dollars billed beyond the budget when it stopped the first go, in prices of one call; below 0, what was left."""
    stopped_at: int
    """Episodes stored at the stop."""
    seconds: float
    calls: int
    """Requests that reached the server."""


def faulty_run(folder: Path, episodes: int = EPISODES, share: float = SHARE, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Play against the faulty provider, first with too small a budget and then with enough."""
    budget_usd = 0.4 * episodes * ONE_CALL_USD
    task = _task(folder, episodes)
    cases = task.cases("train")
    config = RolloutConfig(max_tokens=8, concurrency=CONCURRENCY, budget_usd=budget_usd)
    begun = time.perf_counter()
    with serving(FaultyServer(share, SEED)) as server, Store.open(folder / "store.db") as store:

        def go(rules: RolloutConfig) -> str:
            return play_all(task, server.model(timeout_s=timeout_s, concurrency=CONCURRENCY), cases, store, rules)

        try:
            go(config)
        except BudgetSpentError:
            pass
        else:
            raise AssertionError("the budget stopped nothing")
        overshoot = (server.billed * ONE_CALL_USD - budget_usd) / ONE_CALL_USD
        stopped_at = sum(1 for _ in store.episodes())
        for _ in range(GOES):
            run = go(config.model_copy(update={"budget_usd": 100 * budget_usd}))
        stored = [episode.case for episode in store.episodes(run=run) if episode.failure is None]
        calls = len(server.bodies)
    lost = episodes - len(set(stored)) + len(stored) - len(set(stored))
    return Outcome(lost, overshoot, stopped_at, time.perf_counter() - begun, calls)


def provider_rows() -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    with tempfile.TemporaryDirectory() as scratch:
        outcome = faulty_run(Path(scratch))
    facts = {"n": EPISODES, "share_failing": SHARE, "seed": SEED, "rival": None, "ratio": None}
    return [
        {"name": "faulty_provider_lost", "ours": outcome.lost, "unit": "episodes", "calls": outcome.calls, **facts},
        {
            "name": "faulty_provider_budget_overshoot_calls",
            "ours": max(0.0, outcome.overshoot_calls),
            "unit": "prices of one call",
            "left_at_the_stop": max(0.0, -outcome.overshoot_calls),
            "stored_at_the_stop": outcome.stopped_at,
            **facts,
        },
        {
            "name": "faulty_provider_episodes_per_s",
            "ours": EPISODES / outcome.seconds,
            "unit": f"episodes/s at {CONCURRENCY} in flight, {TIMEOUT_S:g} s for each call that hangs",
            **facts,
        },
    ]


def _task(folder: Path, episodes: int) -> Classify:
    rows = [f"{number},train,Is {number} even?,{'no' if number % 2 else 'yes'}" for number in range(episodes)]
    (folder / "cases.csv").write_text("\n".join(["id,split,text,label", *rows]) + "\n", encoding="utf-8")
    return Classify(ClassifyConfig(cases=Path("cases.csv"), instructions="Answer yes or no."), folder)


if __name__ == "__main__":
    for row in provider_rows():
        print(row)
