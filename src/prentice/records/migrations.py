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

_VERSION = sa.table("prentice_schema", sa.column("version", sa.Integer))
_LOCK = 7_077_391_001
"""Key of the Postgres advisory lock; any constant that is ours alone."""


def _ordered() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _create_episodes(op: Operations) -> None:
    op.create_table(
        "episodes",
        sa.Column("id", _ordered(), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run", _ordered(), nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("case_id", _ordered(), nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("failure_where", sa.Text),
        sa.Column("failure_message", sa.Text),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
    )
    op.create_index("episodes_in_order", "episodes", ["run", "case_id", "attempt", "id"])
    op.create_index("episodes_by_content", "episodes", ["content_hash"])


def _create_turns(op: Operations) -> None:
    op.create_table(
        "turns",
        sa.Column("episode_id", _ordered(), sa.ForeignKey("episodes.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("function", sa.Text, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("messages", sa.Text, nullable=False),
        sa.Column("tools", sa.Text, sa.ForeignKey("parts.hash")),
        sa.Column("choices", sa.Text, sa.ForeignKey("parts.hash")),
        sa.Column("response_schema", sa.Text, sa.ForeignKey("parts.hash")),
        sa.Column("reply", sa.Text, sa.ForeignKey("messages.hash"), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.Text, nullable=False),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("latency_s", sa.Float),
        sa.Column("processing_s", sa.Float),
        sa.Column("cost_usd", sa.Float),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("token_logprobs", sa.Text, nullable=False),
    )


def _create_metrics(op: Operations) -> None:
    op.create_table(
        "metrics",
        sa.Column("episode_id", _ordered(), sa.ForeignKey("episodes.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("turn", sa.BigInteger),
        sa.Column("flag", sa.Boolean),
        sa.Column("number", sa.Float),
        sa.Column("text", sa.Text),
    )
    op.create_index("metrics_by_name", "metrics", ["name", "number"])


def _first_schema(op: Operations) -> None:
    op.create_table("prentice_schema", sa.Column("version", sa.Integer, nullable=False))
    op.execute(_VERSION.insert().values(version=0))
    for name in ("messages", "parts"):
        op.create_table(name, sa.Column("hash", sa.Text, primary_key=True), sa.Column("body", sa.Text, nullable=False))
    _create_episodes(op)
    _create_turns(op)
    _create_metrics(op)


STEPS: tuple[Callable[[Operations], None], ...] = (_first_schema,)
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
