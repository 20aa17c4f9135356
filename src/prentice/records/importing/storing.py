"""Logs into a store: read by as many processes as there are, written by this one, each episode once."""

from __future__ import annotations

import gc
import pickle
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from prentice.errors import DataError
from prentice.records.guard import Guard
from prentice.records.importing.conversations import LogOptions
from prentice.records.importing.faults import Rejected
from prentice.records.importing.formats import find_format, read_rows, tell_format
from prentice.records.importing.lines import Advance, nothing
from prentice.records.importing.logs import DEFAULT, Placed, RowReader, read_gathered
from prentice.records.importing.values import Line
from prentice.records.rows import EpisodeRows, to_rows
from prentice.records.store import Store

_PIECE = 2**20
"""Bytes of rows that a process is given at once."""
_BATCH, _BATCH_SIZE = 256, 8_000_000
"""Most episodes, and characters of them, that are written at once."""


@dataclass(slots=True)
class Ready:
    """An episode as rows, with what is counted of it."""

    file: str
    line: int
    rows: EpisodeRows
    tool_calls: int
    success: bool | None
    split: str
    found: Counter[str]
    """What the guard found in it, by kind."""


@dataclass(slots=True)
class Imported:
    """What became of the rows of some logs."""

    episodes: int = 0
    """Read, whether new or not."""
    new: int = 0
    """Stored now; in a dry run, those that would be."""
    turns: int = 0
    tool_calls: int = 0
    judged: int = 0
    """Of all that were read, those whose source says whether they were a success."""
    successes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    """By reason."""
    found: Counter[str] = field(default_factory=Counter)
    """What the store's guard found, by kind."""


def import_logs(
    paths: Iterable[str | Path],
    store: Store | None,
    options: LogOptions = DEFAULT,
    *,
    dry_run: bool = False,
    processes: int = 0,
    advance: Advance = nothing,
    refuse: Callable[[Rejected], None] = lambda _: None,
) -> Imported:
    """Store the episodes of logs. Those that are stored already are left alone; rows that are none are passed by.

    Args:
        store: where to; None only in a dry run, for a store that is not there yet.
        dry_run: store nothing.
        processes: how many read beside this one; 0: this one reads too.
        advance: told how many bytes were read since the last time.
        refuse: told of every row that was left out, at once.
    Raises: DataError if a file cannot be read or is of no known format; StoreError if the store refuses. What was read
        before is stored then, and the same import goes on from there.
    """
    result, known = Imported(), _Known(store, keep=dry_run)
    guard = None if store is None else store.guard
    found = _read([Path(path) for path in paths], options, guard, processes, advance)
    for batch in _batches(found, result, refuse):
        fresh = known.fresh(batch, lambda one: _refuse(one, result, refuse))
        for ready in batch:
            _count(ready, result)
        result.new += len(fresh)
        if store is not None and not dry_run:
            store.add_rows(ready.rows for ready in fresh)
    return result


class _Known:
    """What is stored, by the hash of what was said; of a dry run also what would be stored by now."""

    def __init__(self, store: Store | None, *, keep: bool) -> None:
        self._store, self._keep = store, keep
        self._kept: dict[str, str] = {}

    def fresh(self, batch: list[Ready], refuse: Callable[[Rejected], None]) -> list[Ready]:
        """Those that are not known yet. One whose id is known with other content is refused, and leaves the batch."""
        ids = [ready.rows.episode["id"] for ready in batch]
        known = {} if self._store is None else self._store.content_hashes(ids)
        known |= {id_: self._kept[id_] for id_ in ids if id_ in self._kept}
        fresh = list[Ready]()
        for ready in list(batch):
            id_, content = ready.rows.episode["id"], ready.rows.episode["content_hash"]
            if id_ not in known:
                known[id_] = content
                fresh.append(ready)
            elif known[id_] != content:
                batch.remove(ready)
                detail = f"case {ready.rows.episode['case_id'][:80]!r} was there before, and said something else"
                refuse(Rejected(file=ready.file, line=ready.line, reason="same id, other content", detail=detail))
        if self._keep:
            self._kept |= {ready.rows.episode["id"]: ready.rows.episode["content_hash"] for ready in fresh}
        return fresh


