"""Reading a log: every row becomes an episode or is named with the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from prentice.records.base import first_fault
from prentice.records.episodes import Episode
from prentice.records.importing.chats import Tools
from prentice.records.importing.conversations import Draft, LogOptions, make_episode
from prentice.records.importing.faults import Rejected, RowError, shown
from prentice.records.importing.fields import Fields
from prentice.records.importing.lines import Line, read_lines
from prentice.records.importing.openai import read_openai

RowReader = Callable[[Fields, LogOptions, Tools], Draft]
FORMATS: dict[str, RowReader] = {"openai": read_openai}
DEFAULT = LogOptions()


def read_logs(path: str | Path, options: LogOptions = DEFAULT) -> Iterator[Episode | Rejected]:
    """Stream the episodes of a log, and what was left out of it, in the order of the file.

    Raises: DataError if the file cannot be read, or is of no known format.
    """
    path = Path(path)
    tools = Tools()
    for line in read_lines(path):
        yield _read(line, path, "openai", options, tools)


def _read(line: Line, path: Path, source: str, options: LogOptions, tools: Tools) -> Episode | Rejected:
    try:
        draft = FORMATS[source](parse(line), options, tools)
        return make_episode(draft, line.text, source, task_name(path), options)
    except RowError as fault:
        return Rejected(file=str(path), line=line.number, reason=fault.reason, detail=fault.detail)
    except ValidationError as error:
        key, words = first_fault(error)
        return Rejected(file=str(path), line=line.number, reason="cannot be stored", detail=f"{key}: {words}")


def parse(line: Line) -> Fields:
    """The object of a line.

    Raises: RowError if there is none.
    """
    if line.fault is not None:
        raise line.fault
    try:
        row = from_json(line.text, allow_inf_nan=False)
    except ValueError as error:
        raise _fault_of(line.text, error) from error
    if not isinstance(row, dict):
        raise RowError("not a JSON object", shown(row))
    return row


def _fault_of(text: bytes, error: ValueError) -> RowError:
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        return RowError("not UTF-8", f"byte 0x{text[wrong.start]:02x} at {wrong.start + 1}")
    return RowError("malformed JSON", str(error).replace("line 1 column", "column"))


def task_name(path: Path) -> str:
    """The file's name without its endings."""
    return path.name.split(".")[0] or path.name
