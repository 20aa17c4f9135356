"""Step 3 of the store's schema: feedback, the calls that episodes were recorded from, and what sources said besides."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from prentice.records.schema import NUMBER, ORDERED, TEXT


def third_schema(op: Operations) -> None:
    """Add two tables and two columns; what is stored stays as it is."""
    for table in ("episodes", "turns"):
        op.add_column(table, sa.Column("extra", sa.Text))
    _feedback(op)
    _calls(op)


def _feedback(op: Operations) -> None:
    op.create_table(
        "feedback",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", ORDERED, nullable=False, unique=True),
        sa.Column("episode", NUMBER, sa.ForeignKey("episodes.number"), nullable=False),
        sa.Column("turn", sa.BigInteger),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("author", TEXT, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("position", sa.Integer),
        sa.Column("demonstration", sa.Text),
    )
    op.create_index("feedback_by_episode", "feedback", ["episode"])


def _calls(op: Operations) -> None:
    op.create_table(
        "calls",
        sa.Column("id", ORDERED, primary_key=True),
        sa.Column("episode", NUMBER, sa.ForeignKey("episodes.number"), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("calls_by_episode", "calls", ["episode"])
