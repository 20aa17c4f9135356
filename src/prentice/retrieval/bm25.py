"""Full-text search by BM25, as Lucene scores it (bm25s; Kamphuis et al. 2020, ECIR), over titles and texts."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from unicodedata import category

from prentice.errors import DataError, MissingExtraError
from prentice.retrieval.passages import UNSPACED, Passage

_MARKS = "".join(mark for mark in map(chr, range(0x300, 0x20000)) if category(mark)[0] == "M")
"""Vowel signs and accents that stand as characters of their own, and belong to the word that they stand in."""
_WORD = re.compile(rf"[\w{_MARKS}]+")
_IS_UNSPACED = re.compile(f"[{UNSPACED}]")
# fmt: off
STOPWORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "did", "do", "does", "for", "from", "had",
    "has", "have", "he", "her", "his", "how", "in", "into", "is", "it", "its", "of", "on", "or", "she", "that",
    "the", "their", "them", "then", "there", "these", "they", "this", "to", "was", "were", "what", "when", "where",
    "which", "who", "whom", "whose", "why", "will", "with",
))
# fmt: on


class BM25:
    """An index in memory. English function words are left out; what is written without spaces is indexed by pairs of
    characters. A word counts once however often a query writes it (k3 = 0 in Manning, Raghavan & Schütze 2008, section
    11.4.3): models repeat names in the queries that they write, which would drown what they add.

    Args:
        passages: the corpus.
    Raises: MissingExtraError if bm25s is not installed; DataError if no passage holds a word.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        try:
            import bm25s
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "the search engine 'bm25' needs bm25s, which is not installed", 'pip install "prentice[retrieval]"'
            ) from error
        self._passages = tuple(passages)
        self._index = bm25s.BM25(method="lucene")
        words = [words_of(f"{passage.title} {passage.text}") for passage in self._passages]
        if not any(words):
            raise DataError(
                f"none of the {len(words):,} passages holds a word to search for",
                "they are empty, or made of function words and signs",
            )
        self._index.index(words, show_progress=False)

    def search(self, query: str, count: int, without: Collection[str] = ()) -> Sequence[Passage]:
        """The best passages, best first; of equal ones the earlier in the corpus."""
        words = [word for word in dict.fromkeys(words_of(query)) if word in self._index.vocab_dict]
        if not words or count < 1:
            return ()
        import numpy as np

        scores = self._index.get_scores(words)
        wanted: list[Passage] = []
        for place in np.argsort(-scores, kind="stable"):
            if len(wanted) == count or scores[place] <= 0:
                break
            if self._passages[place].id not in without:
                wanted.append(self._passages[place])
        return wanted


def words_of(text: str) -> list[str]:
    """The words that are compared, in lower case."""
    found: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if _IS_UNSPACED.search(word):
            found += [word[n : n + 2] for n in range(max(1, len(word) - 1))]
        elif word not in STOPWORDS:
            found.append(word)
    return found
