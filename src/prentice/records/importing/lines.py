"""A file as its rows, in bytes, each with the line at which it begins; memory holds one row and no more.

JSON lines are split at line ends. A JSON array, or objects over several lines, is split where a value ends, so that a
damaged one costs nothing but itself.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from prentice.errors import DataError
from prentice.records.importing.faults import RowError

MOST_BYTES = 64 * 2**20
"""Longest row that is read."""
_BOM = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe", b"\xfe\xff"}


@dataclass(slots=True)
class Line:
    """A row as it stands in the file."""

    number: int
    """The line at which it begins, from 1."""
    text: bytes
    fault: RowError | None = None
    """Why it could not be read."""


@contextmanager
def open_log(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if it is gzipped, past its byte order mark.

    Raises: DataError if it cannot be read, or is not UTF-8 as its first bytes say.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(3)
            if start[:2] in _UTF16:
                raise DataError(f"{path}: the file is UTF-16", "save it as UTF-8: iconv -f UTF-16 -t UTF-8")
            file.seek(3 if start == _BOM else 0)
            yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or f'damaged or cut short ({error})'}") from error


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file that are not blank.

    Raises: DataError if the file cannot be read to its end (a damaged gzip); the lines before it have been given.
    """
    number = 0
    with open_log(path) as file:
        while text := file.readline(MOST_BYTES + 1):
            number += 1
            if len(text) > MOST_BYTES and not text.endswith(b"\n"):
                while (more := file.readline(2**20)) and not more.endswith(b"\n"):
                    pass
                yield Line(number, b"", RowError("line too long", f"more than {MOST_BYTES // 2**20} MB"))
            elif not text.isspace():
                yield Line(number, text)
