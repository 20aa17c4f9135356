"""What was made from episodes: when they are deleted, every dataset and checkpoint made from them is marked.

The mark, `deleted.json`, lies in the folder of the dataset, checkpoint or export; who serves or trains on can read it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydantic import AwareDatetime

from prentice.records import Checkpoint, Exported, Manifest, Record, utc_now
from prentice.records.filters import Filter
from prentice.records.parquet import KEPT, LEDGER, MANIFEST
from prentice.records.store import Store
from prentice.runs import read_record, write_atomic

MARK, TOLD = "deleted.json", "told"


class Deleted(Record):
    """Episodes that something was made from, and that are deleted."""

    episodes: tuple[str, ...]
    """Their ids, sorted."""
    last_at: AwareDatetime
    """When the last of them were."""


class Descendant(Record):
    """A folder that was made from episodes, as seen from a project's `.prentice`."""

    kind: str
    folder: str
    episodes: tuple[str, ...]


def delete_episodes(store: Store, where: Filter, homes: Sequence[Path]) -> int:
    """Delete episodes; what was made from them is marked before, so that no kill leaves it unmarked.

    Args:
        homes: the `.prentice` of each project whose datasets may come from this store.
    Returns: how many were deleted.
    Raises: StoreError; DataError if a dataset's ledger cannot be read.
    """
    for home in homes:
        for found in descendants(home, store.ids(where)):
            _mark(home / found.folder, found.episodes)
            # what a teacher said of their words, token by token: kept to save time, and asked again where it is needed
            shutil.rmtree(home / TOLD, ignore_errors=True)
    return store.delete(where)


def descendants(home: Path, ids: Collection[str]) -> list[Descendant]:
    """The datasets, checkpoints and exports that were made from any of these episodes."""
    found: list[Descendant] = []
    wanted = set(ids)
    for dataset in (*sorted(home.glob(f"curate/*/{MANIFEST}")), *sorted(home.glob(f"pairs/*/{MANIFEST}"))):
        if learnt_from := tuple(sorted(wanted & _kept(dataset.with_name(LEDGER)))):
            found.append(_descendant(home, "dataset", dataset, learnt_from))
            found += _trained_on(home, read_record(Manifest, dataset).hash, learnt_from)
    return found


def mark_of(folder: Path) -> Deleted | None:
    """The mark of a dataset, checkpoint or export; None if all that it was made from is there."""
    return read_record(Deleted, folder / MARK) if (folder / MARK).exists() else None


def _trained_on(home: Path, dataset: str, episodes: tuple[str, ...]) -> Iterator[Descendant]:
    """Checkpoints trained on the dataset, those trained from these by later methods of a chain, and their exports."""
    files = sorted([*home.glob("chain/*/checkpoint.json"), *home.glob("train/*/checkpoint.json")])
    checkpoints = {file: read_record(Checkpoint, file) for file in files}
    exports = {file: read_record(Exported, file).checkpoint for file in sorted(home.glob("export/*/export.json"))}
    found = {file for file, checkpoint in checkpoints.items() if checkpoint.dataset == dataset}
    while children := {f for f, c in checkpoints.items() if c.parent in {checkpoints[p].id for p in found}} - found:
        found |= children
    for file in sorted(found):
        yield _descendant(home, "checkpoint", file, episodes)
        for export, made_of in exports.items():
            if made_of == checkpoints[file].id:
                yield _descendant(home, "export", export, episodes)


def _descendant(home: Path, kind: str, file: Path, episodes: tuple[str, ...]) -> Descendant:
    return Descendant(kind=kind, folder=file.parent.relative_to(home).as_posix(), episodes=episodes)


def _kept(ledger: Path) -> set[str]:
    import polars as pl

    rows = pl.scan_parquet(ledger).filter(pl.col("fate").str.starts_with(KEPT)).select("episode").collect()
    return set(rows["episode"])


def _mark(folder: Path, episodes: tuple[str, ...]) -> None:
    before = mark_of(folder)
    known = set(before.episodes if before else ()) | set(episodes)
    mark = Deleted(episodes=tuple(sorted(known)), last_at=utc_now())
    write_atomic(folder / MARK, mark.model_dump_json(indent=2) + "\n")
