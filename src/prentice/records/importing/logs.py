"""Reading logs: every row becomes an episode, or part of one, or is named with the reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from prentice.records.base import first_fault
from prentice.records.episodes import Episode
from prentice.records.importing.calls import Conversation, Gathering, Group
from prentice.records.importing.chats import Tools
from prentice.records.importing.conversations import Draft, LogOptions, make_episode
from prentice.records.importing.faults import Rejected, RowError, shown
from prentice.records.importing.fields import Fields
from prentice.records.importing.formats import find_format, read_rows, tell_format
from prentice.records.importing.lines import Advance, nothing
from prentice.records.importing.otel import with_events
from prentice.records.importing.values import Line

DEFAULT = LogOptions()


def read_logs(
    paths: str | Path | Iterable[str | Path], options: LogOptions = DEFAULT, advance: Advance = nothing
) -> Iterator[Episode | Rejected]:
    """Stream the episodes of logs, and what was left out of them.

    Calls that are spread over the files (OpenTelemetry, Langfuse) come at the end, a conversation at a time.

    Args:
        advance: told how many bytes were read since the last time.
    Raises: DataError if a file cannot be read, or is of no known format; UnknownNameError for an unknown format.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    for placed in _placed(files, options, advance):
        yield placed.episode if isinstance(placed, Placed) else placed


@dataclass(frozen=True, slots=True)
class Placed:
    """An episode and where it was read; where its calls are spread, the last of them."""

    episode: Episode
    file: str
    line: int


def _placed(files: list[Path], options: LogOptions, advance: Advance) -> Iterator[Placed | Rejected]:
    gathered: dict[str, list[Path]] = {}
    for path, name in [(path, tell_format(path, options)) for path in files]:
        if name and find_format(name).entries is not None:
            gathered.setdefault(name, []).append(path)
        elif name:
            yield from map(RowReader(path, name, options).placed, read_rows(path, advance))
    for name, some in gathered.items():
        yield from read_gathered(some, name, options, advance)


class RowReader:
    """Reads the rows of one file, of which each is an episode."""

    def __init__(self, path: Path, name: str, options: LogOptions) -> None:
        self._path, self._name, self._options = path, name, options
        self._tools = Tools()

    def placed(self, line: Line) -> Placed | Rejected:
        """The episode of a row, or why there is none."""
        row = find_format(self._name).row
        assert row is not None
        try:
            draft = row(parse(line), self._options, self._tools)
            if isinstance(draft, Draft):
                draft = make_episode(draft, line.text, self._name, task_name(self._path), self._options)
            return Placed(draft, str(self._path), line.number)
        except (RowError, ValidationError) as error:
            return rejected(str(self._path), line.number, error)


def parse(line: Line) -> Fields:
    """The object of a row.

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


def rejected(file: str, line: int, error: RowError | ValidationError) -> Rejected:
    """A row with the reason why it was left out."""
    if isinstance(error, RowError):
        return Rejected(file=file, line=line, reason=error.reason, detail=error.detail)
    key, words = first_fault(error)
    return Rejected(file=file, line=line, reason="cannot be stored", detail=f"{key}: {words}")


def task_name(path: Path) -> str:
    """The file's name without its endings."""
    return path.name.split(".")[0] or path.name


def read_gathered(files: list[Path], name: str, options: LogOptions, advance: Advance) -> Iterator[Placed | Rejected]:
    """The episodes of all calls in these files."""
    entries = find_format(name).entries
    assert entries is not None
    with closing(Gathering()) as gathering:
        for path in files:
            for line in read_rows(path, advance):
                try:
                    found = list(entries(parse(line)))
                except RowError as error:
                    found = [error]
                for entry in found:
                    if isinstance(entry, RowError):
                        yield rejected(str(path), line.number, entry)
                    else:
                        gathering.add(entry, str(path), line.number)
        tools = Tools()
        for group in gathering.groups():
            yield from _group(group, gathering, name, options, tools)


def _group(
    group: Group, gathering: Gathering, name: str, options: LogOptions, tools: Tools
) -> Iterator[Placed | Rejected]:
    """The episode of a conversation, after those of its calls that could not be read."""
    conversation = Conversation(group.key)
    for call in group.calls:
        try:
            conversation.add(with_events(call.body, gathering.notes(call.body.pop("about", ""))), options, tools)
        except (RowError, ValidationError) as error:
            yield rejected(call.file, call.line, error)
    last = group.calls[-1]
    try:
        conversation.score(gathering.notes(group.key))
        if (draft := conversation.draft()) is not None:
            episode = make_episode(draft, b"", name, task_name(Path(last.file)), options)
            yield Placed(episode, last.file, last.line)
    except (RowError, ValidationError) as error:
        yield rejected(last.file, last.line, error)
