"""Texts in which people have marked entities, from files of any usual form.

| form | what it is |
|---|---|
| .csv, .jsonl, .parquet | a row a text: `text` and `entities` (type → texts), or `tokens` and `tags` (one a token) |
| `hf://datasets/…` | the same, read from the Hugging Face hub; `*` stands for several files |
| anything else | CoNLL columns: a token a line, its tag in the last column, an empty line between texts |

Tags are IOB1, IOB2 or BIOES. Tokens are joined by spaces.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prentice.errors import DataError
from prentice.tasks.cases import file_rows, readable

if TYPE_CHECKING:
    import polars as pl

Role = Literal["id", "split", "text", "entities", "tokens", "tags"]
"""What a column can be."""
HUB, OFFLINE = "hf://", "HF_HUB_OFFLINE"
ROWS, TABLE = (".csv", ".jsonl"), ".parquet"
KNOWN: Mapping[Role, tuple[str, ...]] = {
    "id": ("id",),
    "split": ("raw_split", "split"),
    "text": ("text", "input", "sentence"),
    "entities": ("entities", "expected", "output"),
    "tokens": ("tokens", "words"),
    "tags": ("tags", "ner_tags", "labels"),
}
"""Names that a column may have; the first that is there is taken."""
DOCUMENT = "-DOCSTART-"
_FIELDS = re.compile(r"[ \t]+")
Marked = dict[str, list[str]]
"""Entity type → the texts that are such, in their order."""


@dataclass(frozen=True)
class Annotated:
    """A text with its entities.

    Args:
        where: file and line, for errors.
        line: number of the line, or of the row.
        id, split: as the row says, or empty.
    """

    where: str
    line: int
    id: str
    split: str
    text: str
    entities: Marked


def read_annotated(place: str, columns: Mapping[Role, str], tag_names: Sequence[str] = ()) -> Iterator[Annotated]:
    """The texts of a file, in its order.

    Args:
        columns: what a column is called, where it is none of `KNOWN`.
        tag_names: what tags stand for that are numbers, from 0 on.
    Raises: DataError naming file, line and value.
    """
    path = Path(place)
    if place.startswith(HUB) or path.suffix == TABLE:
        yield from _from_rows(place, _table(place), columns, tag_names)
    elif path.suffix in ROWS:
        yield from _from_rows(place, readable(file_rows(path)), columns, tag_names)
    else:
        yield from _from_columns(path)


def entities_of(where: str, tokens: Sequence[str], tags: Sequence[str]) -> Marked:
    """The entities that tags mark: IOB1, IOB2 (B begins, I goes on) or BIOES (E ends, S stands alone).

    In IOB1 an entity begins with I, and B parts it from one of the same type before it.

    Raises: DataError for a tag of another form, or a number of tags that is not that of the tokens.
    """
    if len(tokens) != len(tags):
        raise DataError(f"{where}: {len(tokens)} tokens have {len(tags)} tags")
    found: Marked = {}
    open_type = ""
    for token, tag in zip(tokens, tags, strict=True):
        mark, _, kind = tag.partition("-")
        if tag == "O":
            open_type = ""
            continue
        if mark not in ("B", "I", "E", "S") or not kind:
            raise DataError(f"{where}: tag {tag!r} is not O, B-TYPE, I-TYPE, E-TYPE or S-TYPE")
        if mark in ("B", "S") or kind != open_type:
            found.setdefault(kind, []).append(token)
        else:
            found[kind][-1] += f" {token}"
        open_type = "" if mark in ("E", "S") else kind
    return found


def _from_columns(path: Path) -> Iterator[Annotated]:
    tokens: list[str] = []
    tags: list[str] = []
    begun = 0
    for number, line in enumerate([*_lines(path), ""], 1):
        # other white space may be a part of a token: 10 000 with a space that does not break
        fields = [field for field in _FIELDS.split(line) if field]
        if fields and fields[0] != DOCUMENT:
            if len(fields) == 1:
                raise DataError(f"{path}:{number}: {line.strip()[:80]!r} is one column: a token and its tag are two")
            begun = begun if tokens else number
            tokens.append(fields[0])
            tags.append(fields[-1])
        elif tokens:
            where = f"{path}:{begun}"
            yield Annotated(where, begun, "", "", " ".join(tokens), entities_of(where, tokens, tags))
            tokens, tags = [], []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")  # read_text has made \r\n one; U+2028 ends no line
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", "set [task] cases to what holds the texts") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error}") from error


def _table(place: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a file of the hub or of parquet; tags that are numbers become the names that a header gives them."""
    import polars as pl

    if place.startswith(HUB) and os.environ.get(OFFLINE) == "1":  # polars' connections are not seen by an audit hook
        raise DataError(f"{place}: lies on the hub, and this run is offline", "copy it here, or set offline = false")
    try:
        frame = frame_of(place)
        named = {} if place.startswith(HUB) else pl.read_parquet_metadata(place)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{place}: cannot be read: {str(error).splitlines()[0]}") from error
    names = _names_of_tags(named.get("huggingface", ""))
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        yield number, {key: _named(value, names[key]) if key in names else value for key, value in row.items()}


