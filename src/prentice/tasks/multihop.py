"""Agentic retrieval: a question over a closed corpus that takes several searches, each led by what was found before.

Two functions take turns: `query` writes a search query, `notes` writes down what the passages that were found say, and
the answer as far as it is known. Success is that all gold passages were found within the given number of searches.
The form of the job is that of TensorZero's llmgym; ours differs in that a search never finds a passage twice.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from string import punctuation
from typing import Any, cast
from unicodedata import category

from pydantic import Field, JsonValue, ValidationError

from prentice.config import StageConfig
from prentice.errors import ConfigError, DataError
from prentice.models.policy import Policy
from prentice.models.scripted import ScriptedModel
from prentice.records import Message, Metric, Reply, Request, Split, digest
from prentice.retrieval import ENGINES, UNSPACED, Passage, SearchEngine, read_passages
from prentice.tasks.beside import load_beside
from prentice.tasks.cases import NAMES, distinct, file_rows, readable
from prentice.tasks.contract import Audience, Case, Environment, Measure, Step, TaskConfig

QUERY, NOTES = "query", "notes"
NOTES_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"notes": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["notes", "answer"],
    "additionalProperties": False,
}
QUESTION_AS_QUERY = "question as query"
LONGEST = 24
"""Characters from which on a word counts as two: what has no spaces may be a whole file."""
_ARTICLES = frozenset({"a", "an", "the"})
_WORD = re.compile(rf"[{UNSPACED}]{{1,2}}|[^\s{UNSPACED}]{{1,{LONGEST}}}")


class WorkedExample(StageConfig):
    """One prompt of a function and the reply that is wanted."""

    asked: str = Field(min_length=1)
    """The user's message, as the task writes it."""
    reply: str = Field(min_length=1)
    """What answers it: a query, or the notes as JSON."""


class FunctionPrompt(StageConfig):
    """What one of the two functions is told."""

    instructions: str = Field(min_length=1)
    """The system prompt; it comes first and never changes, so that it can be cached."""
    student_instructions: str | None = None
    """The same for the student, where it differs: training can replace long instructions."""
    examples: tuple[WorkedExample, ...] = ()
    """Worked examples, as turns of the chat before the prompt; the student is not shown them."""


class MultiHopConfig(TaskConfig):
    """Which corpus is searched for which questions, how often, and what the two functions are told."""

    kind: str = "multihop"
    """The built-in that this section configures."""
    corpus: Path
    """File of passages (.jsonl, .jsonl.gz, .csv) with id, title, text."""
    questions: Path
    """File of questions (.jsonl) with id, split, question, answer, supporting_ids (the gold passages) and, where there
    are, answer_aliases."""
    search: str = "bm25"
    """The search engine: a built-in, or `my_module:MyEngine`."""
    hops: int = Field(2, ge=1)
    """Searches of an episode."""
    passages: int = Field(3, ge=1)
    """Passages that a search shows, none of which was shown before."""
    passage_words: int = Field(60, ge=5)
    """Words of a passage that are shown, from its first on."""
    query: FunctionPrompt = FunctionPrompt(
        instructions="You search an encyclopedia to answer a question that takes several searches. Write the next "
        "search query: a few words, names above all, for what is not known yet. Do not repeat a query. Reply with the "
        "query alone.",
        student_instructions="Write the next search query.",
    )
    """What the function `query` is told."""
    notes: FunctionPrompt = FunctionPrompt(
        instructions="You take notes to answer a question that takes several searches. Write down, in one or two "
        "short sentences, what the notes so far and the passages say that helps to answer it: names above all. Give "
        "the answer in a few words; leave it empty as long as you do not know it.",
        student_instructions="Take notes, and answer.",
    )
    """What the function `notes` is told."""


class Key(StageConfig):
    """What a question should lead to; it stays inside the environment."""

    gold: tuple[str, ...] = Field(min_length=1)
    answers: tuple[str, ...] = Field(min_length=1)


