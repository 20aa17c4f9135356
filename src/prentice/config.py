"""Configuration: frozen classes that live beside the function they configure, read from TOML with overrides.

One source for the command line, the docs and the schema: the field and the docstring under it.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from prentice.errors import ConfigError


class StageConfig(BaseModel):
    """Base of every configuration: frozen, refuses unknown keys, documents itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


C = TypeVar("C", bound=StageConfig)


def read_toml(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a TOML file (None: an empty one) and lay `a.b=c` overrides over it; the right side is TOML, else a string.

    Raises: ConfigError if the file cannot be read or parsed, or an override has no `=`.
    """
    try:
        data = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", "name a project folder that holds a prentice.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for override in overrides:
        _lay_over(data, override)
    return data


def _lay_over(data: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise ConfigError(f"--set {override!r} has no `=`", "write --set section.key=value")
    *parents, last = key.strip().split(".")
    table = data
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {name!r} is a value, not a section")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text


def build(kind: type[C], data: Mapping[str, Any], where: str) -> C:
    """Make a config from plain data.

    Raises: ConfigError naming `where`, the key, the value, and for an unknown key the nearest right one.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise faults(kind, data, where)[0][1] from error


def faults(kind: type[BaseModel], data: Mapping[str, Any], where: str) -> list[tuple[tuple[str, ...], ConfigError]]:
    """Everything that keeps `data` from being a config, each with the path of its key; empty if nothing does."""
    try:
        kind.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # a misspelt key is both unknown and missing; the first says more
        found.sort(key=lambda fault: fault["type"] != "extra_forbidden")
        return [(tuple(str(part) for part in fault["loc"]), _in_words(kind, fault, where)) for fault in found]
    return []


def _in_words(kind: type[BaseModel], fault: ErrorDetails, where: str) -> ConfigError:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(kind, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known) or 'none'}"
        return ConfigError(f"{where}: unknown key {key!r}", hint)
    if fault["type"] == "missing":
        return ConfigError(f"{where}: key {key!r} is missing")
    value = json.dumps(fault["input"], default=str, ensure_ascii=False)[:200]
    place = f"{key} = {value}" if key else value
    return ConfigError(f"{where}: {place}: {fault['msg'].removeprefix('Value error, ')}")


def _known_keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    for name in path:
        field = kind.model_fields.get(name)
        kinds = [] if field is None else [t for t in _types(field.annotation) if issubclass(t, BaseModel)]
        if not kinds:
            return []
        kind = kinds[0]
    return sorted(field.alias or name for name, field in kind.model_fields.items())


def _types(annotation: Any) -> list[type[Any]]:
    if isinstance(annotation, type):
        return [annotation]
    return [t for part in getattr(annotation, "__args__", ()) for t in _types(part)]
