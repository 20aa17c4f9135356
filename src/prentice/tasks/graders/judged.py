"""A language model as the grader of a text task: a rubric says what makes a reply good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import JsonValue, model_validator

from prentice.errors import JudgeError
from prentice.records import Metric
from prentice.tasks.beside import text_or_file
from prentice.tasks.graders.code import any_key
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig
from prentice.tasks.judge import Judge


class JudgedConfig(GraderConfig):
    """A language model grades the reply by a rubric."""

    kind: str = "judge"
    """The built-in that this section configures."""
    model: str
    """The judge, as `[teacher] model` names models. It should not be the teacher: nobody grades their own work well."""
    rubric: str
    """What makes a reply good: the text, or a file of the project that ends in .md."""
    scale: tuple[int, int] | None = None
    """[low, high] asks for a whole number in place of yes or no; it becomes the metric `judged`."""
    success_at: int | None = None
    """With a scale: success from this number on; default: the highest."""

    @model_validator(mode="after")
    def _scale_rises(self) -> Self:
        if self.scale is not None and self.scale[0] >= self.scale[1]:
            raise ValueError(f"scale = {list(self.scale)} does not rise: write [low, high]")
        if self.success_at is not None and (
            self.scale is None or not self.scale[0] <= self.success_at <= self.scale[1]
        ):
            raise ValueError(f"success_at = {self.success_at} is not on the scale")
        return self


class Judged(Grader):
    """Success is what the judge says, or a number of its that is high enough."""

    Config = JudgedConfig
    needs_key = False

    def __init__(self, config: JudgedConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del keys
        self.config, self.judge = config, config.model
        self._rubric = text_or_file(config.rubric, folder, "[task.grade] rubric")

    def key(self, expected: JsonValue) -> str:
        """The answer key, which the judge sees as an example of a good reply."""
        return any_key(expected)

    def code(self) -> JsonValue:
        """The rubric, wherever it is kept."""
        return self._rubric

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Ask the judge once. What it took is counted apart, under the role `judge`."""
        if answer.judge is None:
            raise JudgeError("the judge's model is not open")
        judge = Judge(answer.judge, self._rubric, scale=self.config.scale)
        judged = await judge.grade(_shown(answer))
        if self.config.scale is None:
            return (judged, Metric(name="success", value=bool(judged.value), source="judge"))
        enough = self.config.scale[1] if self.config.success_at is None else self.config.success_at
        return (judged, Metric(name="success", value=float(judged.value) >= enough, source="judge"))


def _shown(answer: Answer) -> str:
    given = "\n".join(f"{name}: {value}" for name, value in answer.inputs.items())
    known = "" if answer.expected is None else f"\n\nA good reply would be:\n{any_key(answer.expected)}"
    return f"What was asked:\n{given}{known}\n\nThe reply to judge:\n{answer.text}"
