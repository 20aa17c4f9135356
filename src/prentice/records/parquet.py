"""A dataset on disk: `rows.parquet` to train on, `ledger.parquet` with one line for every row that came in,
`manifest.json`, and `SHA256SUMS` of the two tables (`sha256sum -c` reads it).

Chats are kept as JSON text in their columns, so that any tool reads the file and tool schemas of any shape fit.
Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from prentice.errors import DataError
from prentice.records.base import Record, digest
from prentice.records.chats import Message, Tool
from prentice.records.datasets import Example, Manifest
from prentice.runs import folder_atomic, read_record

if TYPE_CHECKING:
    import polars

ROWS, LEDGER, MANIFEST, SUMS = "rows.parquet", "ledger.parquet", "manifest.json", "SHA256SUMS"
KEPT = "kept"
_REMAKE = "make the dataset again with `prentice curate`"
_MESSAGES = TypeAdapter(tuple[Message, ...])
_TOOLS = TypeAdapter(tuple[Tool, ...])


class LedgerRow(Record):
    """What became of one row that came in."""

    episode: str
    turn: int | None
    """Index of the turn; None for an episode that ended before its first turn."""
    case: str
    fate: str
    """`kept`, or the reason it was dropped."""


def rows_hash(examples: Sequence[Example]) -> str:
    """The `hash` of a manifest: it covers every field of every row, and their order."""
    return digest([example.model_dump(mode="json") for example in examples])


def write_dataset(
    folder: Path, examples: Sequence[Example], ledger_rows: Sequence[LedgerRow], manifest: Manifest
) -> None:
    """Write a dataset so that it is there whole or not at all; a dataset already in `folder` is replaced.

    Raises: ValueError if the manifest, the rows and the ledger contradict each other (a bug of the caller);
        PrenticeError if the disk is full.
    """
    kept = sum(row.fate == KEPT for row in ledger_rows)
    counts = (len(examples), len(ledger_rows))
    if (manifest.ledger.kept, manifest.ledger.rows_in) != counts or kept != len(examples):
        raise ValueError(f"{counts[0]} rows and {counts[1]} ledger lines ({kept} kept) against {manifest.ledger}")
    if manifest.hash != rows_hash(examples):
        raise ValueError(f"manifest has hash {manifest.hash}, its rows have {rows_hash(examples)}")
    with folder_atomic(folder) as scratch:
        tables = {
            LEDGER: _parquet(map(_ledger_columns, ledger_rows), _LEDGER_SCHEMA),
            ROWS: _parquet(map(_row_columns, examples), _ROW_SCHEMA),
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
    manifest = read_record(Manifest, folder / MANIFEST)
    path = folder / ROWS
    examples: list[Example] = []
    for number, columns in enumerate(_read(path, _ROW_SCHEMA), start=1):
        try:
            examples.append(_example(columns))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise DataError(f"{path}: row {number}: {first['msg']}", _REMAKE) from error
    found = rows_hash(examples)
    if found != manifest.hash:
        raise DataError(f"{path}: its {len(examples)} rows have hash {found}, {MANIFEST} says {manifest.hash}", _REMAKE)
    return manifest, examples


def read_ledger(folder: Path) -> list[LedgerRow]:
    """Read what became of every row that came in.

    Raises: DataError naming the file if it is missing, damaged or has other columns.
    """
    return [LedgerRow.model_validate(columns) for columns in _read(folder / LEDGER, _LEDGER_SCHEMA)]


_ROW_SCHEMA = {
    "id": "String",
    "episode": "String",
    "case": "String",
    "turn": "Int64",
    "split": "String",
    "messages": "String",
    "tools": "String",
    "reply": "String",
    "weight": "Float64",
}
_LEDGER_SCHEMA = {"episode": "String", "turn": "Int64", "case": "String", "fate": "String"}


def _row_columns(example: Example) -> tuple[Any, ...]:
    return (
        example.id,
        example.episode,
        example.case,
        example.turn,
        example.split,
        _MESSAGES.dump_json(example.messages).decode(),
        _TOOLS.dump_json(example.tools).decode(),
        example.reply.model_dump_json(),
        example.weight,
    )


def _ledger_columns(row: LedgerRow) -> tuple[Any, ...]:
    return row.episode, row.turn, row.case, row.fate


def _example(columns: Mapping[str, Any]) -> Example:
    chat = {
        "messages": _MESSAGES.validate_json(columns["messages"] or ""),
        "tools": _TOOLS.validate_json(columns["tools"] or ""),
        "reply": Message.model_validate_json(columns["reply"] or ""),
    }
    return Example.model_validate({**columns, **chat})


def _parquet(rows: Iterable[tuple[Any, ...]], schema: Mapping[str, str]) -> bytes:
    import polars as pl

    types = {name: getattr(pl, kind) for name, kind in schema.items()}
    buffer = io.BytesIO()  # polars' own file errors lose the errno that tells a full disk from other faults
    pl.DataFrame(list(rows), schema=types, orient="row").write_parquet(
        buffer, compression="zstd", row_group_size=50_000
    )
    return buffer.getvalue()


def _read(path: Path, schema: Mapping[str, str]) -> list[dict[str, Any]]:
    frame = _frame(path)
    found = {name: str(kind) for name, kind in frame.schema.items()}
    if found != schema:
        wrong = sorted({*found.items()} ^ {*schema.items()})
        names = ", ".join(dict.fromkeys(f"{name!r}" for name, _ in islice(wrong, 6)))
        raise DataError(f"{path}: unexpected columns: missing, added or of another type: {names}", _REMAKE)
    return frame.to_dicts()


def _frame(path: Path) -> polars.DataFrame:
    import polars as pl

    data = _bytes(path)
    sums = _bytes(path.parent / SUMS).decode("ascii", "replace").splitlines()
    if f"{_sha256(data)}  {path.name}" not in sums:  # before decoding: polars panics on some damaged bytes
        raise DataError(f"{path}: damaged: its {len(data)} bytes do not have the checksum in {SUMS}", _REMAKE)
    try:
        return pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: not a parquet file: {str(error).splitlines()[0]}", _REMAKE) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", _REMAKE) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
