"""Configuration: files, overrides, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from prentice.config import StageConfig, build, read_toml
from prentice.errors import ConfigError


class Inner(StageConfig):
    """Inner."""

    epochs: int = Field(1, ge=1)
    """Passes over the rows."""


class Outer(StageConfig):
    """Outer."""

    name: str
    """A name."""
    inner: Inner = Inner()
    """A section."""
    other: Inner | None = None
    """Another."""


def write(folder: Path, text: str) -> Path:
    """A file with that text."""
    path = folder / "prentice.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_override_is_laid_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "a"\n[inner]\nepochs = 2\n')
    data = read_toml(path, ["inner.epochs=3", "name=plain text", "other.epochs = 5"])
    assert build(Outer, data, "f") == Outer(name="plain text", inner=Inner(epochs=3), other=Inner(epochs=5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\nnmae = 1', "unknown key 'nmae' .did you mean 'name'"),
        ('name = "a"\n[inner]\nepoch = 1', "unknown key 'inner.epoch' .did you mean 'epochs'"),
        ('name = "a"\n[other]\nepoch = 1', "unknown key 'other.epoch' .did you mean 'epochs'"),
        ('name = "a"\nzzz = 1', "unknown key 'zzz' .known keys: inner, name, other"),
        ('name = "a"\n[inner]\nepochs = "many"', 'inner.epochs = "many": Input should be a valid integer'),
        ('name = "a"\n[inner]\nepochs = 0', "inner.epochs = 0: Input should be greater than or equal to 1"),
        ("", "key 'name' is missing"),
    ],
)
def test_a_wrong_key_or_type_is_named_with_file_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=f"prentice.toml: {message}"):
        build(Outer, read_toml(path), str(path))


def test_a_file_that_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prentice\.toml: not valid TOML: .*line 2"):
        read_toml(write(tmp_path, 'a = "b"\nc = ?\n'))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(("override", "message"), [("name", "has no `=`"), ("name.x=1", "is a value, not a section")])
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_toml(write(tmp_path, 'name = "a"'), [override])


def test_a_field_documents_itself() -> None:
    assert Inner.model_fields["epochs"].description == "Passes over the rows."
