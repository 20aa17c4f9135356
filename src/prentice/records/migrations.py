"""The store's schema, step by step: an ordered list of functions, run once each, in one transaction, under a lock.

A step never changes after a release; a new schema is a new step at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection, Engine

from prentice.errors import StoreError
from prentice.records.schema_1 import first_schema
from prentice.records.schema_2 import second_schema
from prentice.records.schema_3 import third_schema

_VERSION = sa.table("prentice_schema", sa.column("version", sa.Integer))
_LOCK = 7_077_391_001
"""Key of the Postgres advisory lock; any constant that is ours alone."""


STEPS: tuple[Callable[[Operations], None], ...] = (first_schema, second_schema, third_schema)
"""Step n takes a database from version n to n + 1."""


def schema_version(connection: Connection, place: str) -> int:
    """The database's schema version; 0 for a new one. Reads only.

    Raises: StoreError if it is newer than this prentice, another program's, or its version cannot be told.
    """
    tables = sa.inspect(connection).get_table_names()
    if _VERSION.name not in tables:
        if tables and connection.dialect.name == "sqlite":
            raise StoreError(
                f"{place}: a database of another program (tables: {', '.join(tables[:4])})",
                "name a new file for the store",
            )
        return 0
    versions = list(connection.execute(sa.select(_VERSION.c.version)).scalars())
    if len(versions) != 1 or not isinstance(versions[0], int) or versions[0] < 1:
        raise StoreError(f"{place}: damaged: its schema version reads {versions}", "put back a copy of the store")
    if versions[0] > len(STEPS):
        raise StoreError(
            f"{place}: written by a newer prentice (schema {versions[0]}; this one knows {len(STEPS)})",
            "upgrade prentice: pip install --upgrade prentice",
        )
    return versions[0]


def migrate(writing: Engine, place: str) -> None:
    """Bring a database to the newest schema; of several processes one does it and the others wait.

    Args:
        writing: engine whose transactions begin with the write lock (SQLite) held.
        place: what the store is called in errors.
    """
    with writing.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        version = schema_version(connection, place)
        operations = Operations(MigrationContext.configure(connection))
        for step in STEPS[version:]:
            step(operations)
        if version < len(STEPS):
            connection.execute(_VERSION.update().values(version=len(STEPS)))
