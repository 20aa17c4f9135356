"""A task of one's own: one text in (or several named ones), one reply out, and a grader; an environment of one turn.

Cases are a file (.csv or .jsonl) with `id`, `split` and `expected`; all other columns are inputs. Rows of the split
`prompt` are never played: they are the worked examples that the teacher's prompt shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue, field_validator

from prentice.config import build
from prentice.errors import ConfigError, DataError, MetricError, ModelError, PrenticeError
from prentice.models.policy import Policy
from prentice.models.scripted import ScriptedModel
from prentice.models.specs import open_policy
from prentice.records import Message, Metric, Reply, Request, Split, digest
from prentice.tasks.beside import load_beside, text_or_file
from prentice.tasks.cases import distinct, file_rows, make_case, readable
from prentice.tasks.contract import Audience, Case, Environment, Measure, Step, TaskConfig
from prentice.tasks.graders import GRADERS, Answer, Grader
from prentice.tasks.metered import Metered
from prentice.tasks.prompts import template

FUNCTION = "text"
PROMPT = "prompt"
SPLITS = (PROMPT, "train", "val", "test")
ANSWER_KEY = "answer key"


class TextConfig(TaskConfig):
    """One text in, one reply out, and a grader of your choice."""

    kind: str = "text"
    """The built-in that this section configures."""
    cases: Path
    """File of cases (.csv, .jsonl) with id, split (prompt, train, val, test) and expected; other columns are inputs."""
    instructions: str
    """What is to be done: the text, or a file of the project that ends in .md. It comes first, so that it can be
    cached."""
    student_instructions: str | None = None
    """The same for the student, where it differs: training can replace long instructions. Worked examples and lists of
    labels are shown to the teacher alone."""
    prompt: str = "{text}"
    """The text of the user message, with {name} for each column that is an input."""
    grade: dict[str, Any]
    """How a reply is graded; `kind` names a built-in grader or `my_module:MyGrader`, the other keys are its own."""

    @field_validator("prompt")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        return template(text)


class Text:
    """A task of one's own.

    Args:
        config: see `TextConfig`.
        folder: the project's folder, which relative paths start from.
    Raises: ConfigError if the grader's section, or a text in a file, cannot be read.
    """

    Config = TextConfig
    name = "text"

    def __init__(self, config: TextConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.path = folder / config.cases
        self.open_model: Callable[[str], Policy] = partial(open_policy, folder=folder)
        """Opens the model that grades, from its spec."""
        self.instructions = text_or_file(config.instructions, folder, "[task] instructions")
        student = config.student_instructions
        self._for_student = (
            self.instructions if student is None else text_or_file(student, folder, "[task] student_instructions")
        )

    @cached_property
    def grader(self) -> Grader:
        """What grades replies.

        Raises: ConfigError naming file, key and value.
        """
        kind = self.config.grade.get("kind")
        where = f"{self.folder / 'prentice.toml'}: [task.grade]"
        if not isinstance(kind, str):
            raise ConfigError(f"{where} kind is missing", f"known: {', '.join(GRADERS.names())}")
        grader_class = load_beside(kind, self.folder, "[task.grade] kind") if ":" in kind else GRADERS.load(kind)
        keys = [case.expected for _, _, case in self.rows]
        grader: Grader = grader_class(build(grader_class.Config, self.config.grade, where), self.folder, keys)
        return grader

    @cached_property
    def rows(self) -> tuple[tuple[int, str, Case], ...]:
        """Line, split and case of each row; the case of a prompt row says train, and is never played.

        Raises: DataError naming file and line.
        """
        return tuple(distinct(self.path, self._read()))

    def _read(self) -> Iterator[tuple[int, str, tuple[int, str, Case]]]:
        for line, row in readable(file_rows(self.path)):
            split, case = self.read_row(line, row)
            yield line, case.id, (line, split, case)

    def each_row(self) -> Iterator[tuple[int, tuple[str, Case] | DataError]]:
        """Line, and split with case, of each row; in place of a damaged one what is wrong with it.

        Raises: DataError if the file cannot be read, or not beyond some line.
        """
        for line, row in file_rows(self.path):
            try:
                yield line, row if isinstance(row, DataError) else self.read_row(line, row)
            except DataError as error:
                yield line, error

    def read_row(self, line: int, row: Mapping[str, Any]) -> tuple[str, Case]:
        """The split and the case of one row.

        Raises: DataError naming file, line and value.
        """
        where = f"{self.path}:{line}"
        split = row.get("split")
        if split not in SPLITS:
            said = (
                "there is no column split"
                if "split" not in row
                else f"split {split!r} is not one of {', '.join(SPLITS)}"
            )
            raise DataError(f"{where}: {said}", "train to learn from, test to measure, prompt for worked examples")
        case = make_case(where, {**row, "split": "train" if split == PROMPT else split})
        if isinstance(case.expected, str) and not case.expected.strip():
            case = case.model_copy(update={"expected": None})
        self._check_inputs(where, case)
        return str(split), case

    def _check_inputs(self, where: str, case: Case) -> None:
        values = _texts(case.inputs)
        try:
            shown = self.config.prompt.format_map(values)
        except KeyError as error:
            raise DataError(
                f"{where}: the prompt shows {{{error.args[0]}}}, which is no column of the cases",
                f"set [task] prompt; the inputs are: {', '.join(values) or 'none'}",
            ) from error
        if not shown.strip() or not any(value.strip() for value in values.values()):
            raise DataError(f"{where}: the inputs are empty")

    @cached_property
    def _graded(self) -> tuple[tuple[str, Case], ...]:
        """Split and case of each row, the answer keys checked."""
        for line, split, case in self.rows:
            if (problem := self.key_problem(split, case)) is not None:
                raise DataError(f"{self.where(line, case)}: {problem}")
        return tuple((split, case) for _, split, case in self.rows)

    def where(self, line: int, case: Case) -> str:
        """File and line of a case, for errors."""
        del case
        return f"{self.path}:{line}"

    def key_problem(self, split: str, case: Case) -> str | None:
        """Why the case's answer key will not do; None if it will."""
        if case.expected is None:
            is_missing = split == PROMPT or (split == "test" and self.grader.needs_key)
            return f"expected is empty, and a row of the split {split!r} needs it" if is_missing else None
        try:
            self.grader.key(case.expected)
        except ValueError as error:
            return f"expected: {error}"
        except Exception as error:  # a grader of the user's own
            return f"expected: {type(self.grader).__name__}.key raised {type(error).__name__}: {error}"
        return None

    def fingerprint(self) -> str:
        """Hash of the cases, of both prompts, and of how replies are graded."""
        prompts = [self._system("teacher"), self._system("student"), self.config.prompt]
        cases = [[split, case.model_dump(mode="json")] for split, case in self._graded]
        return digest([prompts, cases, self.config.grade, self.grader.code(), self.grader.response_schema])

    def cases(self, split: Split) -> Sequence[Case]:
        """The cases of one split, in the file's order."""
        return self._by_split[split]

    @cached_property
    def _by_split(self) -> dict[str, tuple[Case, ...]]:
        return {name: tuple(case for split, case in self._graded if split == name) for name in SPLITS}

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """Instructions, then the inputs. The teacher also sees every label and the worked examples."""
        system = self._system(audience)
        return Request(
            function=function,
            inputs=dict(inputs),
            messages=(
                *([Message(role="system", content=system)] if system else ()),
                *(self._worked if audience == "teacher" else ()),
                Message(role="user", content=self.config.prompt.format_map(_texts(inputs))),
            ),
            choices=self.grader.choices,
            response_schema=None if self.grader.choices else self.grader.response_schema,
        )

    def _system(self, audience: Audience) -> str:
        return self._for_student if audience == "student" else self._teacher_instructions

    @cached_property
    def _teacher_instructions(self) -> str:
        parts = [self.instructions]
        if self.grader.choices:
            parts.append("\n".join(["Answer with one of these labels.", *self.grader.choices]))
        return "\n\n".join(parts)

    @cached_property
    def _worked(self) -> tuple[Message, ...]:
        """Worked examples as turns of the chat: a small model copies what it seems to have said before."""
        return tuple(
            message
            for case in self._by_split[PROMPT]
            for message in (
                Message(role="user", content=self.config.prompt.format_map(_texts(case.inputs))),
                Message(role="assistant", content=self.grader.key(case.expected)),
            )
        )

    @property
    def has_models(self) -> bool:
        """Whether it is played in one process alone, which holds the judge, its limits and the budget."""
        return self.grader.judge is not None

    @cached_property
    def judge(self) -> Policy | None:
        """The model that grades, shared by all episodes."""
        return None if self.grader.judge is None else self.open_model(self.grader.judge)

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        return OneTurn(self, audience)

    def demonstration(self, case: Case) -> str | None:
        """The answer key as a reply."""
        return None if case.expected is None else self.grader.key(case.expected)

    def measures(self) -> Mapping[str, Measure]:
        """What the grader measures over all episodes together."""
        return self.grader.measures

    def baselines(self) -> Mapping[str, Policy]:
        """The answer that is most frequent among the training cases, given to every text; nothing without answers."""
        answers = Counter(a for a in map(self.demonstration, self.cases("train")) if a is not None)
        if not answers:
            return {}
        most = max(answers, key=lambda answer: (answers[answer], answer))
        name = "most frequent answer"
        return {name: ScriptedModel(lambda _: most, name=name, slots=64)}

    def teachers(self) -> Mapping[str, Policy]:
        """The answer key itself, where every case has one: people's work, to be learnt from and not compared with."""
        cases = [case for split, case in self._graded if split != PROMPT]
        known = {digest(dict(case.inputs)): self.demonstration(case) for case in cases}
        if None in known.values():
            return {}
        missing = ModelError("the answer key has no such case")
        return {ANSWER_KEY: ScriptedModel(lambda r: known.get(digest(r.inputs)) or missing, ANSWER_KEY, slots=64)}


