"""Episodes → thumbs: replies with a word on each, for learning without pairs (KTO).

A turn's own `success` says what its reply is worth; an episode's says it where the episode has one turn. Of several
words the last counts, which is a person's where one spoke. A reply that somebody wrote instead gets a thumb up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prentice.curation.limits import val_cases
from prentice.curation.material import Material, dropped, place_of
from prentice.curation.pairs import PairsConfig
from prentice.curation.rows import Render, Row, demonstrated, make_row
from prentice.errors import DataError
from prentice.records import Episode, Ledger, Manifest, Thumb
from prentice.records.feedback import SUCCESS
from prentice.records.parquet import THUMBS, rows_hash, write_rows

BOTH = "judged both ways"
AGAIN = "the same thumb again"
WORDLESS = "nobody said what it is worth"
Word = tuple[Row, bool]


def curate_thumbs(config: PairsConfig, material: Material, render: Render, out: Path) -> Manifest:
    """Write every reply that has a thumb to the folder `out`, whole or not at all.

    Raises: DataError if there are not both ups and downs, which is what the method learns from.
    """
    words = _agreeing(material, _words(material, render))
    cases = Counter(row.example.case for row, _ in words)
    val = val_cases(cases, cases.keys() & material.val, config.val_share, config.seed)
    thumbs = [_thumb(row, good, val) for row, good in words]
    material.used |= {place_of(row) for row, _ in words}
    ledger = material.ledger(WORDLESS)
    learnt = {thumb.good for thumb in thumbs if thumb.split == "train"}
    if learnt != {True, False}:
        raise _one_sided(learnt, dropped(ledger), len(ledger))
    splits = Counter(thumb.split for thumb in thumbs)
    manifest = Manifest(
        hash=rows_hash(thumbs),
        ledger=Ledger(rows_in=len(ledger), kept=len(ledger) - sum(dropped(ledger).values()), dropped=dropped(ledger)),
        splits={name: splits[name] for name in ("train", "val") if splits[name]},
        config=config.model_dump(mode="json"),
        runs=material.runs,
        demonstrations=sum(row.shown for row, _ in words),
        notes=(f"{sum(t.good for t in thumbs):,} thumbs up, {sum(not t.good for t in thumbs):,} down",),
    )
    write_rows(out, THUMBS, thumbs, ledger, manifest)
    return manifest


def _words(material: Material, render: Render) -> list[Word]:
    found: list[Word] = []
    for attempt in material.attempts:
        episode = attempt.episode
        rows = () if attempt.fate else material.rows[episode.id]
        for turn, row in enumerate(rows):
            word = _word(episode, turn)
            if word is not None and not row.fate:
                found.append((row, word))
        for turn, message in demonstrated(episode).items() if episode.id in material.rows else ():
            edit = make_row(episode, turn, message, render)
            if not edit.fate:
                found.append((edit, True))
    return found


def _word(episode: Episode, turn: int) -> bool | None:
    """The last flag on a turn; on the only turn of an episode also that on the episode."""
    whole = {None} if len(episode.turns) == 1 else set()
    said = [m.value for m in episode.metrics if m.name == SUCCESS and m.turn in {turn, *whole}]
    flags = [value for value in said if isinstance(value, bool)]
    return flags[-1] if flags else None


def _agreeing(material: Material, words: Sequence[Word]) -> list[Word]:
    """Each reply once, and none on which words differ."""
    told: dict[tuple[object, ...], set[bool]] = {}
    for row, good in words:
        told.setdefault((row.prompt, row.reply), set()).add(good)
    left: dict[tuple[object, ...], Word] = {}
    for row, good in words:
        key = row.prompt, row.reply
        if len(told[key]) > 1:
            material.lose(row, BOTH)
        elif key in left:
            material.lose(row, AGAIN)
        else:
            left[key] = row, good
    return list(left.values())


def _thumb(row: Row, good: bool, val: set[str]) -> Thumb:
    example = row.example
    name = f"{example.id[:16]}{'+edit' if row.shown else ''}"
    split = "val" if example.case in val else "train"
    return Thumb.model_validate({**dict(example), "id": name, "split": split, "good": good})


def _one_sided(learnt: set[bool], reasons: dict[str, int], replies: int) -> DataError:
    has = "none at all" if not learnt else "thumbs up only" if True in learnt else "thumbs down only"
    counts = ", ".join(f"{count:,}: {reason}" for reason, count in reasons.items())
    return DataError(
        f"thumbs to learn from: {has} in {replies:,} replies{f' ({counts})' if counts else ''}",
        "judge some more with `prentice label`, or let more cases be tried",
    )
