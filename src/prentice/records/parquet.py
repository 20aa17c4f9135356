"""A dataset on disk: `rows.parquet` to train on, `ledger.parquet` with one line for every row that came in,
`manifest.json`, and `SHA256SUMS` of the two tables (`sha256sum -c` reads it).

Chats are kept as JSON text in their columns, so that any tool reads the file and tool schemas of any shape fit.
Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from prentice.errors import DataError
from prentice.records.base import Record, digest, first_fault
from prentice.records.chats import Message, Tool
from prentice.records.datasets import Example, Manifest, Pair, Thumb
from prentice.runs import folder_atomic, read_record

if TYPE_CHECKING:
    import polars

ROWS, LEDGER, MANIFEST, SUMS = "rows.parquet", "ledger.parquet", "manifest.json", "SHA256SUMS"
KEPT = "kept"
_MESSAGES: TypeAdapter[Any] = TypeAdapter(tuple[Message, ...])
_TOOLS: TypeAdapter[Any] = TypeAdapter(tuple[Tool, ...])
_MESSAGE: TypeAdapter[Any] = TypeAdapter(Message)
R = TypeVar("R", Example, Pair, Thumb)


@dataclass(frozen=True)
class Form(Generic[R]):
    """How one kind of rows lies in columns.

    Args:
        kind: of the rows.
        columns: name → type of polars; the names are fields of the record.
        texts: fields that are kept as JSON text.
        command: what makes such a dataset again.
    """

    kind: type[R]
    columns: Mapping[str, str]
    texts: Mapping[str, TypeAdapter[Any]]
    command: str

    @property
    def hint(self) -> str:
        """What to do where one is damaged."""
        return f"make the dataset again with `{self.command}`"

    def row(self, record: R) -> tuple[Any, ...]:
        """The record's columns."""
        values = {name: getattr(record, name) for name in self.columns}
        return tuple(
            self.texts[name].dump_json(value).decode() if name in self.texts else value
            for name, value in values.items()
        )

    def record(self, columns: Mapping[str, Any]) -> R:
        """The record of a row; raises ValidationError."""
        read = {name: adapter.validate_json(columns[name] or "") for name, adapter in self.texts.items()}
        return self.kind.model_validate({**columns, **read})


_PLACE = {"id": "String", "episode": "String", "case": "String", "turn": "Int64", "split": "String"}
_CHAT = {"messages": "String", "tools": "String", "reply": "String"}
_CHAT_TEXTS = {"messages": _MESSAGES, "tools": _TOOLS, "reply": _MESSAGE}
EXAMPLES = Form(Example, {**_PLACE, **_CHAT, "weight": "Float64"}, _CHAT_TEXTS, "prentice curate")
THUMBS = Form(Thumb, {**_PLACE, **_CHAT, "weight": "Float64", "good": "Boolean"}, _CHAT_TEXTS, "prentice curate pairs")
PAIRS = Form(
    Pair,
    {
        **{"episodes" if name == "episode" else name: kind for name, kind in _PLACE.items()},
        **dict.fromkeys(("messages", "tools", "chosen", "rejected"), "String"),
        "weight": "Float64",
        "source": "String",
        "reason": "String",
    },
    {
        "episodes": TypeAdapter(tuple[str, ...]),
        "messages": _MESSAGES,
        "tools": _TOOLS,
        "chosen": _MESSAGE,
        "rejected": _MESSAGE,
    },
    "prentice curate pairs",
)


class LedgerRow(Record):
    """What became of one row that came in."""

    episode: str
    turn: int | None
    """Index of the turn; None for an episode that ended before its first turn."""
    case: str
    fate: str
    """`kept`, or the reason it was dropped."""


def rows_hash(rows: Sequence[Record]) -> str:
    """The `hash` of a manifest: it covers every field of every row, and their order."""
    return digest([row.model_dump(mode="json") for row in rows])


def write_dataset(
    folder: Path, examples: Sequence[Example], ledger_rows: Sequence[LedgerRow], manifest: Manifest
) -> None:
    """Write a dataset so that it is there whole or not at all; a dataset already in `folder` is replaced.

    Raises: ValueError if the manifest, the rows and the ledger contradict each other (a bug of the caller);
        PrenticeError if the disk is full.
    """
    if manifest.ledger.kept != len(examples):
        raise ValueError(f"{len(examples)} rows and {len(ledger_rows)} ledger lines against {manifest.ledger}")
    write_rows(folder, EXAMPLES, examples, ledger_rows, manifest)