async def _graded(grader: Grader, answer: Answer) -> tuple[Metric, ...]:
    """The metrics of a reply; whatever a grader raises is its own breaking."""
    try:
        return await grader.grade(answer)
    except PrenticeError:
        raise
    except Exception as error:
        raise MetricError(f"{type(grader).__name__} raised {type(error).__name__}: {error}") from error


class OneTurn:
    """One question, one graded reply."""

    def __init__(self, task: Text, audience: Audience) -> None:
        self._task, self._audience = task, audience
        self._judge = Metered(task.judge, "judge") if task.judge is not None else None
        self._case: Case | None = None

    async def reset(self, case: Case) -> Request:
        """Ask."""
        self._case = case
        return self._task.render(FUNCTION, case.inputs, self._audience)

    async def step(self, reply: Reply) -> Step:
        """Grade; a case without the key that its grader needs gets no metric, which is not a score of 0."""
        if self._case is None:
            raise RuntimeError("step before reset")
        case, grader = self._case, self._task.grader
        if grader.needs_key and case.expected is None:
            return Step()
        return Step(metrics=await _graded(grader, Answer(reply.text, case.expected, case.inputs, self._judge)))

    async def spent(self) -> tuple[Metric, ...]:
        """What the judge took."""
        return self._judge.metrics() if self._judge is not None else ()

    async def close(self) -> None:
        """Nothing to give back."""


def _texts(inputs: Mapping[str, JsonValue]) -> dict[str, str]:
    return {name: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for name, v in inputs.items()}
