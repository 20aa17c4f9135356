"""Named entities: one text in, a JSON object of the entities in it out, held to a schema; an environment of one turn.

A text task whose cases come from annotated files, whose grader counts entities, and which leaves out texts that stand
in the files more than once: what is measured must not have been learnt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

from pydantic import Field

from prentice.errors import DataError
from prentice.models.policy import Policy
from prentice.models.scripted import ScriptedModel
from prentice.records import Split, digest
from prentice.tasks.annotated import HUB, Annotated, Role, read_annotated
from prentice.tasks.cases import NAMES
from prentice.tasks.contract import Case, TaskConfig
from prentice.tasks.text import PROMPT, Text, TextConfig


class NERConfig(TaskConfig):
    """Which named entities does this text hold?"""

    kind: str = "ner"
    """The built-in that this section configures."""
    cases: str | dict[Split, str]
    """Where the texts are: a file whose rows name their split, or one file for each split, as in
    `{ train = "train.conll", test = "test.conll" }`. CSV, JSONL, parquet (also `hf://datasets/…`), or CoNLL columns."""
    columns: dict[Role, str] = Field(default_factory=dict)
    """What columns are called, where their names are unusual: `{ text = "body", entities = "marks" }`."""
    tag_names: tuple[str, ...] = ()
    """What tags stand for that are numbers, from 0 on, as in `["O", "B-person", "I-person"]`; parquet files on this
    machine that the library `datasets` saved say it themselves."""
    instructions: str
    """What is to be found, in words: the text, or a file of the project that ends in .md."""
    student_instructions: str | None = None
    """The same for the student, where it differs."""
    types: tuple[str, ...] = ()
    """The types of entities; default: all that occur."""
    draw: int | None = None
    """Seed of a drawn order of the texts. Default: the files' own order, in which whole documents follow one another,
    so that the first hundred texts may be about one match."""
    shots: int = Field(4, ge=0)
    """Worked examples in the teacher's prompt: training texts that show as many types as they can, a third of them
    without any entity. They are taught by no one and played by no one."""


class NER(Text):
    """Named entities as a task.

    Args:
        config: see `NERConfig`.
        folder: the project's folder, which relative paths start from.
    """

    Config = NERConfig  # type: ignore[assignment]  # it builds the text task's own
    name = "ner"

    def __init__(self, config: NERConfig, folder: Path) -> None:
        self.ner = config
        files = {"": config.cases} if isinstance(config.cases, str) else dict(config.cases)
        self.files = {split: place if place.startswith(HUB) else str(folder / place) for split, place in files.items()}
        text = TextConfig(
            kind=config.kind,
            cases=Path(next(iter(files.values()), "")),
            instructions=config.instructions,
            student_instructions=config.student_instructions,
            grade={"kind": "entities", "types": list(config.types)},
        )
        super().__init__(text, folder)

    def __reduce__(self) -> tuple[type[NER], tuple[NERConfig, Path]]:
        """Made again elsewhere from its own settings, not from the text task's."""
        return type(self), (self.ner, self.folder)

    @cached_property
    def rows(self) -> tuple[tuple[int, str, Case], ...]:
        """Line, split and case of each row that is used; the case of a prompt row says train, and is never played.

        Raises: DataError naming file, line and value.
        """
        found = list(self._found())
        if not found:
            raise DataError(f"{', '.join(self.files.values())}: no texts")
        named = list(_named(found))
        if self.ner.draw is not None:
            named.sort(key=lambda each: digest([self.ner.draw, each[0]]))
        shown = _shown([row for _, split, row in named if split == "train"], self.ner.shots)
        rows = []
        for name, split, row in named:
            used = PROMPT if id(row) in shown else split
            case = Case(
                id=name,
                split=cast("Split", "train" if used == PROMPT else used),
                inputs={"text": row.text},
                expected={kind: list(texts) for kind, texts in row.entities.items()},
            )
            rows.append((row.line, used, case))
        return tuple(rows)

    def each_row(self) -> Iterator[tuple[int, tuple[str, Case] | DataError]]:
        """Line, and split with case, of each row that is used; one that is damaged ends it."""
        try:
            yield from ((line, (split, case)) for line, split, case in self.rows)
        except DataError as error:
            yield 0, error

    def where(self, line: int, case: Case) -> str:
        """File and line of a text: there may be several files."""
        return self._places.get(case.id) or super().where(line, case)

    @cached_property
    def _places(self) -> Mapping[str, str]:
        return {name: row.where for name, _, row in _named(self._found())}

    @cached_property
    def left_out(self) -> Mapping[str, int]:
        """Reason → texts that were read and are not used."""
        return dict(Counter(reason for _, _, reason in self._sifted if reason))

    def baselines(self) -> Mapping[str, Policy]:
        """No entities, whatever the text."""
        name = "no entities"
        return {name: ScriptedModel(lambda _: "{}", name=name, slots=64)}

    def _found(self) -> Iterator[tuple[str, Annotated]]:
        return ((split, row) for split, row, reason in self._sifted if not reason)

    @cached_property
    def _sifted(self) -> Sequence[tuple[str, Annotated, str]]:
        """Split and row of each text, and why it is left out; what is measured is kept before what is learnt from."""
        read = [(self._split(named, row), row) for named, place in self.files.items() for row in self._read_file(place)]
        order = {split: number for number, split in enumerate(("test", "val", "train", PROMPT))}
        kept: dict[str, str] = {}
        reasons = {}
        for split, row in sorted(read, key=lambda each: order[each[0]]):
            text = " ".join(row.text.split()).casefold()
            if not text:
                reasons[id(row)] = "empty"
            elif text in kept:
                reasons[id(row)] = f"in {kept[text]} too" if kept[text] != split else f"repeated in {split}"
            kept.setdefault(text, split)
        return [(split, row, reasons.get(id(row), "")) for split, row in read]

    def _read_file(self, place: str) -> Iterable[Annotated]:
        return read_annotated(place, self.ner.columns, self.ner.tag_names)

    def _split(self, named: str, row: Annotated) -> str:
        split = NAMES.get(named or row.split)
        if split is None:
            said = f"split {row.split!r} is none of {', '.join(NAMES)}" if row.split else "there is no split"
            raise DataError(f"{row.where}: {said}", 'or name a file for each: cases = { train = "…", test = "…" }')
        return split


