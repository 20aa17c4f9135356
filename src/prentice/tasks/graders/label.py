"""A grader of labels: the reply is held to a list, and compared with the right one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, JsonValue

from prentice.errors import ConfigError
from prentice.records import Metric
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig, text_of


class LabelConfig(GraderConfig):
    """The reply is the right one of a list of labels."""

    kind: str = "label"
    """The built-in that this section configures."""
    choices: tuple[str, ...] = ()
    """The labels; default: all that the cases expect. No reply can be anything else."""
    synonyms: dict[str, str] = Field(default_factory=dict)
    """Other words for a label, where answer keys use them: `{"refunds" = "refund"}`."""


class Label(Grader):
    """Success is the right label.

    Raises: ConfigError if there are no labels, one occurs twice, or a synonym stands for none of them.
    """

    Config = LabelConfig

    def __init__(self, config: LabelConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del folder
        self._synonyms = dict(config.synonyms)
        named = [str(key).strip() for key in keys if isinstance(key, str | int | float) and str(key).strip()]
        self.choices = config.choices or tuple(sorted({self._synonyms.get(name, name) for name in named}))
        if not self.choices:
            raise ConfigError("[task.grade] there are no labels", "fill the cases' `expected`, or set `choices`")
        if len(set(self.choices)) < len(self.choices):
            twice = next(c for c in self.choices if self.choices.count(c) > 1)
            raise ConfigError(f"[task.grade] choices: {twice!r} stands there twice")
        if wrong := [label for label in self._synonyms.values() if label not in self.choices]:
            raise ConfigError(f"[task.grade] synonyms: {wrong[0]!r} is no label", f"known: {', '.join(self.choices)}")

    def key(self, expected: JsonValue) -> str:
        """The label that the answer key stands for."""
        text = text_of(expected)
        label = self._synonyms.get(text, text)
        if label not in self.choices:
            raise ValueError(f"{text!r} is none of the labels: {', '.join(self.choices)}")
        return label

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Compare, synonyms taken for the labels that they stand for."""
        said = answer.text.strip()
        right = self._synonyms.get(said, said) == self.key(answer.expected)
        return (Metric(name="success", value=right),)
