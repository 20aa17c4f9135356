"""Keys of the endpoint: what a client shows, kept as hashes, each allowed some things only."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import AwareDatetime

from prentice.errors import DataError
from prentice.records.base import Record
from prentice.records.episodes import utc_now
from prentice.runs import read_record, write_atomic

Scope = Literal["chat", "feedback"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "prentice-"
"""Begins every key, so that one that leaked is found."""


class Key(Record):
    """A key without what opens: its SHA-256, which suffices for 256 random bits."""

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    made_at: AwareDatetime


class Keys(Record):
    """All keys of a project."""

    keys: tuple[Key, ...] = ()

    def allow(self, token: str, scope: Scope) -> bool | None:
        """Whether this key may do that; None if there is no such key."""
        found = next((key for key in self.keys if key.sha256 == _hash(token)), None)
        return None if found is None else scope in found.scopes


def read_keys(home: Path) -> Keys:
    """The keys of a project's `.prentice`; none where no file is.

    Raises: DataError if the file is damaged.
    """
    file = keys_file(home)
    return read_record(Keys, file) if file.exists() else Keys()


def add_key(home: Path, name: str, scopes: Sequence[Scope]) -> str:
    """Make a key; what is returned is shown once and kept nowhere.

    Raises: DataError if the name is taken.
    """
    known = read_keys(home)
    if any(key.name == name for key in known.keys):
        raise DataError(f"{keys_file(home)}: there is a key {name!r} already", "choose another name, or remove it")
    token = PREFIX + secrets.token_urlsafe(32)
    key = Key(name=name, sha256=_hash(token), scopes=tuple(scopes), made_at=utc_now())
    _write(home, Keys(keys=(*known.keys, key)))
    return token


def remove_key(home: Path, name: str) -> None:
    """Remove a key; a running endpoint refuses it within a second.

    Raises: DataError if there is none.
    """
    known = read_keys(home)
    left = tuple(key for key in known.keys if key.name != name)
    if len(left) == len(known.keys):
        names = ", ".join(key.name for key in known.keys)
        raise DataError(f"{keys_file(home)}: there is no key {name!r}", f"known: {names or 'none'}")
    _write(home, Keys(keys=left))


def keys_file(home: Path) -> Path:
    """Where the keys of a project are."""
    return home / "keys.json"


def _write(home: Path, keys: Keys) -> None:
    write_atomic(keys_file(home), keys.model_dump_json(indent=2) + "\n")
    keys_file(home).chmod(0o600)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