class MultiHop:
    """Questions over a corpus as a task.

    Args:
        config: see `MultiHopConfig`.
        folder: the project's folder, which relative paths start from.
    """

    Config = MultiHopConfig
    name = "multihop"
    functions = (QUERY, NOTES)

    def __init__(self, config: MultiHopConfig, folder: Path) -> None:
        self.config = config
        self._corpus, self._questions = folder / config.corpus, folder / config.questions
        self._engine: Any = (
            load_beside(config.search, folder, "[task] search") if ":" in config.search else ENGINES.load(config.search)
        )
        if not inspect.isclass(self._engine):
            raise ConfigError(f"[task] search = {config.search!r} is not a class", "see docs/multihop.md")
        self._enough: dict[str, bool] = {}

    @cached_property
    def passages(self) -> tuple[Passage, ...]:
        """The corpus.

        Raises: DataError naming file, line and value.
        """
        return read_passages(self._corpus)

    @cached_property
    def engine(self) -> SearchEngine:
        """What searches it."""
        engine: SearchEngine = self._engine(self.passages)
        return engine

    @cached_property
    def _cases(self) -> tuple[Case, ...]:
        known = {passage.id for passage in self.passages}
        rows = (
            (line, _case(f"{self._questions}:{line}", row))
            for line, row in readable(file_rows(self._questions, "questions"))
        )
        cases = tuple(distinct(self._questions, ((line, case.id, (line, case)) for line, case in rows)))
        for line, case in cases:
            if missing := [gold for gold in _key(case).gold if gold not in known]:
                where = f"{self._questions}:{line}: question {case.id!r}"
                raise DataError(
                    f"{where}: its gold passage {missing[0]!r} is not in {self._corpus}",
                    "no search can find it: add it to the corpus, or leave the question out",
                )
        return tuple(case for _, case in cases)

    def fingerprint(self) -> str:
        """Hash of the settings, the corpus, the questions and the code of a search engine of the user's own."""
        corpus = [[p.id, p.title, p.text] for p in self.passages]
        cases = [case.model_dump(mode="json") for case in self._cases]
        code = [Path(inspect.getfile(self._engine)).read_text(encoding="utf-8")] if ":" in self.config.search else []
        return digest([self.config.model_dump(mode="json", exclude={"corpus", "questions"}), corpus, cases, *code])

    def cases(self, split: Split) -> Sequence[Case]:
        """The questions of one split, in the file's order."""
        return self._by_split[split]

    @cached_property
    def _by_split(self) -> Mapping[str, tuple[Case, ...]]:
        return {name: tuple(c for c in self._cases if c.split == name) for name in ("train", "val", "test")}

    def render(self, function: str, inputs: Mapping[str, JsonValue], audience: Audience) -> Request:
        """Instructions; then the question, what was searched for, the notes so far, and to `notes` the passages."""
        told = self.config.query if function == QUERY else self.config.notes
        for_student = audience == "student" and told.student_instructions is not None
        system = told.student_instructions if for_student else told.instructions
        worked = () if audience == "student" else told.examples
        return Request(
            function=function,
            inputs=dict(inputs),
            messages=(
                Message(role="system", content=str(system)),
                *(message for example in worked for message in _turns(example)),
                Message(role="user", content="\n".join(_lines(function, inputs))),
            ),
            response_schema=NOTES_SCHEMA if function == NOTES else None,
        )

    def environment(self, audience: Audience) -> Environment:
        """A fresh environment."""
        return _Search(self, audience)

    def question_is_enough(self, case: Case) -> bool:
        """Whether the question itself as every query finds all gold passages: what an episode then finds, its notes did
        not."""
        if case.id not in self._enough:
            seen: set[str] = set()
            for _ in range(self.config.hops):
                found = self.engine.search(str(case.inputs["question"]), self.config.passages, frozenset(seen))
                seen |= {passage.id for passage in found}
            self._enough[case.id] = set(_key(case).gold) <= seen
        return self._enough[case.id]

    def demonstration(self, case: Case) -> str | None:
        """None: an episode takes several replies."""
        del case
        return None

    def measures(self) -> Mapping[str, Measure]:
        """Share of gold passages that were found, and how right the last answer was."""
        return {
            "gold passages found": Measure("gold_found", ("gold",)),
            "answer exact match": Measure("answer_exact"),
            "answer F1": Measure("answer_f1"),
            "valid notes": Measure("valid_notes"),
        }

    def baselines(self) -> Mapping[str, Policy]:
        """The question itself as every query, which finds its next passages each time; no notes, no answer."""
        nothing = json.dumps({"notes": "", "answer": ""})

        def reply(request: Request) -> str:
            return str(request.inputs["question"]) if request.function == QUERY else nothing

        return {QUESTION_AS_QUERY: ScriptedModel(reply, name=QUESTION_AS_QUERY, slots=64)}


