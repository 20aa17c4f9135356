"""What a game's `reset` and `step` may return, read strictly: a wrong value is named with the method that gave it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from prentice.errors import MetricError
from prentice.records import Message, Metric
from prentice.tasks.prompts import ASKED, PLAY, Ask, Entry, entry

OBSERVATION = "a text, a list of messages or an Ask"
STEP = "(observation, reward, done), the same with a dict of info, or Gymnasium's five"
_INPUTS: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
_MESSAGES = TypeAdapter(list[Message])


@dataclass(frozen=True)
class Question:
    """What the environment asks next: a function and the entries that its chat grows by."""

    function: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Outcome:
    """What a step came to."""

    question: Question | None
    reward: float = 0.0
    done: bool = False
    success: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


def read_reset(where: str, value: Any) -> Question:
    """The first question, of an observation or of Gymnasium's (observation, info).

    Raises: TypeError if it is neither.
    """
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Mapping):
        value = value[0]
    return _question(where, value)


def read_step(where: str, value: Any) -> Outcome:
    """The outcome that a step returned.

    Raises: TypeError if it has another form; MetricError if the reward is not a finite number.
    """
    if not isinstance(value, tuple | list) or len(value) not in (3, 4, 5):
        raise TypeError(f"{where} returned {_short(value)}, not {STEP}")
    observation, reward, terminated, *rest = value
    info = rest[-1] if rest else {}
    finished = _flag(f"{where}: done", terminated)
    done = finished or (len(rest) == 2 and _flag(f"{where}: truncated", rest[0]))
    if not isinstance(info, Mapping):
        raise TypeError(f"{where}: info is {_short(info)}, not a dict")
    if isinstance(reward, str) or number(f"{where}: the reward", reward) is None:
        raise TypeError(f"{where}: the reward is {_short(reward)}, not a number")
    won = finished and float(reward) > 0
    return Outcome(
        question=None if done else _question(where, observation),
        reward=float(reward),
        done=done,
        success=_flag(f"{where}: info['success']", info["success"]) if "success" in info else won,
        info=info,
    )


def number(what: str, value: Any) -> bool | float | None:
    """A flag or number as records hold it; None for anything else.

    Raises: MetricError if it is infinite or not a number (NaN).
    """
    plain = value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(plain, bool):
        return plain
    if not isinstance(plain, Real):
        return None
    if not math.isfinite(float(plain)):
        raise MetricError(f"{what} is {float(plain)}")
    return float(plain)


def info_metrics(where: str, info: Mapping[str, Any]) -> list[Metric]:
    """The flags and numbers of a step's info; `success` is read on its own."""
    rows = ((str(name), number(f"{where}: info[{name!r}]", value)) for name, value in info.items() if name != "success")
    return [Metric(name=name, value=value) for name, value in rows if value is not None]


def _question(where: str, value: Any) -> Question:
    try:
        question = _read_question(Ask(PLAY, observation=value) if isinstance(value, str) else value)
        to_json(question.entries)  # half a surrogate pair is a str in Python, and no file can hold it
    except ValidationError as error:
        found = error.errors(include_url=False)[0]["msg"]
        raise TypeError(f"{where} returned an observation that cannot be kept: {found}: {_short(value)}") from error
    except PydanticSerializationError as error:
        raise TypeError(f"{where} returned an observation that cannot be kept: {error}: {_short(value)}") from error
    except TypeError as error:
        raise TypeError(f"{where} returned {_short(value)} as its observation, not {OBSERVATION}") from error
    return question


def _read_question(value: Any) -> Question:
    if isinstance(value, Ask):
        return Question(value.function, ({ASKED: _INPUTS.validate_python(value.inputs)},))
    if isinstance(value, list) and value:
        return Question(PLAY, tuple(entry(message) for message in _MESSAGES.validate_python(value)))
    raise TypeError


def _flag(what: str, value: Any) -> bool:
    plain = value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value
    if plain not in (0, 1) or isinstance(plain, str):
        raise TypeError(f"{what} is {_short(value)}, not true or false")
    return bool(plain)


def _short(value: Any) -> str:
    text = repr(value.inputs if isinstance(value, Ask) else value)
    return text if len(text) <= 80 else text[:77] + "..."
