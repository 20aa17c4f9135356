"""`prentice.toml` itself: all keys that are wrong, each with its line; and what is left without them, to go on with."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from prentice.config import faults, read_toml
from prentice.errors import ConfigError, PrenticeError
from prentice.pipeline.checking.findings import Finding, bad, from_error
from prentice.pipeline.project import ProjectConfig
from prentice.registry import Table
from prentice.tasks import TASKS
from prentice.tasks.graders import GRADERS

TOPIC = "settings"


class Settings:
    """The file, read as far as it can be.

    Args:
        file: a `prentice.toml`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.config: ProjectConfig | None = None
        """What the file says, without what is wrong; None if that is not enough for a project."""
        try:
            data = read_toml(file)
        except ConfigError as error:
            self.findings.append(from_error(TOPIC, error))
            return
        self._lines = file.read_text(encoding="utf-8").splitlines()
        left = self._mended(ProjectConfig, data, ())
        left["task"] = self._section(TASKS, left.get("task", {}), ("task",))
        if left["task"] and "grade" in left["task"]:
            left["task"]["grade"] = self._section(GRADERS, left["task"]["grade"], ("task", "grade"))
        try:
            self.config = ProjectConfig.model_validate(left)
        except ValidationError:
            return  # what is missing has been said

    def _section(self, table: Table, data: Any, path: tuple[str, ...]) -> dict[str, Any]:
        """A section whose `kind` says which configuration it has."""
        kind = data.get("kind") if isinstance(data, dict) else None
        if not isinstance(kind, str):
            known = ", ".join(table.names())
            self.findings.append(bad(TOPIC, f"{self._place(path)}: key 'kind' is missing", f"known: {known}"))
            return {}
        if ":" in kind:
            return dict(data)  # somebody's own: it is looked at when it is loaded
        try:
            config: type[BaseModel] = table.load(kind).Config
        except PrenticeError as error:
            self.findings.append(bad(TOPIC, f"{self._place((*path, 'kind'))}: {error.problem}", error.hint))
            return {}
        return self._mended(config, data, path)

    def _mended(self, kind: type[BaseModel], data: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """Note every fault; return the data without the keys that have one, a misspelt one under its right name."""
        left = deepcopy(dict(data))
        for place, error in faults(kind, data, ""):
            text = error.problem.removeprefix(": ")
            self.findings.append(bad(TOPIC, f"{self._place((*path, *place))}: {text}", error.hint))
            _drop(left, place)
        wanted = [name for name, field in kind.model_fields.items() if field.is_required() and name not in left]
        for name in data.keys() - left.keys():
            if near := difflib.get_close_matches(name, wanted, n=1):
                left[near[0]] = data[name]
        return {} if faults(kind, left, "") and path else left

    def _place(self, path: Sequence[str]) -> str:
        line = line_of(self._lines, path)
        section = f" [{'.'.join(path[:2] if len(path) > 2 else path[:1])}]" if path else ""
        return f"{self.file}:{line}:{section}" if line else f"{self.file}:{section}"


def line_of(lines: Sequence[str], path: Sequence[str]) -> int | None:
    """The line, from 1 on, of a key in a TOML file, else of its section's head; None where neither is to be found."""
    for depth in range(len(path), 0, -1):
        head = next((n for n, line in enumerate(lines, 1) if _is_head(line, path[:depth])), None)
        if head is not None:
            return _key_line(lines, head, path[depth:]) or head
    return _key_line(lines, 0, path)


def _is_head(line: str, path: Sequence[str]) -> bool:
    match = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
    return match is not None and [part.strip().strip("\"'") for part in match[1].split(".")] == list(path)


def _key_line(lines: Sequence[str], head: int, path: Sequence[str]) -> int | None:
    for number, line in enumerate(lines[head:], head + 1):
        if re.match(r"\s*\[", line):
            return None
        if path and re.match(rf"\s*[\"']?{re.escape(path[0])}[\"']?\s*[.=]", line):
            return number
    return None


def _drop(data: dict[str, Any], path: Sequence[str]) -> None:
    """Take away the key at `path`, or the nearest above it that is a key of a table."""
    table: Any = data
    for name in path[:-1]:
        inner = table.get(name)
        if not isinstance(inner, dict):
            table.pop(name, None)
            return
        table = inner
    if path:
        table.pop(path[-1], None)
