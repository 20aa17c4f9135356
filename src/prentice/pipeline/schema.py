"""The JSON schema of `prentice.toml`, for editors; made from the configuration classes, so it cannot lag behind them.

It is written in draft 4, the one that Taplo (the engine of the usual TOML extensions) reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from prentice.errors import PrenticeError
from prentice.pipeline.project import ProjectConfig
from prentice.registry import Table
from prentice.tasks import TASKS
from prentice.tasks.graders import GRADERS

SCHEMA_FILE = Path(".prentice") / "schema.json"
"""Where a new project keeps it; the first line of its `prentice.toml` names it."""
DIALECT = "http://json-schema.org/draft-04/schema#"
SOMEBODYS_OWN = {"type": "object", "properties": {"kind": {"type": "string", "pattern": ":"}}, "required": ["kind"]}
"""A section whose `kind` is `my_module:MyTask`: nothing is known of its other keys."""


def schema() -> dict[str, Any]:
    """The schema: one definition for each built-in task and grader that is installed, told apart by `kind`."""
    tasks, graders = _configs(TASKS), _configs(GRADERS)
    kinds: list[type[BaseModel]] = [ProjectConfig, *tasks.values(), *graders.values()]
    places, found = models_json_schema([(kind, "validation") for kind in kinds])
    definitions: dict[str, Any] = found["$defs"]
    names = {kind: places[kind, "validation"]["$ref"].rpartition("/")[2] for kind in kinds}

    def one_of(configs: Mapping[str, type[BaseModel]], about: str) -> dict[str, Any]:
        for kind, config in configs.items():
            _tell_apart(kind, definitions[names[config]])
        known = [{"$ref": f"#/$defs/{names[config]}"} for config in configs.values()]
        return {"description": about, "oneOf": [*known, SOMEBODYS_OWN]}

    for config in tasks.values():
        if grade := config.model_fields.get("grade"):
            definitions[names[config]]["properties"]["grade"] = one_of(graders, grade.description or "")
    top = definitions.pop(names[ProjectConfig])
    top["properties"]["task"] = one_of(tasks, ProjectConfig.model_fields["task"].description or "")
    return {"$schema": DIALECT, **_draft_4({**top, "title": "prentice.toml", "definitions": definitions})}


def schema_text() -> str:
    """The schema as a file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _configs(table: Table) -> dict[str, type[BaseModel]]:
    """Name → configuration of the built-ins; those that cannot be imported are left to the loader's own error."""
    found: dict[str, type[BaseModel]] = {}
    for name in sorted(table.rows):
        try:
            found[name] = table.load(name).Config
        except PrenticeError:
            continue
    return found


def _tell_apart(kind: str, definition: dict[str, Any]) -> None:
    """Let a section's `kind` say which definition holds for it."""
    definition["properties"]["kind"] = {**definition["properties"]["kind"], "enum": [kind]}
    definition["required"] = sorted({*definition.get("required", ()), "kind"})


def _draft_4(value: Any) -> Any:
    """The same schema in the words of draft 4."""
    if isinstance(value, list):
        return [_draft_4(item) for item in value]
    if not isinstance(value, dict):
        return value.replace("#/$defs/", "#/definitions/") if isinstance(value, str) else value
    said = {name: _draft_4(item) for name, item in value.items()}
    if "const" in said:
        said["enum"] = [said.pop("const")]
    for end, word in (("Minimum", "minimum"), ("Maximum", "maximum")):
        limit = said.get(f"exclusive{end}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            said[word], said[f"exclusive{end}"] = limit, True
    if isinstance(said.get("prefixItems"), list):
        said["items"], said["additionalItems"] = said.pop("prefixItems"), False
    if said.get("format") == "path":
        del said["format"]  # no dialect knows it
    if "default" in said and said["default"] is None:
        del said["default"]  # TOML has no null
    return said
