"""Files → documents. What is no document stops the reading with its name, or is counted; equal ones are read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from pydantic_core import from_json

from prentice.errors import DataError
from prentice.progress import Progress, Silent
from prentice.records.base import digest
from prentice.records.datasets import Ledger
from prentice.records.documents.document import Document, DocumentError
from prentice.records.documents.finding import FORMATS, HTML, KNOWN, LINES, Found, find_files
from prentice.records.documents.html import html_text
from prentice.records.importing.lines import read_json
from prentice.records.importing.values import Line

EQUAL = "equal to another"
_SILENT = Silent()


@dataclass(frozen=True)
class Reading:
    """What was read.

    Args:
        documents: no two of them equal, in the order of their hashes: the same wherever they lie.
        ledger: every file and line that came in, kept or counted under one reason.
        faults: those that were left out though they stand among documents.
    """

    documents: tuple[Document, ...]
    ledger: Ledger
    faults: tuple[DocumentError, ...] = ()

    @property
    def hash(self) -> str:
        """Of what the documents say."""
        return digest([document.hash for document in self.documents])

    def without(self, other: Reading) -> Reading:
        """The same without the documents that the other one has too."""
        theirs = {document.hash for document in other.documents}
        kept = tuple(document for document in self.documents if document.hash not in theirs)
        dropped = Counter(self.ledger.dropped)
        dropped[EQUAL] += len(self.documents) - len(kept)
        ledger = Ledger(rows_in=self.ledger.rows_in, kept=len(kept), dropped={r: n for r, n in dropped.items() if n})
        return Reading(kept, ledger, self.faults)


def read_documents(
    named: Sequence[str], folder: Path, *, skip_faulty: bool = False, progress: Progress = _SILENT
) -> Reading:
    """Read every document of the files that are named.

    Args:
        named, folder: as `find_files` takes them.
        skip_faulty: count what is no document instead of stopping at it.
    Raises: DataError naming what is not there, or the first file and line that is no document.
    """
    files = find_files(named, folder)
    documents: dict[str, Document] = {}
    faults: list[DocumentError] = []
    dropped: Counter[str] = Counter()
    with progress.bar("reading", len(files), "files") as bar:
        for file in files:
            for each in _of(file):
                if isinstance(each, str):
                    dropped[each] += 1
                elif isinstance(each, DocumentError):
                    faults.append(each)
                elif documents.setdefault(each.hash, each) is not each:
                    dropped[EQUAL] += 1
            bar.advance()
    if faults and not skip_faulty:
        raise _first_of(faults)
    dropped += Counter(fault.kind for fault in faults)
    if not documents:
        raise _none(named, folder, dropped)
    ledger = Ledger(rows_in=len(documents) + dropped.total(), kept=len(documents), dropped=dict(dropped.most_common()))
    return Reading(tuple(documents[name] for name in sorted(documents)), ledger, tuple(faults))


def _first_of(faults: Sequence[DocumentError]) -> DataError:
    first, more = faults[0], len(faults) - 1
    return DataError(f"{first.problem} (and {more:,} more at fault)" if more else first.problem, first.hint)


def _none(named: Sequence[str], folder: Path, dropped: Counter[str]) -> DataError:
    why = "; ".join(f"{count:,} × {reason}" for reason, count in dropped.most_common())
    hint = f"name files, folders or patterns with {FORMATS}"
    return DataError(f"{folder}: no documents in {', '.join(named) or 'nothing'}" + (f" ({why})" if why else ""), hint)


def _of(file: Found) -> Iterator[Document | DocumentError | str]:
    """The documents of a file, what is none, and the reason why the file was not opened."""
    if file.format in LINES:
        yield from _of_lines(file)
    elif file.format in KNOWN:
        yield _whole(file)
    elif file.alone:
        yield DocumentError(file.name, f"not {FORMATS}", "turn it into one of these first", file.format)
    else:
        yield f"not {FORMATS} ({file.format or 'no suffix'})"


def _whole(file: Found) -> Document | DocumentError:
    """The file as one document."""
    try:
        text = _text(file.path.read_bytes(), file.name)
    except DocumentError as fault:
        return fault
    except OSError as error:
        return DocumentError(file.name, "cannot be read", detail=error.strerror or str(error))
    return _document(file.name, html_text(text) if file.format in HTML else text, file.name)


def _of_lines(file: Found) -> Iterator[Document | DocumentError]:
    """A document a line."""
    try:
        for line in read_json(file.path):
            place = f"{file.name}:{line.number}"
            try:
                yield _of_line(line, place)
            except DocumentError as fault:
                yield fault
    except DataError as error:
        yield DocumentError(file.name, "cannot be read to its end", error.hint, error.problem)


def _of_line(line: Line, place: str) -> Document | DocumentError:
    if line.fault is not None:
        raise DocumentError(place, line.fault.reason, detail=line.fault.detail)
    source = _text(line.text, place)
    try:
        row: JsonValue = from_json(source)
    except ValueError as error:
        raise DocumentError(place, "not JSON", detail=str(error)) from error
    if not isinstance(row, dict):
        raise DocumentError(place, "not a JSON object", 'write {"text": "…"} in each line')
    text = row.get("text")
    if not isinstance(text, str):
        keys = f"it has the keys {', '.join(row) or 'none'}" if text is None else f"`text` is {str(text)[:40]!r}"
        raise DocumentError(place, "a line without `text`", "the document of a line stands in `text`, a string", keys)
    name, title = row.get("id"), row.get("title")
    return _document(str(name) if name else place, text, place, title if isinstance(title, str) else "")


def _document(name: str, text: str, place: str, title: str = "") -> Document | DocumentError:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()
    if not lines:
        return DocumentError(place, "an empty document", "take it out, or fill it")
    return Document(id=name, title=title.strip(), text=lines)


def _text(data: bytes, place: str) -> str:
    """Bytes as text.

    Raises: DocumentError if they are none.
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise DocumentError(place, "text in UTF-16", "save it as UTF-8: iconv -f UTF-16 -t UTF-8")
    if b"\0" in data:
        raise DocumentError(place, "binary, no text", "take it out of the documents", f"byte {data.index(0):,} is 0")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "if it is text, save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8; else take it out"
        detail = f"byte {error.start:,} is {data[error.start]:#04x}"
        raise DocumentError(place, "not UTF-8 text", hint, detail) from error
