"""Docs that cannot lag behind: made from the code, or run here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.config import build, read_toml
from prentice.pipeline import Project, ProjectConfig

TOP = Path(__file__).parents[1]


def test_the_configuration_page_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, str(TOP / "scripts" / "config_docs.py"), "-"], capture_output=True, text=True, check=True
    ).stdout
    assert (TOP / "docs" / "configuration.md").read_text(encoding="utf-8") == made


def test_the_configuration_page_has_every_key_of_every_section() -> None:
    page = (TOP / "docs" / "configuration.md").read_text(encoding="utf-8")

    def look(path: str, kind: type[BaseModel]) -> None:
        section = page.partition(f"## `[{path}]`\n")[2].partition("\n## ")[0]
        for name, field in kind.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                look(f"{path}.{name}", field.annotation)
            else:
                assert f"| `{name}` |" in section, f"{path}.{name}"

    for name, field in ProjectConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            look(name, field.annotation)


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*/prentice.toml")), ids=lambda p: p.parent.name)
def test_every_example_can_be_opened(path: Path) -> None:
    project = Project(path)
    assert project.task.cases("train")
    assert project.task.cases("test")


def texts() -> list[Path]:
    """Every page people read."""
    return [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", texts(), ids=lambda p: p.name)
def test_every_command_and_setting_of_a_page_exists(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```(?:sh|toml)?\n(.*?)```", text, flags=re.DOTALL))
    for words in re.findall(r"^prentice ([a-z]+)", code, flags=re.MULTILINE):
        assert CliRunner().invoke(app, [words, "--help"]).exit_code == 0, f"{path.name}: prentice {words}"
    for setting in re.findall(r"--set '?([a-z_.]+=[^\s'`]+)", code):
        (tmp_path / "p.toml").write_text('[task]\nkind = "x"\n[teacher]\nmodel = "x:y"\n', encoding="utf-8")
        build(ProjectConfig, read_toml(tmp_path / "p.toml", [setting]), setting)
    for target in re.findall(r"^make ([a-z-]+)", code, flags=re.MULTILINE) + re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


@pytest.mark.parametrize("path", texts(), ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"
