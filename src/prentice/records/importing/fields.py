"""Taking what is known out of a row, so that what stays in it is what nobody asked for.

A field that is absent or null is missing; one that is there must be right. Numbers may be written as text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from prentice.records.chats import Usage
from prentice.records.importing.faults import RowError, shown

Fields = dict[str, Any]
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""When an episode began whose source does not say: always the same moment, so that it is the same episode again."""
_TIMES = ("started_at", "created_at", "created", "timestamp", "start_time", "startTime")
_SECONDS = (("latency_s", 1), ("latency", 1), ("latency_ms", 1000), ("duration_s", 1), ("duration_ms", 1000))
_COSTS = ("cost_usd", "total_cost", "totalCost", "cost")
_INPUT = ("prompt_tokens", "input_tokens", "input", "inputTokens", "promptTokens")
_OUTPUT = ("completion_tokens", "output_tokens", "output", "outputTokens", "completionTokens")
_CACHED = ("cached_tokens", "cache_read_input_tokens", "input_cached_tokens")


def take(row: Fields, names: Iterable[str]) -> tuple[str, Any]:
    """Take the first of `names` that is not missing out of the row: its name and value, or "" and None."""
    for name in names:
        if row.get(name) is not None:
            return name, row.pop(name)
    return "", None


def take_text(row: Fields, *names: str) -> str | None:
    """Take a text or a whole number, as text; what is neither stays in the row."""
    for name in names:
        value = row.get(name)
        if (isinstance(value, str) and value) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(row.pop(name))
    return None


def take_time(row: Fields) -> datetime | None:
    """Take when it began."""
    name, value = take(row, _TIMES)
    return None if value is None else moment(value, name)


def take_seconds(row: Fields) -> float | None:
    """Take how long the reply took."""
    for name, parts in _SECONDS:
        value = row.pop(name, None)
        if value is not None:
            return number(value, name, least=0) / parts
    return None


def take_cost(row: Fields) -> float | None:
    """Take the dollars it cost."""
    name, value = take(row, _COSTS)
    return None if value is None else number(value, name, least=0)


def take_usage(row: Fields) -> Usage:
    """Take the tokens, from `usage` or from the row itself."""
    name, usage = take(row, ("usage", "usage_details", "usageDetails"))
    if usage is None:
        return _usage(row, "")
    if not isinstance(usage, dict):
        raise RowError("wrong value", f"{name} is {shown(usage)}, not an object")
    found = _usage(usage, f"{name}.")
    if usage:
        row[name] = usage  # kinds of tokens that are not ours
    details = usage.get("prompt_tokens_details")
    if found.cached_tokens is None and isinstance(details, dict) and details.get("cached_tokens") is not None:
        cached = count(details["cached_tokens"], f"{name}.prompt_tokens_details.cached_tokens")
        found = Usage(input_tokens=found.input_tokens, cached_tokens=cached, output_tokens=found.output_tokens)
    return found


def _usage(fields: Fields, place: str) -> Usage:
    found = {}
    for field, names in (("input_tokens", _INPUT), ("cached_tokens", _CACHED), ("output_tokens", _OUTPUT)):
        known = names if place else [name for name in names if name.lower().endswith("tokens")]
        name, value = take(fields, known)
        found[field] = None if value is None else count(value, f"{place}{name}")
    return Usage(**found)


def number(value: object, name: str, least: float = -math.inf) -> float:
    """A finite number, maybe written as text.

    Raises: RowError if it is none, or is below `least`.
    """
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise RowError("wrong value", f"{name} is {shown(value)}, not a number")
    if found < least:
        raise RowError("wrong value", f"{name} is {shown(value)}, less than {least:g}")
    return found


def count(value: object, name: str) -> int:
    """A whole number, at least 0, maybe written as text.

    Raises: RowError if it is none.
    """
    found = number(value, name, least=0)
    if found % 1 or found >= 2**53:
        raise RowError("wrong value", f"{name} is {shown(value)}, not a whole number")
    return int(found)


def moment(value: object, name: str) -> datetime:
    """A moment from ISO 8601 (UTC where no zone is named) or a number since 1970, in s, ms, µs or ns by its size.

    Raises: RowError if it is none.
    """
    try:
        if isinstance(value, str) and not value.strip().replace(".", "", 1).isdecimal():
            found = datetime.fromisoformat(value.strip())
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        seconds = number(value, name, least=0)
        while seconds >= 1e11:  # as seconds, that would be the year 5138
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RowError("wrong value", f"{name} is {shown(value)}, not a moment") from error