def _refuse(one: Rejected, result: Imported, refuse: Callable[[Rejected], None]) -> None:
    result.rejected[one.reason] += 1
    refuse(one)


def _count(ready: Ready, result: Imported) -> None:
    result.episodes += 1
    result.turns += len(ready.rows.turns)
    result.tool_calls += ready.tool_calls
    result.judged += ready.success is not None
    result.successes += ready.success is True
    result.splits[ready.split] += 1
    result.found += ready.found


def _batches(
    found: Iterable[Ready | Rejected], result: Imported, refuse: Callable[[Rejected], None]
) -> Iterator[list[Ready]]:
    batch, size = list[Ready](), 0
    for each in found:
        if isinstance(each, Rejected):
            _refuse(each, result, refuse)
            continue
        batch.append(each)
        size += each.rows.size
        if len(batch) == _BATCH or size > _BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read(
    paths: Sequence[Path], options: LogOptions, guard: Guard | None, processes: int, advance: Advance
) -> Iterator[Ready | Rejected]:
    gathered: dict[str, list[Path]] = {}
    for path, name in [(path, tell_format(path, options)) for path in paths]:
        if name and find_format(name).entries is not None:
            gathered.setdefault(name, []).append(path)
        elif name:
            work = _Work(path, name, options, pickle.dumps(guard))
            rows = read_rows(path, advance)
            yield from _in_processes(work, rows, processes) if processes else work.read(rows)
    for name, some in gathered.items():
        for placed in read_gathered(some, name, options, advance):
            yield _ready(placed, guard)


@dataclass(slots=True)
class _Work:
    """Reading the rows of a file; it is sent to other processes."""

    path: Path
    name: str
    options: LogOptions
    guard: bytes
    """Pickled."""

    def read(self, rows: Iterable[Line]) -> Iterator[Ready | Rejected]:
        reader, guard = RowReader(self.path, self.name, self.options), pickle.loads(self.guard)
        for row in rows:
            yield _ready(reader.placed(row), guard)

    def read_all(self, rows: list[Line]) -> list[Ready | Rejected]:
        return list(self.read(rows))


def _ready(placed: Placed | Rejected, guard: Guard | None) -> Ready | Rejected:
    if isinstance(placed, Rejected):
        return placed
    episode = placed.episode
    seen = Counter[str]() if guard is None else guard.found.copy()
    try:
        rows = to_rows(episode if guard is None else guard.episode(episode))
    except DataError as error:
        return Rejected(file=placed.file, line=placed.line, reason="cannot be stored", detail=error.problem)
    success = episode.metric("success")
    return Ready(
        file=placed.file,
        line=placed.line,
        rows=rows,
        tool_calls=sum(len(turn.reply.message.tool_calls) for turn in episode.turns),
        success=success if isinstance(success, bool) else None,
        split=episode.split,
        found=Counter() if guard is None else guard.found - seen,
    )


def _in_processes(work: _Work, rows: Iterator[Line], processes: int) -> Iterator[Ready | Rejected]:
    """Read in other processes, a piece at a time, in order; only a few pieces are on their way at once."""
    waiting: deque[Future[list[Ready | Rejected]]] = deque()
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare) as pool:
        try:
            for piece in _pieces(rows):
                waiting.append(pool.submit(work.read_all, piece))
                if len(waiting) > 4 * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            hint = "the same command goes on from what is stored; it needs about 200 MB a process"
            raise DataError(f"{work.path}: a process that reads it was killed", hint) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Make a process ready to read."""
    # what is read is freed as soon as nothing names it; looking for cycles in it took a sixth of the time
    gc.set_threshold(50_000, 20, 100)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says that it was stopped


def _pieces(rows: Iterator[Line]) -> Iterator[list[Line]]:
    piece, size = list[Line](), 0
    for row in rows:
        piece.append(row)
        size += len(row.text)
        if size >= _PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
