"""Episodes to a dataset: keep, rank, dedupe, balance, split; the ledger accounts for every row that came in."""

from prentice.curation.curate import CurateConfig, curate
from prentice.curation.summary import summary

__all__ = ["CurateConfig", "curate", "summary"]
