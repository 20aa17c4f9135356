"""Tables of built-ins: name → import path. Nothing is imported to list them, and no table ever changes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module, metadata
from types import MappingProxyType
from typing import Any

from prentice.errors import MissingExtraError, UnknownNameError


class Table:
    """Implementations of one contract, by name.

    Args:
        what: what a row is, in words for an error ("task").
        rows: name → `module:attribute`.
        group: entry-point group whose names are added, such as `prentice.tasks`.
    """

    def __init__(self, what: str, rows: Mapping[str, str], group: str = "") -> None:
        self.what = what
        self.rows = MappingProxyType(dict(rows))
        self.group = group

    def names(self) -> list[str]:
        """All known names, plugins included."""
        return sorted({*self.rows, *(e.name for e in self._plugins())})

    def load(self, name: str) -> Any:
        """Import what `name` (or `module:attribute`) stands for.

        Raises: UnknownNameError with the valid names; MissingExtraError if its module cannot be imported.
        """
        target = self.rows.get(name) or next((e.value for e in self._plugins() if e.name == name), None)
        if target is None and ":" not in name:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"known: {', '.join(self.names())}; or name your own as module:Class"
            )
            raise UnknownNameError(f"no {self.what} named {name!r}", hint)
        module, _, attribute = (target or name).partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"{self.what} {name!r} needs {error.name!r}, which is not installed") from error
        except AttributeError as error:
            raise UnknownNameError(f"{self.what} {name!r}: module {module!r} has no {attribute!r}") from error

    def with_extra(self, rows: Mapping[str, str]) -> Table:
        """A new table that also knows `rows`; this one stays as it is."""
        return Table(self.what, {**self.rows, **rows}, self.group)

    def _plugins(self) -> list[metadata.EntryPoint]:
        return list(metadata.entry_points(group=self.group)) if self.group else []
