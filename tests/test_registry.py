"""Tables of built-ins."""

from __future__ import annotations

import pytest

from prentice.errors import MissingExtraError, UnknownNameError
from prentice.registry import Table

TABLE = Table("method", {"json": "json:loads", "gone": "no_such_module_here:x", "hole": "json:nothing"})


def test_a_name_loads_what_it_stands_for() -> None:
    import json

    assert TABLE.load("json") is json.loads
    assert TABLE.load("json:dumps") is json.dumps


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no method named 'x' \(known: gone, hole, json"):
        TABLE.load("x")


def test_what_cannot_be_imported_is_said() -> None:
    with pytest.raises(MissingExtraError, match="no_such_module_here"):
        TABLE.load("gone")
    with pytest.raises(UnknownNameError, match="no 'nothing'"):
        TABLE.load("hole")


def test_a_table_never_changes() -> None:
    more = TABLE.with_extra({"mine": "json:dumps"})
    assert "mine" in more.names()
    assert "mine" not in TABLE.names()
