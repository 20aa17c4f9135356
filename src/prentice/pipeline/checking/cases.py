"""The cases of a project: rows that cannot be used, and what would make a verdict weak or false."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prentice.curation.duplicates import near_pairs
from prentice.errors import DataError, PrenticeError
from prentice.pipeline.checking.findings import Finding, bad, doubtful, from_error, good, shortened
from prentice.records import digest
from prentice.statistics import wilson
from prentice.tasks import Case, Sifting, Task
from prentice.tasks.text import PROMPT, Text

TOPIC = "cases"
FEW_TEST, FEW_TRAIN = 100, 50
"""Below so many, a verdict is wide, and there is little to learn from."""
USUAL = 0.8
"""The success rate for which the width of an interval is told."""
NEAR = 0.8
MOST_COMPARED = 20_000
"""Texts that are compared for near duplicates; more take minutes."""


@dataclass(frozen=True)
class Seen:
    """A case and where it stands."""

    line: int | None
    split: str
    case: Case

    @property
    def text(self) -> str:
        """What is compared for duplicates: the inputs, white space and case left out."""
        return " ".join(" ".join(map(str, self.case.inputs.values())).lower().split())

    def __str__(self) -> str:
        return f"line {self.line}" if self.line else f"case {self.case.id!r}"


def look_at_cases(task: Task) -> tuple[list[Seen], list[Finding]]:
    """The cases that can be used, and all that is wrong or doubtful with them."""
    seen, findings = _rows(task) if isinstance(task, Text) else _whole(task)
    if isinstance(task, Sifting) and seen:
        findings += [doubtful(TOPIC, f"{n:,} texts left out: {reason}") for reason, n in task.left_out.items()]
    if not seen:
        return seen, findings or [bad(TOPIC, "there are no cases", "put rows into the file that [task] cases names")]
    findings += _splits(seen)
    findings += _repeats(seen)
    findings += _only_in_test(seen)
    counts = Counter(s.split for s in seen)
    findings.append(good(TOPIC, ", ".join(f"{n:,} {split}" for split, n in sorted(counts.items()))))
    return seen, findings


def _rows(task: Text) -> tuple[list[Seen], list[Finding]]:
    """Row by row, so that one that is damaged hides no other."""
    seen: list[Seen] = []
    findings: list[Finding] = []
    ids: dict[str, int] = {}
    try:
        for line, row in task.each_row():
            if isinstance(row, DataError):
                findings.append(from_error(TOPIC, row))
                continue
            split, case = row
            if case.id in ids:
                text = f"{task.path}:{line}: id {case.id!r} occurred in line {ids[case.id]} before"
                findings.append(bad(TOPIC, text, "give every case an id of its own"))
                continue
            ids[case.id] = line
            seen.append(Seen(line, split, case))
    except PrenticeError as error:
        findings.append(from_error(TOPIC, error))
    return seen, shortened(findings)


def _whole(task: Task) -> tuple[list[Seen], list[Finding]]:
    try:
        return [Seen(None, split, case) for split in ("train", "val", "test") for case in task.cases(split)], []
    except PrenticeError as error:
        return [], [from_error(TOPIC, error)]


def _splits(seen: Sequence[Seen]) -> Iterator[Finding]:
    counts = Counter(s.split for s in seen)
    if not counts["train"]:
        yield bad(
            TOPIC, "no case of the split train: there is nothing to learn from", "name the split of some rows train"
        )
    elif counts["train"] < FEW_TRAIN:
        yield doubtful(TOPIC, f"only {counts['train']} training cases", f"{FEW_TRAIN} is little, some hundred are good")
    if not counts["test"]:
        yield bad(TOPIC, "no case of the split test: nothing can be measured", "name the split of some rows test")
    elif counts["test"] < FEW_TEST:
        n = counts["test"]
        interval = wilson(round(USUAL * n), n)
        known = f"{interval.low:.0%} to {interval.high:.0%}"
        yield doubtful(
            TOPIC,
            f"only {n} test cases: a success of {USUAL:.0%} would be known as {known}",
            "hold out more: differences smaller than that cannot be seen",
        )


def _repeats(seen: Sequence[Seen]) -> Iterator[Finding]:
    texts: dict[str, list[Seen]] = defaultdict(list)
    for s in seen:
        texts[s.text].append(s)
    repeated = [group for group in texts.values() if len(group) > 1]
    learnt = [(group, [s for s in group if s.split == "test"]) for group in repeated]
    leaks = [(group, test) for group, test in learnt if 0 < len(test) < len(group)]
    for group, test in leaks[:3]:
        other = next(s for s in group if s.split != "test")
        yield bad(
            TOPIC,
            f"the text of {test[0]} (test) is also in {other} ({other.split}): what is measured would be memory",
            "keep one of the two; " + (f"there are {len(leaks)} such texts" if len(leaks) > 1 else "the others differ"),
        )
    torn = [g for g in repeated if len({digest(s.case.expected) for s in g if s.case.expected is not None}) > 1]
    if torn:
        a, b = torn[0][:2]
        yield doubtful(
            TOPIC,
            f"{len(torn)} texts have different expected answers, such as {a} and {b}",
            "decide which is right: a model can be right on one of them only",
        )
    if copies := sum(len(group) - 1 for group in repeated):
        yield doubtful(TOPIC, f"{copies:,} rows repeat the text of another", "they teach nothing more")
    yield from _near(seen)


def _near(seen: Sequence[Seen]) -> Iterator[Finding]:
    if len(seen) > MOST_COMPARED or {s.text for s in seen} <= {""}:
        return
    pairs = [
        (seen[a], seen[b])
        for a, b in near_pairs([s.text for s in seen], NEAR, seed=0)
        if (seen[a].split == "test") != (seen[b].split == "test") and seen[a].text != seen[b].text
    ]
    if pairs:
        a, b = pairs[0]
        held_out = len({s.case.id for pair in pairs for s in pair if s.split == "test"})
        yield doubtful(
            TOPIC,
            f"{held_out} test texts are nearly the same as one that is learnt from, such as {a} and {b}",
            "move them together into one split",
        )


def _only_in_test(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Answers that nothing teaches, where they come from a short list; one made of parts can be put together anew."""
    if any(isinstance(s.case.expected, dict | list) for s in seen):
        return
    answers = {split: Counter(str(s.case.expected) for s in seen if s.split == split) for split in ("train", "test")}
    different = len({*answers["train"], *answers["test"]})
    if different < 2 or different > len(seen) / 3:
        return
    shown = {str(s.case.expected) for s in seen if s.split in ("train", "val", PROMPT)}
    if missing := sorted(answers["test"].keys() - shown):
        yield doubtful(
            TOPIC,
            f"{len(missing)} answers occur in test cases only: {', '.join(missing[:5])}",
            "the student cannot learn them; add training cases with them",
        )
