"""The grader of a text task, tried on what it must call right and what it must not. No model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Thread

from prentice.errors import PrenticeError
from prentice.pipeline.checking.cases import Seen
from prentice.pipeline.checking.findings import Finding, bad, doubtful, from_error, good, shortened
from prentice.records import Metric
from prentice.tasks.graders import Answer
from prentice.tasks.text import Text

TOPIC = "grader"
MOST_TRIED = 500
LONGEST_S = 120.0
PROGRAMS_TRIED = 5
"""A program is started anew for every reply."""


def look_at_grader(
    task: Text, seen: Sequence[Seen], limit_s: float = LONGEST_S
) -> tuple[frozenset[str], list[Finding]]:
    """The metrics that it gives, as far as it could be tried, and what is wrong with it or with the answer keys.

    Args:
        limit_s: seconds that all tries may take.
    """
    try:
        grader = task.grader
    except PrenticeError as error:
        return frozenset(), [from_error(TOPIC, error)]
    findings = shortened(
        [
            bad(TOPIC, f"{_where(task, s)}: {problem}", "write the answer that this grader can take")
            for s in seen
            if (problem := task.key_problem(s.split, s.case)) is not None
        ]
    )
    kind = str(task.config.grade["kind"])
    if grader.judge is not None:
        about = f"{kind}: asks {grader.judge}, so it was not tried"
        return frozenset({"judged", "success", "judge_calls"}), [*findings, good(TOPIC, about)]
    usable = [s for s in seen if s.case.expected is not None and task.key_problem(s.split, s.case) is None]
    most = PROGRAMS_TRIED if kind == "command" else MOST_TRIED
    names: set[str] = set()
    try:
        tried = _within(limit_s, lambda: asyncio.run(_try(task, usable[:most], names)))
    except PrenticeError as error:
        return frozenset(names), [*findings, bad(TOPIC, f"it broke: {error.problem}", error.hint or "mend the grader")]
    if tried is None:
        slow = f"{kind}: not done after {limit_s:g} s"
        return frozenset(names), [
            *findings,
            bad(TOPIC, slow, "it hangs, or is too slow for every reply: mend the grader"),
        ]
    if not usable:
        findings.append(doubtful(TOPIC, "no case has an answer to try it on", "fill `expected` for some cases"))
    elif not tried:
        findings.append(
            good(TOPIC, f"{kind}: takes {min(len(usable), most):,} answer keys for right, an empty reply for wrong")
        )
    return frozenset(names), [*findings, *shortened(tried)]


def _within(limit_s: float, work: Callable[[], list[Finding]]) -> list[Finding] | None:
    """What the work comes to; None if it takes longer. A function that waits for ever cannot be stopped, only left."""
    done: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return done.result(limit_s)
    except TimeoutError:
        return None


def _where(task: Text, seen: Seen) -> str:
    return task.where(seen.line or 0, seen.case)


async def _try(task: Text, seen: Sequence[Seen], names: set[str]) -> list[Finding]:
    findings = []
    for number, s in enumerate(seen):
        key = task.grader.key(s.case.expected)
        right = await _grade(task, s, key, names)
        if right is not True:
            text = f"{_where(task, s)}: its own answer key {key!r:.80} is not a success"
            findings.append(bad(TOPIC, text, "correct `expected`, or the grader"))
        if number == 0 and await _grade(task, s, "", names) is not False:
            findings.append(bad(TOPIC, "an empty reply is a success", "let the grader refuse what says nothing"))
    return findings


async def _grade(task: Text, s: Seen, reply: str, names: set[str]) -> bool | None:
    metrics: tuple[Metric, ...] = await task.grader.grade(Answer(reply, s.case.expected, s.case.inputs))
    names.update(metric.name for metric in metrics)
    return next((bool(metric.value) for metric in metrics if metric.name == "success"), None)


def look_at_prompt(task: Text, seen: Sequence[Seen]) -> Iterator[Finding]:
    """The instructions, and columns that nobody is shown."""
    topic = "prompt"
    system = task.instructions
    if not system.strip():
        yield bad(topic, "the instructions are empty", "write what is to be done")
    elif len(system) > 8000:
        tokens = len(system) // 4
        yield doubtful(
            topic,
            f"the instructions have about {tokens:,} tokens",
            "shorter ones are cheaper; see student_instructions",
        )
    else:
        yield good(topic, f"{len(system):,} characters of instructions")
    columns = {name for s in seen for name in s.case.inputs}
    hidden = sorted(name for name in columns if f"{{{name}" not in task.config.prompt)
    if hidden:
        yield doubtful(
            topic, f"columns that no model is shown: {', '.join(hidden)}", "name them in [task] prompt, if they matter"
        )
