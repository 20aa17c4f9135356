"""What every record on disk shares: it is frozen, refuses unknown fields, and has a content hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Record(BaseModel):
    """A frozen, validated row; unknown fields are an error, never dropped in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Key and words of what is to be said of a refused record: in its own words, if it has any."""
    faults = error.errors(include_url=False)
    shown = next((fault for fault in faults if fault["type"] == "value_error"), faults[0])
    key = ".".join(str(part) for part in shown["loc"] if not str(part).startswith("function-"))
    return key, shown["msg"].removeprefix("Value error, ")


def digest(value: Any) -> str:
    """Hash plain JSON data (or a record): 32 hex characters of SHA-256 over its canonical JSON."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return hashlib.sha256(_CANONICAL.encode(value).encode("utf-8", "surrogatepass")).hexdigest()[:32]
