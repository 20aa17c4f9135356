"""Writes docs/configuration.md from the configuration classes, or prints it when called with `-` (a test compares)."""

from __future__ import annotations

import json
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typing_extensions import TypeIs

from prentice.models.limits import ProviderConfig
from prentice.pipeline import ProjectConfig
from prentice.tasks import TASKS
from prentice.tasks.graders import GRADERS
from prentice.tasks.prompts import Function
from prentice.tasks.seeds import Seeds

OUT = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration

Everything in `prentice.toml`. A key that is not here is refused with the nearest right one;
`--set section.key=value` lays a value over the file. This page is made from the code: `python scripts/config_docs.py`.
"""


def page() -> str:
    """The page's text."""
    sections = [HEAD]
    for task in sorted(TASKS.rows):
        sections += _section("task", TASKS.load(task).Config, f' with `kind = "{task}"`')
    for grader in sorted(GRADERS.rows):
        sections += _section("task.grade", GRADERS.load(grader).Config, f' with `kind = "{grader}"`')
    sections += _section("task.seeds", Seeds) + _section("task.functions.NAME", Function)
    top: list[str] = []
    for name, field in ProjectConfig.model_fields.items():
        kind = field.annotation
        if _is_section(kind):
            sections += _sections(name, kind)
        elif name == "providers":
            sections += _section("providers.NAME", ProviderConfig)
        elif name != "task":
            top.append(_row(name, field.default, field.description))
    return "\n".join([*sections, "## Top level (before the first section)", *_table(top)])


def _sections(path: str, kind: type[BaseModel]) -> list[str]:
    """A section of what is set in it, if anything is, and one for each section inside it."""
    inner = {name: field.annotation for name, field in kind.model_fields.items() if _is_section(field.annotation)}
    own = _section(path, kind, without=inner) if len(inner) < len(kind.model_fields) else []
    return [*own, *(line for name, sub in inner.items() for line in _sections(f"{path}.{name}", sub))]


def _is_section(kind: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _section(path: str, kind: type[BaseModel], more: str = "", without: Container[str] = ()) -> list[str]:
    rows = [
        _row(name, field.get_default(call_default_factory=True), field.description)
        for name, field in kind.model_fields.items()
        if name not in without
    ]
    return [f"## `[{path}]`{more}", (kind.__doc__ or "").strip(), "", *_table(rows)]


def _table(rows: list[str]) -> list[str]:
    return ["| key | default | meaning |", "|---|---|---|", *rows, ""]


def _row(name: str, default: object, description: str | None) -> str:
    if default is PydanticUndefined:
        shown = "required"
    elif default is None:
        shown = "–"
    else:
        shown = f"`{json.dumps(default, default=_plain)}`"
    return f"| `{name}` | {shown} | {' '.join((description or '').split()).replace('|', '¦')} |"


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(page())
    else:
        OUT.write_text(page(), encoding="utf-8")
