"""A file as its rows, in bytes, each with the line at which it begins; memory holds one row and no more.

JSON lines are split at line ends. A JSON array, or objects over several lines, is split where a value ends, so that a
damaged one costs nothing but itself, as long as every value begins on a line of its own.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import IO, Any, cast

from pydantic_core import from_json

from prentice.errors import DataError
from prentice.records.importing.values import MOST_BYTES, Line, Splitter, too_long

_BOM = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe", b"\xfe\xff"}
_CHUNK = 2**18
Advance = Callable[[int], None]
"""Told how many bytes of the file were read since the last time."""


def nothing(amount: int) -> None:
    """Where nobody wants to know how far it is."""


class _Counted(FileIO):
    """A file that says how much of it was read."""

    def __init__(self, path: Path, advance: Advance) -> None:
        super().__init__(path)
        self._advance, self._told = advance, 0

    def readinto(self, buffer: Any) -> int | None:
        found = super().readinto(buffer)
        if self.tell() > self._told:  # not twice, where a part is read again
            self._advance(self.tell() - self._told)
            self._told = self.tell()
        return found


@contextmanager
def open_log(path: Path, advance: Advance = nothing) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if it is gzipped, past its byte order mark.

    Raises: DataError if it cannot be read, then or later, or is UTF-16 as its first bytes say.
    """
    try:
        with BufferedReader(_Counted(path, advance), _CHUNK) as raw:
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
            start = file.read(3)
            if start[:2] in _UTF16:
                raise DataError(f"{path}: the file is UTF-16", "save it as UTF-8: iconv -f UTF-16 -t UTF-8")
            file.seek(3 if start == _BOM else 0)
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or f'damaged or cut short ({error})'}") from error


def read_json(path: Path, advance: Advance = nothing) -> Iterator[Line]:
    """The rows of a file of JSON lines, of a JSON array, or of objects over several lines.

    Raises: DataError if the file cannot be read to its end (a damaged gzip); the rows before have been given by then.
    """
    return _values(path, advance) if _is_one_value(path) else _lines(path, advance)


def _is_one_value(path: Path) -> bool:
    """Whether rows are not lines: it begins with `[`, or with a `{` that does not end on its line and is no JSONL."""
    with open_log(path) as file:
        first = b"\n"
        while first.isspace():
            first = file.readline(MOST_BYTES)
    start = first.strip()
    if not start.startswith(b"{"):
        return start.startswith(b"[")
    return start == b"{" or (".jsonl" not in path.suffixes and not _is_json(start))


def _is_json(text: bytes) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _lines(path: Path, advance: Advance) -> Iterator[Line]:
    number = 0
    with open_log(path, advance) as file:
        while text := file.readline(MOST_BYTES + 1):
            number += 1
            if len(text) > MOST_BYTES and not text.endswith(b"\n"):
                while (more := file.readline(2**20)) and not more.endswith(b"\n"):
                    pass
                yield Line(number, b"", too_long())
            elif not text.isspace():
                yield Line(number, text)


def _values(path: Path, advance: Advance) -> Iterator[Line]:
    with open_log(path, advance) as file:
        splitter = Splitter()
        while chunk := file.read(max(_CHUNK, splitter.pending)):
            yield from splitter.feed(chunk, last=False)
            if splitter.pending > MOST_BYTES:
                hint = "write its rows as JSON lines, such as with: jq -c '.[]'"
                raise DataError(f"{path}:{splitter.begun_at}: a value of more than {MOST_BYTES // 2**20} MB", hint)
        yield from splitter.feed(b"", last=True)
