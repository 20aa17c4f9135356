"""What of the user's own lies beside `prentice.toml`: code by name, long texts as files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from prentice.errors import ConfigError, PrenticeError


def load_beside(name: str, folder: Path, key: str) -> Any:
    """What `module:attribute` stands for; the module lies in `folder` or is installed.

    Args:
        key: the setting that named it, for the error.
    Raises: ConfigError if there is no such module or attribute, it raises when it is imported, or another module of
        that name was loaded before.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f'{key} = "{name}" is not of the form module:name', 'write for example "my_module:MyGame"')
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    importlib.invalidate_caches()
    beside = folder / f"{module_name}.py"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'{key} = "{name}": no module named {error.name!r}', f"it is looked for in {folder}"
        ) from error
    except PrenticeError:  # says already what is wrong, and what to do
        raise
    except Exception as error:
        raise ConfigError(
            f'{key} = "{name}": importing {module_name} raised {type(error).__name__}: {error}', f"mend {beside}"
        ) from error
    if beside.is_file() and not beside.samefile(module.__file__ or ""):
        raise ConfigError(
            f"{key}: another module named {module_name!r} is loaded already, from {module.__file__}", "rename yours"
        )
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f'{key} = "{name}": {module.__file__} has no {attribute!r}') from error


def text_or_file(text: str, folder: Path, key: str) -> str:
    """A text as it is, or that of a file of the project: a name that ends in .md.

    Args:
        key: the setting that holds it, for the error.
    Raises: ConfigError if the file cannot be read or says nothing.
    """
    if not text.strip().endswith(".md") or "\n" in text.strip():
        return text
    path = folder / text.strip()
    try:
        found = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: {said}", f"{key} names a text file in UTF-8, or is the text itself") from error
    if not found:
        raise ConfigError(f"{path}: the file is empty", f"write into it what {key} shall say")
    return found
