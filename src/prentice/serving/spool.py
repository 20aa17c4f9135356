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
    """An ordered file of lines, in segments. Threads may share one.

    Args:
        folder: where it lies; processes side by side get folders of their own in it.
        most_bytes: the most that may wait.
        segment_bytes: a segment that is longer is followed by a new one.
    Raises: StoreError if the folder cannot be written, or has no place for one more process.
    """

    def __init__(self, folder: Path, most_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._all, self._most, self._segment = folder, most_bytes, segment_bytes
        self._lock = threading.Lock()
        try:
            self._folder, self._held = _own_folder(folder)
            old = _segments(self._folder)
            self._sizes = {number: self._path(number).stat().st_size for number in old}
            self.appended, self.removed = sum(self._sizes.values()), 0
            self._read = (old[0] if old else 1, 0)
            self._file = -1
            self._open(old[-1] + 1 if old else 1)
            self.take_over()
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror or error}", "records wait there for the store") from error

    @property
    def waiting(self) -> int:
        """Bytes that are not stored yet: those that were ever appended, less those that were removed."""
        return self.appended - self.removed

    def append(self, line: bytes) -> bool:
        """Add a line (without its end).

        Returns: False if nothing was added, since too much waits already or the disk takes no more.
        """
        with self._lock:
            if self._file < 0 or self.waiting + len(line) > self._most:
                return False
            try:
                if self._sizes[self._current] > self._segment:
                    self._open(self._current + 1)
                self._write(line + b"\n")
            except OSError:
                os.ftruncate(self._file, self._sizes[self._current])  # of half a line nothing stays
                return False
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
        """Remove what is stored: all up to the end of a batch."""
        with self._lock:
            passed = [number for number in self._sizes if number < batch.segment]
            self.removed += sum(self._sizes[number] for number in passed) + batch.end - self._read[1]
            self._read = (batch.segment, batch.end)
            for number in passed:
                self._drop(number)
            if batch.end >= self._sizes[batch.segment]:
                if batch.segment == self._current:
                    os.ftruncate(self._file, 0)
                    self._sizes[self._current] = 0
                    self._read = (self._current, 0)
                else:
                    self._read = (self._next(batch.segment), 0)
                    self._drop(batch.segment)

    def take_over(self) -> None:
        """Move here what processes that are gone have left in folders of their own."""
        from filelock import FileLock, Timeout

        for other in sorted(path for path in self._all.iterdir() if path.is_dir() and path != self._folder):
            try:
                with FileLock(other / "lock").acquire(timeout=0), self._lock:
                    for number in _segments(other):
                        self._join(other / _name(number))
            except Timeout:
                continue

    def close(self) -> None:
        """Let go of the folder; what waits stays in it, and nothing more is taken."""
        with self._lock:
            if self._file < 0:
                return
            os.close(self._file)
            self._file = -1
            if not self._sizes[self._current]:
                self._path(self._current).unlink(missing_ok=True)
            self._held.release()

    def _join(self, file: Path) -> None:
        size, place = file.stat().st_size, self._current + 1
        file.replace(self._path(place))
        self._sizes[place] = size
        self.appended += size
        self._open(place + 1)

    def _write(self, data: bytes) -> None:
        written = os.write(self._file, data)
        while written < len(data):
            written += os.write(self._file, data[written:])
        self._sizes[self._current] += written
        self.appended += written

    def _next(self, segment: int) -> int:
        return min(number for number in self._sizes if number > segment)

    def _drop(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        del self._sizes[number]

    def _open(self, number: int) -> None:
        file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._current, self._file = number, file
        self._sizes[number] = 0

    def _path(self, number: int) -> Path:
        return self._folder / _name(number)


def _name(segment: int) -> str:
    return f"{segment:08d}.jsonl"


def _segments(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdigit())


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