def frame_of(place: str) -> pl.DataFrame:
    """The rows of a file, here or on the hub, by its ending: .csv (cells stay texts), .jsonl, else parquet."""
    import polars as pl

    if place.endswith(".csv"):
        return pl.scan_csv(place, infer_schema=False).collect()
    if place.endswith(".jsonl"):
        return pl.scan_ndjson(place, infer_schema_length=None).collect()
    return pl.read_parquet(place)


def _named(value: Any, names: Sequence[str]) -> Any:
    """A list in which numbers are names, as far as they are known."""
    if not isinstance(value, list):
        return value
    return [names[n] if isinstance(n, int) and 0 <= n < len(names) else n for n in value]


def _names_of_tags(header: str) -> dict[str, list[str]]:
    """Column → names of its numbers, from what the library `datasets` writes into a file's header."""
    features = json.loads(header)["info"]["features"] if header else {}
    inner = {name: feature.get("feature", {}) for name, feature in features.items() if isinstance(feature, dict)}
    return {name: feature["names"] for name, feature in inner.items() if "names" in feature}


def _from_rows(
    place: str, rows: Iterator[tuple[int, Mapping[str, Any]]], columns: Mapping[Role, str], tag_names: Sequence[str]
) -> Iterator[Annotated]:
    for line, row in rows:
        where = f"{place}:{line}"
        given = {role: _column(where, row, role, columns.get(role, "")) for role in KNOWN}
        text, entities = _read(where, row, given, tag_names)
        yield Annotated(where, line, _said(row, given["id"]), _said(row, given["split"]), text, entities)


def _said(row: Mapping[str, Any], column: str | None) -> str:
    return "" if column is None or row[column] is None else str(row[column])


def _column(where: str, row: Mapping[str, Any], role: Role, name: str) -> str | None:
    if name and name not in row:
        raise DataError(f"{where}: there is no column {name!r}", f"the columns are {', '.join(row)}")
    return name or next((known for known in KNOWN[role] if known in row), None)


def _read(
    where: str, row: Mapping[str, Any], given: Mapping[Role, str | None], tag_names: Sequence[str]
) -> tuple[str, Marked]:
    tokens, tags, text, entities = given["tokens"], given["tags"], given["text"], given["entities"]
    if tokens is not None and tags is not None:
        words = _list_of_texts(where, tokens, _plain(where, tokens, row[tokens]))
        marks = _list_of_texts(where, tags, _named(_plain(where, tags, row[tags]), tag_names))
        return " ".join(words), entities_of(where, words, marks)
    if text is None or entities is None:
        unknown = "text" if text is None else "entities"
        raise DataError(
            f"{where}: none of the columns {', '.join(row)} is known as the {unknown}",
            'name it: [task] columns = { text = "…", entities = "…" }',
        )
    return str(row[text] or ""), _marked(where, entities, row[entities])


def _list_of_texts(where: str, name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        is_number = isinstance(value, list) and any(isinstance(each, int) for each in value)
        hint = 'say what they stand for: [task] tag_names = ["O", "B-person", …]' if is_number else ""
        raise DataError(f"{where}: {name} is not a list of texts: {str(value)[:80]}", hint)
    return value


def _marked(where: str, name: str, value: Any) -> Marked:
    read = _plain(where, name, value)
    if not isinstance(read, Mapping):
        raise DataError(f"{where}: {name} is not a JSON object of type → texts: {str(value)[:80]}")
    return {kind: _list_of_texts(where, f"{name}.{kind}", texts) for kind, texts in read.items() if texts}


def _plain(where: str, name: str, value: Any) -> Any:
    """A cell's value; where it is a text, as in a CSV file, what its JSON says."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {name} is not valid JSON: {error}") from error
