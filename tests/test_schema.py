"""The schema of prentice.toml: it takes what prentice takes, and refuses what prentice refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.pipeline import ProjectConfig
from prentice.pipeline.schema import schema
from prentice.tasks import TASKS
from prentice.tasks.graders import GRADERS

TOP = Path(__file__).parents[1]
MADE = schema()
OWN = {
    "task": {"kind": "text", "cases": "c.csv", "instructions": "?", "grade": {"kind": "number", "tolerance": 0.5}},
    "teacher": {"model": "local:x"},
}


def faults(data: dict[str, Any]) -> list[str]:
    """What the schema says against a file."""
    return [error.message for error in Draft4Validator(MADE).iter_errors(data)]


def with_key(path: str, value: object) -> dict[str, Any]:
    """The small project with one more key."""
    data: dict[str, Any] = json.loads(json.dumps(OWN))
    *parents, last = path.split(".")
    table = data
    for name in parents:
        table = table.setdefault(name, {})
    table[last] = value
    return data


def test_it_is_a_schema_of_draft_4_the_one_that_editors_of_toml_read() -> None:
    assert MADE["$schema"] == "http://json-schema.org/draft-04/schema#"
    Draft4Validator.check_schema(MADE)
    assert '"const"' not in json.dumps(MADE)
    assert "$defs" not in json.dumps(MADE)


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*/prentice.toml")), ids=lambda p: p.parent.name)
def test_every_example_is_valid(path: Path) -> None:
    assert faults(tomllib.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "data",
    [
        OWN,
        with_key("train.sft.epochs", 2),
        with_key("task.kind", "my_module:MyTask"),
        with_key("task.grade.kind", "my_module:MyGrader"),
        with_key("providers", {"openai": {"concurrency": 4, "price": {"input_usd": 1, "output_usd": 2}}}),
    ],
)
def test_what_prentice_takes_is_valid(data: dict[str, Any]) -> None:
    ProjectConfig.model_validate(data)
    assert faults(data) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("teachr", {}),
        ("task.instruction", "?"),
        ("task.grade.tolerence", 1),
        ("task.grade.tolerance", -1),
        ("task.grade.kind", "nummer"),
        ("task.kind", "txt"),
        ("train.sft.epoch", 1),
        ("train.sft.epochs", 0),
        ("train.sft.method", "galore"),
        ("rollout.tries", "many"),
        ("providers", {"openai": {"price": {"input_usd": 1}}}),
    ],
)
def test_a_misspelt_key_or_a_wrong_value_is_refused(path: str, value: object) -> None:
    assert faults(with_key(path, value))


def test_it_tells_every_built_in_task_and_grader_by_its_kind_and_says_what_each_key_means() -> None:
    kinds = {
        kind
        for definition in MADE["definitions"].values()
        for kind in definition.get("properties", {}).get("kind", {}).get("enum", ())
    }
    assert kinds == {*TASKS.rows, *GRADERS.rows}
    about = MADE["definitions"]["SFTConfig"]["properties"]["epochs"]["description"]
    assert about == "Passes over the training rows; the last may be a part of one."


def test_the_command_prints_the_schema_or_writes_it(tmp_path: Path) -> None:
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == MADE
    assert CliRunner().invoke(app, ["schema", str(tmp_path / "editor" / "s.json")]).exit_code == 0
    assert json.loads((tmp_path / "editor" / "s.json").read_text(encoding="utf-8")) == MADE
