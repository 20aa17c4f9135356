"""Episodes to a dataset: keep, rank, dedupe, balance, split; the ledger accounts for every row that came in.

Or to pairs of replies, of which one is better, and to thumbs: what preference learning learns from.
"""

from prentice.curation.curate import CurateConfig, curate
from prentice.curation.pairs import PairsConfig, curate_pairs
from prentice.curation.summary import pairs_summary, summary
from prentice.curation.thumbs import curate_thumbs

__all__ = ["CurateConfig", "PairsConfig", "curate", "curate_pairs", "curate_thumbs", "pairs_summary", "summary"]
