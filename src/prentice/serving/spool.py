"""Records that wait on disk for the store: appended before an answer is complete, removed once they are stored.

What was appended outlives the process (not a power cut, which may take the last seconds). A folder belongs to one
process at a time; what a killed one left is taken over by the next.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prentice.errors import StoreError

if TYPE_CHECKING:
    from filelock import FileLock

SEGMENT_BYTES = 8_000_000
MOST_FOLDERS = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that were read, and up to where."""

    lines: tuple[bytes, ...]
    segment: int
    end: int


class Spool:
    """An ordered file of lines, in segments.

    Args:
        folder: where it lies; processes side by side get folders of their own in it.
        most_bytes: the most that may wait.
    Raises: StoreError if no folder is free.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._held = _own_folder(folder)
        self._most = most_bytes
        self._lock = threading.Lock()
        _take_over(folder, self._folder)
        old = _segments(self._folder)
        self._sizes = {number: self._path(number).stat().st_size for number in old}
        self._read = (old[0] if old else 1, 0)
        self._open(old[-1] + 1 if old else 1)

    @property
    def waiting(self) -> int:
        """Bytes that are not stored yet."""
        with self._lock:
            return sum(self._sizes.values()) - self._read[1]

    def append(self, line: bytes) -> bool:
        """Add a line (without its end); return False, and add nothing, if too much waits already."""
        with self._lock:
            if sum(self._sizes.values()) + len(line) > self._most:
                return False
            if self._sizes[self._current] > SEGMENT_BYTES:
                os.close(self._file)
                self._open(self._current + 1)
            written = os.write(self._file, line + b"\n")
            while written <= len(line):
                written += os.write(self._file, (line + b"\n")[written:])
            self._sizes[self._current] += written
            return True

    def read(self, most_bytes: int = 1_000_000) -> Batch | None:
        """The next lines, of one segment; None if nothing waits. They wait on until `remove` is called."""
        with self._lock:
            segment, start = self._read
            while start >= self._sizes.get(segment, 0) and segment != self._current:
                segment, start = self._next(segment), 0
            size = self._sizes[segment]
            if start >= size:
                return None
            with self._path(segment).open("rb") as file:
                file.seek(start)
                data = file.read(min(most_bytes, size - start))
                if b"\n" not in data:
                    data += file.read(size - start - len(data))
            whole, _, rest = data.rpartition(b"\n")
            # a line without an end was being written when the process was killed: its answer was not complete
            end = size if start + len(data) == size else start + len(data) - len(rest)
            return Batch(tuple(line for line in whole.split(b"\n") if line), segment, end)

    def remove(self, batch: Batch) -> None:
        """Remove what is stored."""
        with self._lock:
            self._read = (batch.segment, batch.end)
            for number in [n for n in self._sizes if n < batch.segment]:
                self._drop(number)
            if batch.end >= self._sizes[batch.segment]:
                if batch.segment == self._current:
                    os.ftruncate(self._file, 0)
                    self._sizes[self._current] = 0
                    self._read = (self._current, 0)
                else:
                    self._read = (self._next(batch.segment), 0)
                    self._drop(batch.segment)

    def close(self) -> None:
        """Let go of the folder; what waits stays in it."""
        with self._lock:
            os.close(self._file)
            if not self._sizes[self._current]:
                self._path(self._current).unlink(missing_ok=True)
            self._held.release()

    def _next(self, segment: int) -> int:
        return min(number for number in self._sizes if number > segment)

    def _drop(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        del self._sizes[number]

    def _open(self, number: int) -> None:
        self._current = number
        self._file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._sizes[number] = 0

    def _path(self, number: int) -> Path:
        return self._folder / _name(number)


def _name(segment: int) -> str:
    return f"{segment:08d}.jsonl"


def _segments(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdigit())


def _take_over(folder: Path, own: Path) -> None:
    """Move here what processes that are gone have left in folders of their own."""
    from filelock import FileLock, Timeout

    for other in sorted(path for path in folder.iterdir() if path.is_dir() and path != own):
        try:
            with FileLock(other / "lock").acquire(timeout=0):
                for number in _segments(other):
                    free = max(_segments(own), default=0) + 1
                    (other / _name(number)).rename(own / _name(free))
        except Timeout:
            continue


def _own_folder(folder: Path) -> tuple[Path, FileLock]:
    from filelock import FileLock, Timeout

    for number in range(MOST_FOLDERS):
        own = folder / f"{number:02d}"
        own.mkdir(parents=True, exist_ok=True)
        held = FileLock(own / "lock")
        try:
            held.acquire(timeout=0)
        except Timeout:
            continue
        return own, held
    raise StoreError(f"{folder}: {MOST_FOLDERS} processes record here already", "end some of them")