class _Search:
    """One episode."""

    def __init__(self, task: MultiHop, audience: Audience) -> None:
        self._task, self._audience = task, audience
        self._queries: list[JsonValue] = []
        self._notes = self._answer = ""
        self._found: list[Passage] = []
        self._seen: set[str] = set()
        self._invalid = 0

    async def reset(self, case: Case) -> Request:
        """Ask for the first query."""
        self._case, self._key = case, _key(case)
        return self._ask(QUERY)

    def _ask(self, function: str) -> Request:
        inputs: dict[str, JsonValue] = {
            "question": self._case.inputs["question"],
            "searched": list(self._queries),
            "notes": self._notes,
        }
        if function == NOTES:
            inputs["passages"] = [[p.title, _shortened(p.text, self._task.config.passage_words)] for p in self._found]
        self._function = function
        return self._task.render(function, inputs, self._audience)

    async def step(self, reply: Reply) -> Step:
        """Search for what the reply asks, or keep the notes that it is."""
        config = self._task.config
        if self._function == QUERY:
            query = " ".join(reply.text.split())
            self._found = list(self._task.engine.search(query, config.passages, frozenset(self._seen)))
            self._seen |= {passage.id for passage in self._found}
            self._queries.append(query)
            return Step(request=self._ask(NOTES))
        notes = _read_notes(reply.text)
        self._invalid += notes is None
        self._notes, self._answer = notes or (" ".join(reply.text.split()), self._answer)
        if len(self._queries) < config.hops:
            return Step(request=self._ask(QUERY))
        return Step(metrics=self._about_episode())

    def _about_episode(self) -> tuple[Metric, ...]:
        gold = set(self._key.gold)
        found = len(gold & self._seen)
        texts = [normal(query) for query in map(str, self._queries)]
        values: dict[str, bool | float] = {
            "success": found == len(gold),
            "recall": found / len(gold),
            "gold": float(len(gold)),
            "gold_found": float(found),
            "answer_exact": any(normal(self._answer) == normal(right) for right in self._key.answers),
            "answer_f1": max(answer_f1(self._answer, right) for right in self._key.answers),
            "valid_notes": 1 - self._invalid / len(self._queries),
            "empty_queries": float(sum(not text for text in texts)),
            "repeated_queries": float(len(texts) - len(set(texts))),
            "question_enough": self._task.question_is_enough(self._case),
        }
        return tuple(Metric(name=name, value=value) for name, value in values.items())

    async def close(self) -> None:
        """Nothing to give back."""


def _turns(example: WorkedExample) -> tuple[Message, Message]:
    return Message(role="user", content=example.asked), Message(role="assistant", content=example.reply)


def normal(text: str) -> str:
    """Lower case, without punctuation, articles and white space that says nothing.

    Source: SQuAD's evaluation (Rajpurkar et al. 2016), whose ASCII punctuation holds signs such as $ and +; ours takes
    every script's punctuation besides.
    """
    plain = "".join(mark for mark in text.casefold() if mark not in punctuation and category(mark)[0] != "P")
    return " ".join(word for word in plain.split() if word not in _ARTICLES)


def answer_f1(said: str, right: str) -> float:
    """F1 of the words in common, as SQuAD's evaluation counts them; 1 where both are empty."""
    ours, theirs = (Counter(normal(text).split()) for text in (said, right))
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def _lines(function: str, inputs: Mapping[str, JsonValue]) -> list[str]:
    searched = cast("list[str]", inputs["searched"])
    lines = [f"Question: {inputs['question']}", f"Notes: {inputs['notes'] or 'none'}"]
    if searched:
        lines.append(f"Searched for: {'; '.join(searched)}")
    if function == NOTES:
        rows = cast("list[list[str]]", inputs["passages"])
        lines += [f"[{title}] {text}" for title, text in rows] or ["Nothing was found."]
    return lines


def _shortened(text: str, words: int) -> str:
    """The beginning of a text, in words; where a script puts no spaces between them, two characters are one."""
    parts = islice(_WORD.finditer(text), words)
    cut = text[: max((part.end() for part in parts), default=0)]
    return cut.strip() if not text[len(cut) :].strip() else f"{cut.strip()} …"


def _read_notes(text: str) -> tuple[str, str] | None:
    """Notes and answer of a reply; None if it is not what the schema asks for."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("notes", "answer")):
        return None
    return " ".join(value["notes"].split()), " ".join(value["answer"].split())


def _key(case: Case) -> Key:
    return Key.model_validate(case.expected)


def _case(where: str, row: Mapping[str, Any]) -> Case:
    name, question = row.get("id"), row.get("question")
    if not isinstance(name, str | int) or not str(name).strip():
        raise DataError(f"{where}: the question has no id")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: question {str(name)!r} is empty")
    split = NAMES.get(str(row.get("split")))
    if split not in ("train", "val", "test"):
        raise DataError(f"{where}: split {row.get('split')!r} is not train, val or test")
    aliases = row.get("answer_aliases") or []
    if not isinstance(aliases, list):
        raise DataError(f"{where}: question {str(name)!r}: answer_aliases is not a list of texts: {str(aliases)[:80]}")
    gold = row.get("supporting_ids")
    if isinstance(gold, list):
        gold = [str(each) if isinstance(each, int) else each for each in gold]  # as the corpus's own ids are read
    try:
        key = Key(gold=gold, answers=(row.get("answer"), *aliases))
    except (ValidationError, TypeError) as error:
        raise DataError(
            f"{where}: question {str(name)!r} lacks its answer (a text) or its supporting_ids (a list of ids)"
        ) from error
    if empty := [answer for answer in key.answers if not normal(answer)]:
        raise DataError(
            f"{where}: question {str(name)!r}: without articles and punctuation the answer {empty[0]!r} is empty",
            "an empty reply would be right: give an answer in words, or leave the question out",
        )
    return Case(
        id=str(name),
        split=cast("Split", split),
        inputs={"question": question},
        expected=key.model_dump(mode="json"),
    )
