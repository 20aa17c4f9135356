"""A group of commands, of which one is meant where none is named: `curate FOLDER` is `curate rows FOLDER`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


def group_with(default: str) -> type[TyperGroup]:
    """A group that takes its arguments for those of `default` where they begin with no command of its own."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put the default in front where nothing is named."""
            named = next((each for each in args if not each.startswith("-")), None)
            asks_for_help = named is None and "--help" in args
            if args and named not in self.commands and not asks_for_help:
                args = [default, *args]
            parsed: list[str] = super().parse_args(ctx, args)
            return parsed

    return Group
