"""Graders of free text: equal to the answer key, or of a form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, field_validator

from prentice.records import Metric
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig, text_of


class ExactConfig(GraderConfig):
    """The reply is the expected text."""

    kind: str = "exact"
    """The built-in that this section configures."""
    ignore_case: bool = False
    """Take "Yes" for "yes"."""
    ignore_space: bool = True
    """Take white space of any length for one space; around the reply it never counts."""


class Exact(Grader):
    """Success is a reply equal to the answer key."""

    Config = ExactConfig

    def __init__(self, config: ExactConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del folder, keys
        self.config = config

    def key(self, expected: JsonValue) -> str:
        """The expected text."""
        return text_of(expected)

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Compare, after what the configuration ignores is gone."""
        right = self._plain(answer.text) == self._plain(self.key(answer.expected))
        return (Metric(name="success", value=right),)

    def _plain(self, text: str) -> str:
        text = " ".join(text.split()) if self.config.ignore_space else text.strip()
        return text.casefold() if self.config.ignore_case else text


class RegexConfig(GraderConfig):
    """The reply has a form."""

    kind: str = "regex"
    """The built-in that this section configures."""
    pattern: str
    """A Python regular expression that must be found in the reply; `^` and `$` hold it to the whole of it. Where the
    pattern has a group and the case an expected text, the first group must be that text."""

    @field_validator("pattern")
    @classmethod
    def _is_one(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern


class Regex(Grader):
    """Success is a reply in which the pattern is found."""

    Config = RegexConfig
    needs_key = False

    def __init__(self, config: RegexConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del folder, keys
        self._pattern = re.compile(config.pattern)

    def key(self, expected: JsonValue) -> str:
        """The expected text, which stands for the first group and, to be a reply, must fit the pattern itself."""
        return text_of(expected)

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Search; where there is something to compare with, compare the first group."""
        found = self._pattern.search(answer.text.strip())
        right = found is not None
        if found is not None and self._pattern.groups and answer.expected is not None:
            right = (found.group(1) or "").strip() == self.key(answer.expected)
        return (Metric(name="success", value=right),)