def _named(found: Iterable[tuple[str, Annotated]]) -> Iterator[tuple[str, str, Annotated]]:
    """Id, split and row; texts without an id are numbered within their split, and an id that occurs in several splits,
    as in datasets of the hub, has its split before it."""
    rows = list(found)
    splits: dict[str, set[str]] = defaultdict(set)
    for split, row in rows:
        splits[row.id].add(split)
    numbers: Counter[str] = Counter()
    seen: set[str] = set()
    for split, row in rows:
        numbers[split] += 1
        name = row.id if row.id and len(splits[row.id]) == 1 else f"{split}-{row.id or numbers[split]}"
        if name in seen:
            raise DataError(f"{row.where}: id {name!r} occurred before", "give every text an id of its own")
        seen.add(name)
        yield name, split, row


def _shown(train: Sequence[Annotated], shots: int) -> set[int]:
    """The rows for worked examples: a third without entities, the others each with as many new types as there are.

    Half without entities taught a small model to find none, one in eight to find some everywhere: see the log of
    2026-11-29.
    """
    rows = [row for row in train if row.text.strip()]
    chosen = [row for row in rows if not row.entities][: round(shots / 3)]
    types: set[str] = set()
    for _ in range(shots - len(chosen)):
        left = [row for row in rows if row.entities and not any(row is each for each in chosen)]
        if not left:
            break
        chosen.append(max(left, key=lambda row: len(row.entities.keys() - types)))
        types |= chosen[-1].entities.keys()
    return {id(row) for row in chosen}
