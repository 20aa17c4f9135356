"""Step 2 of the store's schema: rows numbered as they come, messages in their turns, tags and metrics to filter by.

What a store of step 1 holds is carried over, by the same rules that new episodes are written by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.engine import Connection

from prentice.records.history import Said
from prentice.records.rows import LONG, content_hash, microseconds, tag_key, text_hash
from prentice.records.schema import NUMBER, ORDERED, TEXT

_BATCH = 256
_PARTS = ("tools", "choices", "response_schema")
_OLD = ("turns", "metrics", "episodes", "messages", "parts")
_VARIABLES = 10_000
Row = dict[str, Any]
Tables = Mapping[str, sa.Table]


def second_schema(op: Operations) -> None:
    """Make the new tables, carry the old rows over, drop the old tables."""
    op.drop_index("episodes_in_order", "episodes")
    op.drop_index("metrics_by_name", "metrics")
    for name in _OLD:
        op.rename_table(name, f"{name}_1")
    makers = {
        "texts": _texts,
        "episodes": _episodes,
        "turns": _turns,
        "metrics": _metrics,
        "tags": _tags,
        "uses": _uses,
    }
    new = {name: make(op) for name, make in makers.items()}
    _carry_over(op.get_bind(), new)
    for name in _OLD:
        op.drop_table(f"{name}_1")


def _texts(op: Operations) -> sa.Table:
    # texts lie in the order they came: in that of their hashes (as the first stores of this step have them, which
    # the same queries serve), each new text would be a page of its own to write
    return op.create_table(
        "texts", sa.Column("hash", sa.Text, primary_key=True), sa.Column("body", sa.Text, nullable=False)
    )


def _episodes(op: Operations) -> sa.Table:
    table = op.create_table(
        "episodes",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", ORDERED, nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run", ORDERED, nullable=False),
        sa.Column("task", TEXT, nullable=False),
        sa.Column("case_id", ORDERED, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("failure_where", sa.Text),
        sa.Column("failure_message", TEXT),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
    )
    for name, columns in {
        "episodes_in_order": ["run", "case_id", "attempt", "id"],
        "episodes_by_task": ["task", "split"],
        "episodes_by_policy": ["policy"],
        "episodes_by_time": ["started_us"],
        "episodes_by_failure": ["failure_where"],
    }.items():
        op.create_index(name, "episodes", columns)
    return table


def _of_an_episode() -> sa.Column[int]:
    return sa.Column("episode", NUMBER, sa.ForeignKey("episodes.number"), primary_key=True)


def _turns(op: Operations) -> sa.Table:
    return op.create_table(
        "turns",
        _of_an_episode(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("function", TEXT, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("shown", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text, sa.ForeignKey("texts.hash")) for name in _PARTS),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("finish_reason", TEXT, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("input_tokens", "cached_tokens", "output_tokens")),
        *(sa.Column(name, sa.Float) for name in ("latency_s", "processing_s", "cost_usd")),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("token_logprobs", sa.Text, nullable=False),
    )


def _metrics(op: Operations) -> sa.Table:
    table = op.create_table(
        "metrics",
        _of_an_episode(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("turn", sa.BigInteger),
        sa.Column("flag", sa.Boolean),
        sa.Column("number", sa.Float),
        sa.Column("text", TEXT),
        sqlite_with_rowid=False,
    )
    whole = sa.text("turn IS NULL")
    op.create_index(
        "metrics_of_episodes",
        "metrics",
        ["name", "flag", "number", "episode"],
        sqlite_where=whole,
        postgresql_where=whole,
    )
    return table


def _tags(op: Operations) -> sa.Table:
    table = op.create_table(
        "tags", sa.Column("tag", sa.Text, primary_key=True), _of_an_episode(), sqlite_with_rowid=False
    )
    op.create_index("tags_by_episode", "tags", ["episode"])
    return table


def _uses(op: Operations) -> sa.Table:
    text = sa.Column("text", sa.Text, sa.ForeignKey("texts.hash"), primary_key=True)
    table = op.create_table("uses", text, _of_an_episode(), sqlite_with_rowid=False)
    op.create_index("uses_by_episode", "uses", ["episode"])
    return table


def _carry_over(connection: Connection, new: Tables) -> None:
    order = "SELECT id FROM episodes_1 ORDER BY run, case_id, attempt, id"
    ids = list(connection.execute(sa.text(order)).scalars())
    written: set[str] = set()
    for start in range(0, len(ids), _BATCH):
        some = ids[start : start + _BATCH]
        rows = _Carried(start)
        old = {table: _by(connection, f"{table}_1", key, some) for table, key in _KEYS.items()}
        bodies = _bodies(connection, [turn for turns in old["turns"].values() for turn in turns])
        for id_ in some:
            rows.add(old["episodes"][id_][0], old["turns"].get(id_, []), old["metrics"].get(id_, []), bodies)
        rows.write(connection, new, written)
    if ids and connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('episodes', 'number'), :n)"), {"n": len(ids)})


_KEYS = {"episodes": "id", "turns": "episode_id", "metrics": "episode_id"}


def _by(connection: Connection, table: str, key: str, values: Sequence[str]) -> dict[str, list[Row]]:
    """Rows of an old table by the value of `key`, in order."""
    order = " ORDER BY position" if key == "episode_id" else ""
    query = sa.text(f"SELECT * FROM {table} WHERE {key} IN :values{order}")
    found: dict[str, list[Row]] = {}
    for start in range(0, len(values), _VARIABLES):
        some = {"values": list(values[start : start + _VARIABLES])}
        for row in connection.execute(query.bindparams(sa.bindparam("values", expanding=True)), some).mappings():
            found.setdefault(row[key], []).append(dict(row))
    return found


def _bodies(connection: Connection, turns: Sequence[Row]) -> dict[str, str]:
    """The texts that old turns name, by their old hash; messages without what is empty in them."""
    messages = {name for turn in turns for name in (*json.loads(turn["messages"]), turn["reply"])}
    parts = {turn[name] for turn in turns for name in _PARTS if turn[name] is not None}
    found = {name: rows[0]["body"] for name, rows in _by(connection, "parts_1", "hash", sorted(parts)).items()}
    slim = {
        name: _slim(rows[0]["body"]) for name, rows in _by(connection, "messages_1", "hash", sorted(messages)).items()
    }
    return found | slim


class _Carried:
    """New rows of some old episodes; `start` of them are there already."""

    def __init__(self, start: int) -> None:
        self.number = start
        self.rows: dict[str, list[Row]] = {name: [] for name in ("episodes", "turns", "metrics", "tags", "uses")}
        self.texts: dict[str, str] = {}

    def add(self, old: Row, turns: Sequence[Row], metrics: Sequence[Row], bodies: Mapping[str, str]) -> None:
        self.number += 1
        said, uses = Said[str](str), dict[str, str]()
        new_turns = [self._turn(turn, said, uses, bodies) for turn in turns]
        moment = microseconds(datetime.fromisoformat(old["started_at"]))
        new = {"number": self.number, "started_us": moment, "content_hash": content_hash(new_turns)}
        self.rows["episodes"].append(old | new)
        self.rows["turns"] += new_turns
        self.rows["metrics"] += [{**metric, "episode": self.number} for metric in metrics]
        tags = json.loads(old["tags"]).items()
        self.rows["tags"] += [{"tag": tag_key(name, value), "episode": self.number} for name, value in tags]
        self.rows["uses"] += [{"text": name, "episode": self.number} for name in uses]
        self.texts |= uses

    def _turn(self, turn: Row, said: Said[str], uses: dict[str, str], bodies: Mapping[str, str]) -> Row:
        new, shown = said.add(json.loads(turn["messages"]), turn["reply"])
        entries = []
        for body in (bodies[name] for name in new):
            entries.append(body if len(body) < LONG else f'"{text_hash(body)}"')
            if len(body) >= LONG:
                uses[text_hash(body)] = body
        uses |= {turn[name]: bodies[turn[name]] for name in _PARTS if turn[name] is not None}
        stretches = json.dumps(shown, separators=(",", ":"))
        return {**turn, "episode": self.number, "said": f"[{','.join(entries)}]", "shown": stretches}

    def write(self, connection: Connection, new: Tables, written: set[str]) -> None:
        """Insert all; texts but those that are in `written`."""
        texts = [{"hash": name, "body": body} for name, body in self.texts.items() if name not in written]
        for table, rows in {"texts": texts, **self.rows}.items():
            columns = new[table].c.keys()
            if rows:
                connection.execute(new[table].insert(), [{name: row[name] for name in columns} for row in rows])
        written |= self.texts.keys()


def _slim(body: str) -> str:
    """A message's JSON without what is empty in it: as new messages are written."""
    empty: Row = {"content": "", "tool_calls": [], "tool_call_id": None}
    kept = {name: value for name, value in json.loads(body).items() if name not in empty or value != empty[name]}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
