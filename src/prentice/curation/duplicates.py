"""Rows that say the same twice, and rows that contradict each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from prentice.curation.rows import Row, prompt_bytes, shown_first, still_in

_SHINGLE = 5
_PERMUTATIONS = 128
_FOR_RECALL = (0.1, 0.9)
"""Weight of false candidates against missed ones: candidates are compared exactly afterwards, so missing is worse."""


def drop_exact(rows: Sequence[Row]) -> list[Row]:
    """Drop rows whose prompt and reply a demonstration or an earlier row already has."""
    seen: set[Hashable] = set()
    for row in shown_first(rows):
        key = (row.prompt, row.reply)
        if key in seen:
            row.fate = "duplicate"
        seen.add(key)
    return still_in(rows)


def drop_near(rows: Sequence[Row], threshold: float, seed: int) -> list[Row]:
    """Drop rows whose last user message nearly repeats that of an earlier kept row, all else being equal.

    Two messages are near when the Jaccard similarity of their sets of 5-character shingles (lower case, white space
    made one space) is at least `threshold`. Candidates come from MinHash-LSH, so a pair just above it may be missed;
    a pair below it is never dropped. Only rows with the same reply and the same other messages are compared. Of a near
    pair a demonstration stays, else the earlier row.
    """
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    for row in shown_first(rows):
        groups[row.reply, _all_but_last_user(row)].append(row)
    crowded = [group for group in groups.values() if len(group) > 1]
    if crowded:
        from datasketch import MinHashLSH

        bands = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=_FOR_RECALL)
        for group in crowded:
            _drop_near_in(group, threshold, seed, MinHashLSH(num_perm=_PERMUTATIONS, params=(bands.b, bands.r)))
    return still_in(rows)


def _drop_near_in(group: Sequence[Row], threshold: float, seed: int, index: Any) -> None:
    from datasketch import MinHash

    texts = [shingles(_last_user(row)) for row in group]
    hashes = MinHash.bulk([[s.encode() for s in text] for text in texts], num_perm=_PERMUTATIONS, seed=seed)
    for number, (row, text, minhash) in enumerate(zip(group, texts, hashes, strict=True)):
        near = (texts[other] for other in index.query(minhash))
        if any(len(text & other) >= threshold * len(text | other) for other in near):
            row.fate = "near duplicate"
        else:
            index.insert(number, minhash, check_duplication=False)


def _last_user(row: Row) -> str:
    return next((m.content for m in reversed(row.example.messages) if m.role == "user"), "")


def shingles(text: str) -> set[str]:
    """The 5-character pieces of a text, lower case, white space made one space."""
    text = " ".join(text.lower().split())
    return {text[i : i + _SHINGLE] for i in range(max(1, len(text) - _SHINGLE + 1))}


def near_pairs(texts: Sequence[str], threshold: float, seed: int) -> Iterator[tuple[int, int]]:
    """Positions of texts whose sets of shingles have at least this Jaccard similarity, the earlier one second.

    Candidates come from MinHash-LSH, so a pair just above the threshold may be missed; no pair below it is given.
    """
    if len(texts) < 2:
        return
    from datasketch import MinHash, MinHashLSH

    sets = [shingles(text) for text in texts]
    hashes = MinHash.bulk([[s.encode() for s in text] for text in sets], num_perm=_PERMUTATIONS, seed=seed)
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=_FOR_RECALL)
    for number, (text, minhash) in enumerate(zip(sets, hashes, strict=True)):
        for other in index.query(minhash):
            if len(text & sets[other]) >= threshold * len(text | sets[other]):
                yield number, other
        index.insert(number, minhash, check_duplication=False)


def _all_but_last_user(row: Row) -> bytes:
    messages = list(row.example.messages)
    last = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
    if last is not None:
        messages[last] = messages[last].model_copy(update={"content": ""})
    return prompt_bytes(messages, row.example.tools)


def drop_conflicts(rows: Sequence[Row], votes: Sequence[Row]) -> list[Row]:
    """Where the reply is one of given choices, leave one reply per prompt: the one most of `votes` gave.

    Without a majority none stays: nothing says which is right. Free text is left alone: one prompt may have several
    good answers. But where a reply was demonstrated, policies have no vote, and other replies of theirs go, free text
    too.

    Args:
        rows: what is still in.
        votes: the rows before duplicates were dropped, so that a reply given twice counts twice.
    """
    shown: dict[bytes, Counter[Hashable]] = defaultdict(Counter)
    own: dict[bytes, Counter[Hashable]] = defaultdict(Counter)
    for row in votes:
        (shown if row.shown else own)[row.prompt][row.reply] += 1
    for row in rows:
        replies = shown.get(row.prompt)
        if replies is not None and row.reply not in replies:
            row.fate = "conflict: same prompt, another reply was demonstrated"
        elif row.choices:
            row.fate = _conflict(row, replies or own[row.prompt])
    return still_in(rows)


def _conflict(row: Row, counts: Counter[Hashable]) -> str:
    """Why the row does not stay among replies that exclude each other; empty if it does."""
    if len(counts) == 1:
        return ""
    (winner, most), (_, second) = counts.most_common(2)
    if most == second:
        return "conflict: same prompt, no majority among its replies"
    return "" if row.reply == winner else "conflict: same prompt, most replies differ"
