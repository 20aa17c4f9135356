"""The formats that are known, and how a file's is told from its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic_core import from_json

from prentice.errors import DataError, UnknownNameError
from prentice.records.episodes import Episode
from prentice.records.importing.calls import Entry
from prentice.records.importing.chats import Tools
from prentice.records.importing.conversations import Draft, LogOptions
from prentice.records.importing.faults import RowError, shown
from prentice.records.importing.fields import Fields
from prentice.records.importing.langfuse import fits_langfuse, langfuse_entries
from prentice.records.importing.lines import Advance, nothing, read_json
from prentice.records.importing.openai import read_openai
from prentice.records.importing.otel import fits_otel, otel_entries
from prentice.records.importing.sharegpt import read_sharegpt
from prentice.records.importing.sheets import read_csv, read_parquet, read_xlsx
from prentice.records.importing.tables import columns, read_table
from prentice.records.importing.values import Line

_LOOKED_AT = 1_000
"""Rows among which one has to be of a known format."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: either every row is an episode, or rows hold calls that are to be gathered."""

    what: str
    fits: Callable[[Fields, LogOptions], bool]
    row: Callable[[Fields, LogOptions, Tools], Draft | Episode] | None = None
    entries: Callable[[Fields], Iterator[Entry | RowError]] | None = None


def _prentice(row: Fields, options: LogOptions, tools: Tools) -> Episode:
    """An episode as `prentice episodes export` wrote it stays as it is."""
    del options, tools
    return Episode.model_validate(row)


def _has_messages(row: Fields, options: LogOptions) -> bool:
    del options
    pair = "response" in row and "request" in row
    return "messages" in row or pair or (isinstance(row.get("prompt"), list) and "completion" in row)


FORMATS: dict[str, Format] = {
    "prentice": Format(
        "episodes as prentice exports them", lambda row, _: {"turns", "run", "case"} <= row.keys(), _prentice
    ),
    "otel": Format("OpenTelemetry spans, OTLP as JSON", lambda row, _: fits_otel(row), entries=otel_entries),
    "langfuse": Format("Langfuse export", lambda row, _: fits_langfuse(row), entries=langfuse_entries),
    "sharegpt": Format("ShareGPT conversations", lambda row, _: "conversations" in row, read_sharegpt),
    "openai": Format("OpenAI chats, calls, fine-tuning files", _has_messages, read_openai),
    "messages": Format("Hugging Face `messages` datasets", _has_messages, read_openai),
    "table": Format("a column for input, one for output", lambda row, options: all(columns(row, options)), read_table),
}
"""By name, in the order they are tried."""


def find_format(name: str) -> Format:
    """The format of that name.

    Raises: UnknownNameError.
    """
    if name not in FORMATS:
        raise UnknownNameError(f"no log format named {name!r}", f"known: {', '.join(FORMATS)}")
    return FORMATS[name]


def read_rows(path: Path, advance: Advance = nothing) -> Iterator[Line]:
    """The rows of a file, whatever its kind.

    Raises: DataError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    endings = {ending.lower() for ending in path.suffixes}
    if start == b"PAR1":
        return read_parquet(path, advance)
    if start == b"PK\x03\x04":
        return read_xlsx(path, advance)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{path}: a spreadsheet of before 2007", "save it as .xlsx or .csv")
    return read_csv(path, advance) if endings & {".csv", ".tsv"} else read_json(path, advance)


def tell_format(path: Path, options: LogOptions) -> str:
    """The name of a file's format, told from the first row that is of a known one; "" for a file without rows.

    Raises: DataError if none is.
    """
    if options.format is not None:
        find_format(options.format)
        return options.format
    first: object = ""
    for line in islice(read_rows(path), _LOOKED_AT):
        row = first_look(line)
        if row is not None:
            for name, known in FORMATS.items():
                if known.fits(row, options):
                    return "messages" if name == "openai" and path.suffix == ".parquet" else name
        first = first or (row and f"fields {', '.join(map(str, row))}") or shown(line.text[:60])
    if not first:
        return ""
    hint = f"known: {', '.join(f'{name} ({known.what})' for name, known in FORMATS.items())}"
    if (path.suffixes and {".csv", ".tsv", ".xlsx"} & set(path.suffixes)) or options.input or options.output:
        hint = "name the columns: --read input=COLUMN --read output=COLUMN"
    raise DataError(f"{path}: not a log of a known format; its first row has {first}"[:400], hint)


def first_look(line: Line) -> Fields | None:
    """The object of a row, if there is one."""
    try:
        row = from_json(line.text, allow_inf_nan=False)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
