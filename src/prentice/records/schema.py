"""The store's tables as the newest schema has them; how a database gets there is `migrations`' business.

Long texts that repeat (messages; the tools, choices and schema of a request) are rows of their own, found by the hash
of their bytes, so a chat's history is stored once however many turns and episodes show it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text

METADATA = MetaData()

ORDERED = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted by: by code point everywhere, not by the language of a server."""

SCHEMA_VERSION = Table("prentice_schema", METADATA, Column("version", Integer, nullable=False))

MESSAGES = Table(
    "messages",
    METADATA,
    Column("hash", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON of a Message
)

PARTS = Table(
    "parts",
    METADATA,
    Column("hash", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON of tools, choices or a response schema
)

EPISODES = Table(
    "episodes",
    METADATA,
    Column("id", ORDERED, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("run", ORDERED, nullable=False),
    Column("task", Text, nullable=False),
    Column("case_id", ORDERED, nullable=False),
    Column("split", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("policy", Text, nullable=False),
    Column("failure_where", Text),
    Column("failure_message", Text),
    Column("started_at", Text, nullable=False),  # ISO 8601 with its offset: a database's own type would drop the offset
    Column("tags", Text, nullable=False),  # JSON object
    Column("content_hash", Text, nullable=False),
    Index("episodes_in_order", "run", "case_id", "attempt", "id"),
    Index("episodes_by_content", "content_hash"),
)

TURNS = Table(
    "turns",
    METADATA,
    Column("episode_id", ORDERED, ForeignKey("episodes.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("function", Text, nullable=False),
    Column("inputs", Text, nullable=False),  # JSON object
    Column("messages", Text, nullable=False),  # JSON list of hashes, in order
    Column("tools", Text, ForeignKey("parts.hash")),
    Column("choices", Text, ForeignKey("parts.hash")),
    Column("response_schema", Text, ForeignKey("parts.hash")),
    Column("reply", Text, ForeignKey("messages.hash"), nullable=False),
    Column("model", Text, nullable=False),
    Column("finish_reason", Text, nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("latency_s", Float),
    Column("processing_s", Float),
    Column("cost_usd", Float),
    Column("attempts", BigInteger, nullable=False),
    Column("token_logprobs", Text, nullable=False),  # JSON list of [token, logprob]
)

METRICS = Table(
    "metrics",
    METADATA,
    Column("episode_id", ORDERED, ForeignKey("episodes.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("turn", BigInteger),
    # exactly one of the three holds the value, so that it can be filtered by and its type comes back
    Column("flag", Boolean),
    Column("number", Float),
    Column("text", Text),
    Index("metrics_by_name", "name", "number"),
)
