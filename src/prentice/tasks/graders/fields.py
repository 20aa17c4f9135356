"""A grader of JSON objects, field by field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import JsonValue

from prentice.errors import ConfigError
from prentice.records import Metric
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig


class JsonConfig(GraderConfig):
    """The reply is a JSON object with the expected fields."""

    kind: str = "json"
    """The built-in that this section configures."""
    fields: tuple[str, ...] = ()
    """Fields that are compared; default: all that the expected object has, and then there may be no other."""
    response_schema: dict[str, JsonValue] | Path | None = None
    """JSON schema that replies are held to by models that can be, here or as a .json file of the project."""


class JsonFields(Grader):
    """Success is a valid object whose fields are all right; each field is a metric of its own.

    Raises: ConfigError if the file of the schema cannot be read.
    """

    Config = JsonConfig

    def __init__(self, config: JsonConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del keys
        self._fields = config.fields
        schema = config.response_schema
        self.response_schema = _read_schema(folder / schema) if isinstance(schema, Path) else schema

    def key(self, expected: JsonValue) -> str:
        """The expected object, each reply of the same form: one line, keys in their order."""
        return json.dumps(self._object(expected), ensure_ascii=False)

    def code(self) -> JsonValue:
        """The schema, wherever it is kept."""
        return self.response_schema

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """`valid_json`, `field.NAME` for each field, and `success`; a text with something around it is not JSON."""
        right, said = self._object(answer.expected), read_object(answer.text)
        names = self._fields or tuple(right)
        fields = {name: said is not None and name in said and _same(said[name], right.get(name)) for name in names}
        other = said is not None and not self._fields and said.keys() - right.keys()
        return (
            Metric(name="valid_json", value=said is not None),
            *(Metric(name=f"field.{name}", value=value) for name, value in fields.items()),
            Metric(name="success", value=said is not None and all(fields.values()) and not other),
        )

    def _object(self, expected: JsonValue) -> dict[str, JsonValue]:
        value = read_object(expected) if isinstance(expected, str) else expected
        if not isinstance(value, dict):
            raise ValueError(f"{_short(expected)} is not a JSON object")
        if missing := [name for name in self._fields if name not in value]:
            raise ValueError(f"{_short(expected)} has no field {missing[0]!r}")
        return value


def _same(said: JsonValue, right: JsonValue) -> bool:
    """Equal, but for white space around texts; 1 and true are two things, 1 and 1.0 are one."""
    if isinstance(said, str) and isinstance(right, str):
        return said.strip() == right.strip()
    if isinstance(said, list) and isinstance(right, list):
        return len(said) == len(right) and all(_same(a, b) for a, b in zip(said, right, strict=True))
    if isinstance(said, dict) and isinstance(right, dict):
        return said.keys() == right.keys() and all(_same(said[name], right[name]) for name in said)
    return isinstance(said, bool) == isinstance(right, bool) and said == right


def read_object(text: str) -> dict[str, JsonValue] | None:
    """The JSON object that a text is; None for anything else, a key that stands there twice and NaN among it."""
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _read_schema(path: Path) -> dict[str, JsonValue]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", "name a file in [task.grade] response_schema"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(schema, dict):
        raise ConfigError(f"{path}: a JSON schema is an object")
    return schema


def _short(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
