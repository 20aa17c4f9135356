"""A grader of entities: a JSON object of lists of texts, by type."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from prentice.errors import ConfigError
from prentice.records import Metric
from prentice.tasks.contract import Measure
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig
from prentice.tasks.graders.fields import read_object

RIGHT, SAID, EXPECTED = "entities_right", "entities_said", "entities_expected"
Entities = Counter[tuple[str, str]]
"""(type, text) → how often."""


class EntitiesConfig(GraderConfig):
    """The reply is a JSON object of entities: type → list of texts, types without any left out."""

    kind: str = "entities"
    """The built-in that this section configures."""
    types: tuple[str, ...] = ()
    """The types, in the order in which replies name them; default: all that the answer keys name, sorted."""


class EntityGrader(Grader):
    """Success is exactly the expected entities, in any order. An entity counts as often as it is named.

    Each episode says how many entities were right, said and expected, in all and by type; `measures` makes of them
    precision, recall and F1 over all cases together (micro). Jaccard is the entities in common over those in either,
    and 1 where both have none.

    Raises: ConfigError if no type is known.
    """

    Config = EntitiesConfig

    def __init__(self, config: EntitiesConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del folder
        self.types = config.types or _types_of(keys)
        if not self.types:
            raise ConfigError("[task.grade] no entity type is known", "fill the cases' answers, or set `types`")
        texts: JsonValue = {"type": "array", "items": {"type": "string"}}
        self.response_schema = {
            "type": "object",
            "properties": dict.fromkeys(self.types, texts),
            "additionalProperties": False,
        }

    @property
    def measures(self) -> Mapping[str, Measure]:
        """F1, precision and recall over all entities, means over cases, then the three of each type."""
        whole = dict(zip(("entity F1", "precision", "recall"), _micro(""), strict=True))
        means = {"Jaccard": Measure("jaccard"), "valid JSON": Measure("valid_json")}
        of_type = {
            f"{what} of {name}": measure
            for name in self.types
            for what, measure in zip(("F1", "precision", "recall"), _micro(f".{name}"), strict=True)
        }
        return whole | means | of_type

    def key(self, expected: JsonValue) -> str:
        """The expected entities on one line, in the order of the types."""
        value = read_object(expected) if isinstance(expected, str) else expected
        if not isinstance(value, dict):
            raise ValueError(f"{str(expected)[:80]!r} is not a JSON object")
        for name, texts in value.items():
            if name not in self.types:
                raise ValueError(f"{name!r} is no type of entity; known: {', '.join(self.types)}")
            if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError(f"{name!r} is not a list of texts: {str(texts)[:80]}")
        return json.dumps({name: value[name] for name in self.types if value.get(name)}, ensure_ascii=False)

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Compare as bags; a reply that is no such object says nothing."""
        right, said = _entities(self.key(answer.expected)), _entities(answer.text)
        is_valid = said is not None and {name for name, _ in said} <= set(self.types)
        expected, found = right or Counter(), (said or Counter()) if is_valid else Counter()
        common, either = expected & found, expected | found
        values: dict[str, bool | float] = {
            "valid_json": is_valid,
            "jaccard": common.total() / either.total() if either else float(is_valid),
            RIGHT: float(common.total()),
            SAID: float(found.total()),
            EXPECTED: float(expected.total()),
        }
        for name in self.types:
            of_type = [sum(n for (kind, _), n in bag.items() if kind == name) for bag in (common, found, expected)]
            if any(of_type):
                values |= {f"{what}.{name}": float(n) for what, n in zip((RIGHT, SAID, EXPECTED), of_type, strict=True)}
        values["success"] = is_valid and expected == found
        return tuple(Metric(name=name, value=value) for name, value in values.items())


def _micro(of: str) -> tuple[Measure, Measure, Measure]:
    """F1, precision and recall over all cases together."""
    right, said, expected = RIGHT + of, SAID + of, EXPECTED + of
    return Measure(right, (said, expected), factor=2), Measure(right, (said,)), Measure(right, (expected,))


def _entities(text: str) -> Entities | None:
    """The entities that a text names; None if it is no JSON object of lists of texts."""
    value = read_object(text)
    if value is None:
        return None
    found: Entities = Counter()
    for name, texts in value.items():
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            return None
        found.update((name, " ".join(str(each).split())) for each in texts)
    return found


def _types_of(keys: Sequence[JsonValue]) -> tuple[str, ...]:
    objects = (read_object(key) if isinstance(key, str) else key for key in keys)
    return tuple(sorted({name for value in objects if isinstance(value, dict) for name in value}))
