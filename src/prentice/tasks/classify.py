"""Classification: one text in, one of a list of labels out; an environment of one turn.

Cases are a CSV file with the columns `id, split, text, label`. Rows of the split
`prompt` are never played: they are the worked examples that the teacher's prompt shows, one line a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from prentice.errors import DataError
from prentice.models.policy import Policy
from prentice.models.scripted import ScriptedModel
from prentice.records import Message, Metric, Reply, Request, Split, digest
from prentice.tasks.cases import distinct, table_rows
from prentice.tasks.contract import Audience, Case, Environment, Step, TaskConfig

FUNCTION = "classify"
AUDIENCES: tuple[Audience, ...] = ("teacher", "student")
SPLITS = ("prompt", "train", "val", "test")


class ClassifyConfig(TaskConfig):
    """Which label does this text have?"""

    kind: str = "classify"
    """The built-in that this section configures."""
    cases: Path
    """CSV file with the columns id, split (prompt, train, val, test), text, label; relative to the project."""
    instructions: str
    """The question put to every policy; it comes first, so that it can be cached."""


class Classify:
    """Classification as a task.

    Args:
        config: see `ClassifyConfig`.
        folder: the project's folder, which relative paths start from.
    """

    Config = ClassifyConfig
    name = "classify"

    def __init__(self, config: ClassifyConfig, folder: Path) -> None:
        self.config = config
        self._path = folder / config.cases

    @cached_property
    def _rows(self) -> tuple[tuple[str, Case], ...]:
        return tuple(distinct(self._path, _read(self._path)))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels that occur, sorted."""
        return tuple(sorted({str(case.expected) for _, case in self._rows}))

    def fingerprint(self) -> str:
        """Hash of the cases and of both prompts."""
        prompts = [self.render(FUNCTION, {"text": ""}, audience).model_dump(mode="json") for audience in AUDIENCES]
        return digest([prompts, [[split, case.model_dump(mode="json")] for split, case in self._rows]])

    def cases(self, split: Split) -> Sequence[Case]:
        """The cases of one split, in the file's order."""
        return self._by_split[split]

    @cached_property
    def _by_split(self) -> dict[str, tuple[Case, ...]]:
        return {name: tuple(c for split, c in self._rows if split == name) for name in SPLITS}

    @cached_property
    def _teacher_instructions(self) -> str:
        examples = {str(c.expected): str(c.inputs["text"]) for split, c in self._rows if split == "prompt"}
        lines = [f"{label}: {examples[label]}" if label in examples else label for label in self.labels]
        about = "Answer with one of these labels." + (" An example of each:" if examples else "")
        return "\n".join([self.config.instructions, about, *lines])

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """Instructions, then the text. The teacher also sees every label; training teaches them to the student."""
        instructions = self._teacher_instructions if audience == "teacher" else self.config.instructions
        return Request(
            function=function,
            inputs=dict(inputs),
            messages=(
                Message(role="system", content=instructions),
                Message(role="user", content=str(inputs["text"])),
            ),
            choices=self.labels,
        )

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        return _OneTurn(self, audience)

    def demonstration(self, case: Case) -> str | None:
        """The right label."""
        return str(case.expected)

    def baselines(self) -> Mapping[str, Policy]:
        """The label that is most frequent among the training cases, given to every text."""
        counts = Counter(str(case.expected) for case in self.cases("train"))
        most = max(self.labels, key=lambda label: (counts[label], label))
        return {"most frequent label": ScriptedModel(lambda _: most, name="most frequent label", slots=64)}


class _OneTurn:
    def __init__(self, task: Classify, audience: Audience) -> None:
        self._task, self._audience = task, audience
        self._case: Case | None = None

    async def reset(self, case: Case) -> Request:
        self._case = case
        return self._task.render(FUNCTION, case.inputs, self._audience)

    async def step(self, reply: Reply) -> Step:
        if self._case is None:
            raise RuntimeError("step before reset")
        right = reply.text.strip() == self._case.expected
        return Step(metrics=(Metric(name="success", value=right),))

    async def close(self) -> None:
        """Nothing to give back."""


def _read(path: Path) -> Iterator[tuple[int, str, tuple[str, Case]]]:
    """Line, id, and split with case: a prompt row is no case that is played."""
    shown: set[str] = set()
    for line, row in table_rows(path, ("id", "split", "text", "label")):
        split, case = _case(path, line, row)
        label = str(case.expected)
        if split == "prompt" and label in shown:
            raise DataError(f"{path}:{line}: label {label!r} has a prompt row already")
        if split == "prompt":
            shown.add(label)
        yield line, case.id, (split, case)


def _case(path: Path, line: int, row: Mapping[str, str]) -> tuple[str, Case]:
    for name in ("id", "text", "label"):
        if not row[name].strip():
            raise DataError(f"{path}:{line}: {name} is empty")
    split = row["split"]
    if split not in SPLITS:
        raise DataError(f"{path}:{line}: split {split!r} is not one of {', '.join(SPLITS)}")
    # a prompt row is kept out of every played split; its own split name is beside the case
    played = cast("Split", "train" if split == "prompt" else split)
    return split, Case(id=row["id"], split=played, inputs={"text": row["text"]}, expected=row["label"].strip())
