"""What an expression may ask about an episode: its metrics, and facts that need no grader.

This module never sees a right answer: an episode does not hold one.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prentice.curation.expression import Expression, Scalar
from prentice.errors import ConfigError
from prentice.records import Episode
from prentice.records.chats import said
from prentice.records.feedback import SUCCESS

FACTS: Mapping[str, str] = {
    "tries": "how many attempts this run made at the episode's case",
    "agreement": "share of those attempts that gave exactly these replies, in all turns",
    "turns": "number of turns",
    "attempt": "0 for the first try at the case",
    "output_tokens": "tokens of all replies together, where every reply says",
    "failed": "whether the episode ended early",
    "judged": "whether a person accepted or rejected the episode as a whole",
}

FUNCTION = "function"
"""A turn's own fact: which function of the task replied."""


def facts_of(episodes: Sequence[Episode]) -> list[dict[str, Scalar]]:
    """Every name an expression may use, with its value, for each episode; a fact hides a metric of its name."""
    tries = Counter((e.run, e.case) for e in episodes)
    replies = [tuple(said(t.reply.message) for t in e.turns) for e in episodes]
    agreeing = Counter((e.run, e.case, r) for e, r in zip(episodes, replies, strict=True))
    rows: list[dict[str, Scalar]] = []
    for episode, reply in zip(episodes, replies, strict=True):
        names: dict[str, Scalar] = {m.name: m.value for m in episode.metrics if m.turn is None}
        n = tries[episode.run, episode.case]
        names |= {
            "tries": n,
            "agreement": agreeing[episode.run, episode.case, reply] / n,
            "turns": len(episode.turns),
            "attempt": episode.attempt,
            "failed": episode.failure is not None,
            "judged": any(m.name == SUCCESS and m.source == "person" and m.turn is None for m in episode.metrics),
        }
        names.pop("output_tokens", None)
        tokens = [t.reply.usage.output_tokens for t in episode.turns]
        known = [n for n in tokens if n is not None]
        rows.append(names | ({"output_tokens": sum(known)} if len(known) == len(tokens) else {}))
    return rows


def turn_facts(episode: Episode, about_episode: Mapping[str, Scalar]) -> list[dict[str, Scalar]]:
    """Every name an expression about a turn may use: its function, its metrics, what is known of its episode."""
    rows: list[dict[str, Scalar]] = [{**about_episode, FUNCTION: turn.request.function} for turn in episode.turns]
    for metric in episode.metrics:
        if metric.turn is not None and metric.turn < len(rows):
            rows[metric.turn][metric.name] = metric.value
    return rows


def check_names(expression: Expression, rows: Iterable[Mapping[str, Scalar]]) -> None:
    """Refuse a name that no episode has.

    Raises: ConfigError with the nearest known names.
    """
    known = sorted({*FACTS, FUNCTION, *(name for row in rows for name in row)})
    for name in expression.names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{expression.key}: `{expression.text}`: no episode has a metric {name!r}", hint)