def write_rows(
    folder: Path, form: Form[R], rows: Sequence[R], ledger_rows: Sequence[LedgerRow], manifest: Manifest
) -> None:
    """As `write_dataset`, for rows of any form; of which replies several make a row, the ledger counts replies."""
    kept = sum(row.fate == KEPT for row in ledger_rows)
    if (manifest.ledger.kept, manifest.ledger.rows_in) != (kept, len(ledger_rows)):
        raise ValueError(f"{len(ledger_rows)} ledger lines ({kept} kept) against {manifest.ledger}")
    if manifest.hash != rows_hash(rows):
        raise ValueError(f"manifest has hash {manifest.hash}, its rows have {rows_hash(rows)}")
    with folder_atomic(folder) as scratch:
        tables = {
            LEDGER: _parquet(map(_ledger_columns, ledger_rows), _LEDGER_SCHEMA),
            ROWS: _parquet(map(form.row, rows), form.columns),
        }
        for name, data in tables.items():
            (scratch / name).write_bytes(data)
        (scratch / SUMS).write_text(
            "".join(f"{_sha256(data)}  {name}\n" for name, data in tables.items()), encoding="utf-8"
        )
        (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_dataset(folder: Path) -> tuple[Manifest, list[Example]]:
    """Read a dataset and check that its rows are those that its manifest speaks of.

    Raises: DataError naming the file if it is missing, damaged, has other columns, or does not fit the manifest.
    """
    return read_rows(folder, EXAMPLES)


def read_rows(folder: Path, form: Form[R]) -> tuple[Manifest, list[R]]:
    """As `read_dataset`, for rows of any form."""
    manifest = read_record(Manifest, folder / MANIFEST)
    path = folder / ROWS
    rows: list[R] = []
    for number, columns in enumerate(_read(path, form.columns, form.hint), start=1):
        try:
            rows.append(form.record(columns))
        except ValidationError as error:
            raise DataError(f"{path}: row {number}: {first_fault(error)[1]}", form.hint) from error
    found = rows_hash(rows)
    if found != manifest.hash:
        raise DataError(f"{path}: its {len(rows)} rows have hash {found}, {MANIFEST} says {manifest.hash}", form.hint)
    return manifest, rows


def read_ledger(folder: Path) -> list[LedgerRow]:
    """Read what became of every row that came in.

    Raises: DataError naming the file if it is missing, damaged or has other columns.
    """
    return [LedgerRow.model_validate(columns) for columns in _read(folder / LEDGER, _LEDGER_SCHEMA, EXAMPLES.hint)]


_LEDGER_SCHEMA = {"episode": "String", "turn": "Int64", "case": "String", "fate": "String"}


def _ledger_columns(row: LedgerRow) -> tuple[Any, ...]:
    return row.episode, row.turn, row.case, row.fate


def _parquet(rows: Iterable[tuple[Any, ...]], schema: Mapping[str, str]) -> bytes:
    import polars as pl

    types = {name: getattr(pl, kind) for name, kind in schema.items()}
    buffer = io.BytesIO()  # polars' own file errors lose the errno that tells a full disk from other faults
    pl.DataFrame(list(rows), schema=types, orient="row").write_parquet(
        buffer, compression="zstd", row_group_size=50_000
    )
    return buffer.getvalue()


def _read(path: Path, schema: Mapping[str, str], hint: str) -> list[dict[str, Any]]:
    frame = _frame(path, hint)
    found = {name: str(kind) for name, kind in frame.schema.items()}
    if found != schema:
        wrong = sorted({*found.items()} ^ {*schema.items()})
        names = ", ".join(dict.fromkeys(f"{name!r}" for name, _ in islice(wrong, 6)))
        raise DataError(f"{path}: unexpected columns: missing, added or of another type: {names}", hint)
    return frame.to_dicts()


def _frame(path: Path, hint: str) -> polars.DataFrame:
    import polars as pl

    data = _bytes(path, hint)
    sums = _bytes(path.parent / SUMS, hint).decode("ascii", "replace").splitlines()
    if f"{_sha256(data)}  {path.name}" not in sums:  # before decoding: polars panics on some damaged bytes
        raise DataError(f"{path}: damaged: its {len(data)} bytes do not have the checksum in {SUMS}", hint)
    try:
        return pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: not a parquet file: {str(error).splitlines()[0]}", hint) from error


def _bytes(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", hint) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
