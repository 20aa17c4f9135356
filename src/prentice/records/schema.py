"""The store's tables as the newest schema has them; how a database gets there is `migrations`' business.

An episode's messages lie in its turns, each where it was first shown; a turn says by position which of them it showed,
so a history grows by what is new in it. Texts that are long, and the parts of requests that do not change (tools,
choices, schema), are rows of `texts`, found by their hash and shared between episodes. Rows get their numbers in the
order they come, so a store grows at its end, whatever its ids are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

METADATA = MetaData()
ID_LENGTH = 2000
"""Longest id, run or case, in bytes of UTF-8: Postgres cannot index much more."""


class AnyText(TypeDecorator[str]):
    """Text on Postgres, which refuses the null character: U+0000 is kept as U+0001 U+0001, U+0001 as U+0001 U+0002.

    Both ways are unambiguous, and the order of texts stays as it is.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape."""
        del dialect
        return None if value is None else value.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Take the escape away."""
        del dialect
        return None if value is None else value.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01")


TEXT = Text().with_variant(AnyText(), "postgresql")
ORDERED = Text().with_variant(AnyText(collation="C"), "postgresql")
"""Text that is sorted by: by code point everywhere, not by the language of a server."""
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only a column of this very type by itself

SCHEMA_VERSION = Table("prentice_schema", METADATA, Column("version", Integer, nullable=False))

TEXTS = Table(
    "texts",
    METADATA,
    Column("hash", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON of a message, or of a request's tools, choices or response schema
)

EPISODES = Table(
    "episodes",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", ORDERED, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("run", ORDERED, nullable=False),
    Column("task", TEXT, nullable=False),
    Column("case_id", ORDERED, nullable=False),
    Column("split", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("policy", TEXT, nullable=False),
    Column("failure_where", Text),
    Column("failure_message", TEXT),
    Column("started_at", Text, nullable=False),  # ISO 8601 with its offset: a database's own type would drop the offset
    Column("started_us", BigInteger, nullable=False),  # the same moment, in microseconds since 1970, to filter by
    Column("tags", Text, nullable=False),  # JSON object
    Column("content_hash", Text, nullable=False),  # of all that was asked and replied
    Column("extra", Text),  # JSON object; null where empty
    Index("episodes_in_order", "run", "case_id", "attempt", "id"),
    Index("episodes_by_task", "task", "split"),
    Index("episodes_by_policy", "policy"),
    Index("episodes_by_time", "started_us"),
    Index("episodes_by_failure", "failure_where"),
)

TURNS = Table(
    "turns",
    METADATA,
    Column("episode", NUMBER, ForeignKey("episodes.number"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("function", TEXT, nullable=False),
    Column("inputs", Text, nullable=False),  # JSON object
    Column("said", Text, nullable=False),  # JSON list of the messages first shown here, the reply last; long ones: hash
    Column("shown", Text, nullable=False),  # JSON list of [from, to): the request, as stretches of all that was said
    Column("tools", Text, ForeignKey("texts.hash")),
    Column("choices", Text, ForeignKey("texts.hash")),
    Column("response_schema", Text, ForeignKey("texts.hash")),
    Column("model", TEXT, nullable=False),
    Column("finish_reason", TEXT, nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("latency_s", Float),
    Column("processing_s", Float),
    Column("cost_usd", Float),
    Column("attempts", BigInteger, nullable=False),
    Column("token_logprobs", Text, nullable=False),  # JSON list of [token, logprob]
    Column("extra", Text),  # JSON object; null where empty
)

METRICS = Table(
    "metrics",
    METADATA,
    Column("episode", NUMBER, ForeignKey("episodes.number"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("source", Text, nullable=False),
    Column("turn", BigInteger),
    # exactly one of the three holds the value, so that it can be filtered by and its type comes back
    Column("flag", Boolean),
    Column("number", Float),
    Column("text", TEXT),
    sqlite_with_rowid=False,
)
Index(
    "metrics_of_episodes",
    METRICS.c.name,
    METRICS.c.flag,
    METRICS.c.number,
    METRICS.c.episode,
    sqlite_where=METRICS.c.turn.is_(None),
    postgresql_where=METRICS.c.turn.is_(None),
)

TAGS = Table(
    "tags",
    METADATA,
    Column("tag", Text, primary_key=True),  # `rows.tag_key` of a tag
    Column("episode", NUMBER, ForeignKey("episodes.number"), primary_key=True),
    Index("tags_by_episode", "episode"),
    sqlite_with_rowid=False,
)

USES = Table(
    "uses",
    METADATA,
    Column("text", Text, ForeignKey("texts.hash"), primary_key=True),
    Column("episode", NUMBER, ForeignKey("episodes.number"), primary_key=True),
    Index("uses_by_episode", "episode"),
    sqlite_with_rowid=False,
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", ORDERED, nullable=False, unique=True),
    Column("episode", NUMBER, ForeignKey("episodes.number"), nullable=False),
    Column("turn", BigInteger),
    Column("name", TEXT, nullable=False),
    Column("source", Text, nullable=False),
    Column("author", TEXT, nullable=False),
    Column("at", Text, nullable=False),  # ISO 8601 with its offset
    # either a value, which is the metric at this position, or a demonstration
    Column("position", Integer),
    Column("demonstration", Text),  # JSON of a message
    Index("feedback_by_episode", "episode"),
)

CALLS = Table(
    "calls",
    METADATA,
    Column("id", ORDERED, primary_key=True),
    Column("episode", NUMBER, ForeignKey("episodes.number"), nullable=False),
    Index("calls_by_episode", "episode"),
    sqlite_with_rowid=False,
)
