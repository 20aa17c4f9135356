"""Documents as tokens, and tokens as rows of one length. Nothing is lost, nothing is padded.

Documents follow each other in one stream, each ended by the token that ended a text when the base was pretrained; the
stream is cut into rows. A row's first token is the last of the row before, so that every token of the stream but the
very first is predicted exactly once. What stands in one row sees what stands before it, other documents included, as in
the pretraining of most bases (GPT-3, arXiv:2005.14165, section 2: the end token says that it does not belong to it).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from prentice.errors import TrainingError
from prentice.records.documents import Document
from prentice.training.forest import Row
from prentice.training.items import Item

ENDS = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>")
"""What ends a text in pretraining; an instruct model's own end token often ends a turn instead."""


@dataclass(frozen=True)
class Written:
    """A document as tokens, without those that begin and end it."""

    id: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Spelling:
    """How a base writes documents.

    Args:
        tokenizer: the base's, from transformers.
        begin: what it puts before every text: its begin token, or nothing.
        end: the token that ends a text.
        vocabulary: rows of its embedding.
        where: names the documents in errors.
    """

    tokenizer: Any
    begin: tuple[int, ...]
    end: int
    vocabulary: int
    where: Path

    @property
    def opening(self) -> tuple[int, ...]:
        """What a text follows: the begin token, or the end of another one."""
        return self.begin or (self.end,)

    def write(self, document: Document) -> Written:
        """The document as tokens; what looks like a special token in it is text.

        Raises: TrainingError if a token is outside the vocabulary.
        """
        ids = self.tokenizer(
            document.content, add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        if max(ids, default=0) >= self.vocabulary:
            raise TrainingError(
                f"{self.where}: document {document.id}: token {max(ids)} is outside the model's vocabulary of "
                f"{self.vocabulary}",
                "the base's tokenizer and its weights are not the same; get the base again",
            )
        return Written(document.id, tuple(ids))


def spelling_of(tokenizer: Any, vocabulary: int, where: Path) -> Spelling:
    """How the base of this tokenizer writes documents.

    Raises: TrainingError if no token ends a text.
    """
    known = tokenizer.get_vocab()
    end = next((known[word] for word in ENDS if word in known), tokenizer.eos_token_id)
    if end is None:
        raise TrainingError(f"{tokenizer.name_or_path}: no token of it ends a text", "choose another base")
    put_before: list[int] = tokenizer("").input_ids
    begin = tokenizer.bos_token_id
    return Spelling(tokenizer, (begin,) if begin in put_before[:1] else (), end, vocabulary, where)


def pack(documents: Sequence[Written], spelling: Spelling, length: int) -> list[Item]:
    """Cut the documents, in this order, into rows of `length` tokens; only the last may be shorter.

    Args:
        length: at least 2.
    Returns: rows named by the document that each begins in.
    """
    texts = [(*spelling.begin, *document.ids, spelling.end) for document in documents]
    before = () if spelling.begin else (spelling.end,)
    stream = [*before, *(token for text in texts for token in text)]
    starts = list(accumulate((len(text) for text in texts[:-1]), initial=len(before)))
    return [_named(documents, starts, place, row) for place, row in _cut(stream, length)]


def windows(documents: Iterable[Written], spelling: Spelling, length: int) -> list[list[Item]]:
    """Each document by itself in rows of at most `length`, its every token predicted once, its end not: how often a
    text ends says nothing of what it says."""
    return [
        [Item(_name(document, place), row, family=_name(document, place)) for place, row in _cut(stream, length)]
        for document in documents
        for stream in [[*spelling.opening, *document.ids]]
    ]


def _cut(stream: Sequence[int], length: int) -> Iterator[tuple[int, Row]]:
    for start in range(0, len(stream) - 1, length - 1):
        piece = tuple(stream[start : start + length])
        yield start, Row(piece[:1], piece[1:])


def _named(documents: Sequence[Written], starts: Sequence[int], place: int, row: Row) -> Item:
    number = max(0, bisect_right(starts, place) - 1)
    name = _name(documents[number], max(0, place - starts[number]))
    return Item(name, row, family=name)


def _name(document: Written, place: int) -> str:
    return f"{document.id} (from token {place:,})"
