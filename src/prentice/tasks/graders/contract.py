"""What a grader is: it gets a reply with what is known of its case, and says how right the reply is.

A wrong reply is a score. A grader that breaks raises `MetricError` (a judge: `JudgeError`): the episode then ends as a
failure named by that boundary, never as a score of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from prentice.config import StageConfig
from prentice.models.policy import Policy
from prentice.records import Metric
from prentice.tasks.contract import Measure


class GraderConfig(StageConfig):
    """Base of the `[task.grade]` sections: each grader adds its own keys."""

    kind: str
    """The name of a built-in grader, or `my_module:MyGrader`."""


@dataclass(frozen=True)
class Answer:
    """What is graded."""

    text: str
    """The reply."""
    expected: JsonValue
    """The case's answer key; None where it has none."""
    inputs: Mapping[str, JsonValue]
    judge: Policy | None = None
    """The model that the grader asked for by `judge`, counted in this episode."""


class Grader(Protocol):
    """Says how right a reply is.

    A class that `[task.grade] kind` can name has a `Config` (its `GraderConfig`) and is made as
    `MyGrader(config, folder, keys)`: `folder` is the project's, `keys` are the answer keys of all its cases.
    """

    choices: tuple[str, ...] = ()
    """When not empty, a reply must be one of these."""
    response_schema: dict[str, JsonValue] | None = None
    """When set, a reply is held to this JSON schema by models that can be."""
    needs_key: bool = True
    """Whether a case without an answer key cannot be graded: it then gets no metric at all."""
    judge: str | None = None
    """The model it asks, by the spec that `[teacher] model` takes too."""

    @property
    def measures(self) -> Mapping[str, Measure]:
        """Figures about all episodes together that belong in the report, beside success; by name."""
        return {}

    def key(self, expected: JsonValue) -> str:
        """The answer key as a right reply.

        Raises: ValueError saying why it is none.
        """
        ...

    def code(self) -> JsonValue:
        """What makes its grades other grades beside its configuration: a hash of a source file."""
        return None

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """The metrics of a reply, `success` among them.

        Raises: MetricError or JudgeError if there is no telling how right it is.
        """
        ...


def text_of(value: JsonValue) -> str:
    """An answer key that is a text, as it stands there, without white space around it.

    Raises: ValueError if it is empty or no text.
    """
    if isinstance(value, bool | list | dict) or value is None:
        raise ValueError(f"{value!r} is not a text")
    text = str(value).strip()
    if not text:
        raise ValueError("it is empty")
    return text
