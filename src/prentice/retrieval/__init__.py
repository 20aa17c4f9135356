"""Passages and what finds them: the contract of a search engine, and the built-in ones."""

from prentice.registry import Table
from prentice.retrieval.passages import UNSPACED, Passage, SearchEngine, read_passages

ENGINES = Table("search engine", {"bm25": "prentice.retrieval.bm25:BM25"}, group="prentice.retrieval")
"""Each is made as `Engine(passages)`."""

__all__ = ["ENGINES", "UNSPACED", "Passage", "SearchEngine", "read_passages"]
