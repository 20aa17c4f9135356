"""How it went, as the source says: rewards, scores, ratings and thumbs become metrics of the episode.

The rule for `success`: as given; else what `correct`, `accepted`, `thumbs` or `reward` says, where that is yes or no,
1 or 0. A score or a rating never becomes a success by itself: only its owner knows which score is good enough.
"""

from __future__ import annotations

from typing import Any, Literal

from prentice.records.episodes import Metric, Value
from prentice.records.importing.chats import json_in_text
from prentice.records.importing.faults import RowError, shown
from prentice.records.importing.fields import Fields, number

Source = Literal["judge", "program", "person"]
_NUMBERS = ("reward", "score", "rating")
_FLAGS = ("success", "correct", "accepted", "thumbs")
_SAY_SUCCESS = ("correct", "accepted", "thumbs", "reward")
_PERSONS = ("rating", "thumbs", "accepted")
_YES = {"true", "yes", "1", "1.0", "up", "thumbs_up", "👍"}
_NO = {"false", "no", "0", "0.0", "down", "thumbs_down", "👎"}
_SOURCES: dict[str, Source] = {"ANNOTATION": "person", "EVAL": "judge", "person": "person", "judge": "judge"}


def take_outcomes(row: Fields) -> tuple[Metric, ...]:
    """Take the metrics out of a row; those in its `metadata` are read and stay there too.

    Raises: RowError if a reward is no number, or a flag neither yes nor no.
    """
    metrics = [m for name in (*_FLAGS, *_NUMBERS) if (m := _metric(name, row.pop(name, None))) is not None]
    for name in ("metrics", "scores"):
        listed = row.get(name)
        listed = json_in_text(listed) if isinstance(listed, str) else listed
        if isinstance(listed, dict | list):
            del row[name]
            metrics += _listed(listed, name)
    metadata = row.get("metadata")
    if isinstance(metadata, dict):
        metrics += [m for name in (*_FLAGS, *_NUMBERS) if (m := _metric(name, metadata.get(name))) is not None]
    found: dict[str, Metric] = {}
    for metric in metrics:
        found.setdefault(metric.name, metric)
    return with_success(tuple(found.values()))


def with_success(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """Add `success` where the others say it."""
    known = {metric.name: metric for metric in metrics}
    if "success" in known:
        return metrics
    for name in _SAY_SUCCESS:
        if name in known and known[name].value in (0, 1):
            said = Metric(name="success", value=bool(known[name].value), source=known[name].source)
            return (*metrics, said)
    return metrics


def score(entry: Any, place: str) -> Metric:
    """A metric from `{"name": ..., "value": ...}`, as Langfuse has its scores.

    Raises: RowError if it has no name or no value.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise RowError("wrong value", f"{place} is {shown(entry)}, not a named score")
    value = entry.get("stringValue") or entry.get("string_value") or entry.get("value")
    kind = str(entry.get("dataType") or entry.get("data_type") or "NUMERIC")
    if kind == "BOOLEAN" or (kind == "NUMERIC" and not isinstance(value, str)):
        value = entry.get("value")
    if kind == "BOOLEAN" and value in (0, 1):
        value = bool(value)
    source = _SOURCES.get(str(entry.get("source")), "program")
    return Metric(name=entry["name"], value=_value(value, f"{place} {entry['name']!r}"), source=source)


def _listed(entries: Any, place: str) -> list[Metric]:
    if isinstance(entries, list):
        return [score(entry, f"{place}.{position}") for position, entry in enumerate(entries)]
    named = [(name, value) for name, value in entries.items() if value is not None]
    return [Metric(name=name, value=_value(value, f"{place}.{name}"), source="program") for name, value in named]


def _metric(name: str, value: Any) -> Metric | None:
    if value is None or value == "":
        return None
    source: Source = "person" if name in _PERSONS else "program"
    return Metric(name=name, value=_flag(name, value) if name in _FLAGS else _number(name, value), source=source)


def _flag(name: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise RowError("wrong value", f"{name} is {shown(value)}, neither yes nor no")
    return word in _YES


def _number(name: str, value: Any) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and name != "reward":
        try:
            return number(value, name)
        except RowError:
            return value  # a rating in words
    return number(value, name)


def _value(value: Any, place: str) -> Value:
    """A number, a flag or a text; a list of one of them, as a table export writes them, is its first."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool | str):
        return value
    return number(value, place)
