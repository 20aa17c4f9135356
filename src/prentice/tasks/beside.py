"""Code of the user's own that lies beside `prentice.toml`, by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from prentice.errors import ConfigError


def load_beside(name: str, folder: Path, key: str) -> Any:
    """What `module:attribute` stands for; the module lies in `folder` or is installed.

    Args:
        key: the setting that named it, for the error.
    Raises: ConfigError if there is no such module or attribute, or another module of that name was loaded before.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f'{key} = "{name}" is not of the form module:name', 'write for example "my_module:MyGame"')
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'{key} = "{name}": no module named {error.name!r}', f"it is looked for in {folder}"
        ) from error
    beside = folder / f"{module_name}.py"
    if beside.is_file() and not beside.samefile(module.__file__ or ""):
        raise ConfigError(
            f"{key}: another module named {module_name!r} is loaded already, from {module.__file__}", "rename yours"
        )
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f'{key} = "{name}": {module.__file__} has no {attribute!r}') from error
