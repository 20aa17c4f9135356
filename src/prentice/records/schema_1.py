"""Step 1 of the store's schema: every message a row of its own, a turn with the hashes of all it showed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


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


def first_schema(op: Operations) -> None:
    """Make a new database."""
    op.create_table("prentice_schema", sa.Column("version", sa.Integer, nullable=False))
    op.execute(sa.text("INSERT INTO prentice_schema (version) VALUES (0)"))
    for name in ("messages", "parts"):
        op.create_table(name, sa.Column("hash", sa.Text, primary_key=True), sa.Column("body", sa.Text, nullable=False))
    _create_episodes(op)
    _create_turns(op)
    _create_metrics(op)
