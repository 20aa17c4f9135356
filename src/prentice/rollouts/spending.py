"""The dollars of a run: what its remote models may cost together, earlier goes included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prentice.models.budget import Budget, paid_from
from prentice.records import Episode
from prentice.records.store import Store

LEDGER = "budget.db"
"""Where the dollars of runs are booked, beside their store."""


@contextmanager
def limited_to(budget_usd: float | None, store: Store, run: str) -> Iterator[None]:
    """Pay for every remote call inside the block from the run's budget; None = there is no limit."""
    if budget_usd is None:
        yield
        return
    # a store by URL has no place beside it: of earlier goes only what it holds is known then
    ledger = None if "://" in store.place else Path(store.place).with_name(LEDGER)
    already_usd = sum(_cost(episode) for episode in store.episodes(run=run))
    with closing(Budget(budget_usd, ledger, run, already_usd)) as budget, paid_from(budget):
        yield


def _cost(episode: Episode) -> float:
    """What the policy cost, and the models inside the environment."""
    inside = sum(float(m.value) for m in episode.metrics if m.turn is None and m.name.endswith("_cost_usd"))
    return (episode.total("cost_usd") or 0.0) + inside
