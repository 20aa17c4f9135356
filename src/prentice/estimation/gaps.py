"""What is missing in a log before a student can learn from it, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prentice.estimation.learnable import FEW_INPUTS, STUDENT_CONTEXT
from prentice.estimation.outputs import Outputs
from prentice.estimation.prompts import Prompts
from prentice.estimation.spending import Spent
from prentice.records import Record

FEW_VERSIONS = 20
"""Beyond so many system prompts they are not versions, but filled in anew for every call."""


class Gap(Record):
    """Something that is missing or in the way."""

    kind: str
    what: str
    todo: str


class Facts(NamedTuple):
    """What is known of one function."""

    spent: Spent
    prompts: Prompts
    outputs: Outputs
    graded: int
    """Calls whose outcome is known."""
    failed: int
    """Calls that ended their episode with a failure."""
    personal: Mapping[str, int]
    """Texts with personal data, by its kind, ..."""
    looked_at: int
    """... among so many."""


def gaps_of(facts: Facts) -> tuple[Gap, ...]:
    """The gaps of one function, what stops learning first."""
    rules = (_outcomes, _inputs, _length, _personal, _versions, _tokens, _cut, _empty, _arguments, _errors)
    return tuple(gap for rule in rules if (gap := rule(facts)) is not None)


def _outcomes(facts: Facts) -> Gap | None:
    missing = facts.spent.calls - facts.graded
    if not missing:
        return None
    what = "no reward, score or feedback" if not facts.graded else f"none on {_of(missing, facts)} calls"
    return Gap(
        kind="no outcome",
        what=what,
        todo="say which answers were good: `prentice label`, `/v1/feedback` of `prentice record`, or a grader",
    )


def _inputs(facts: Facts) -> Gap | None:
    distinct = facts.prompts.distinct
    if distinct >= FEW_INPUTS:
        return None
    what = f"{distinct:,} different inputs, fewer than {FEW_INPUTS}"
    return Gap(kind="few inputs", what=what, todo="record more calls before anything is trained")


def _length(facts: Facts) -> Gap | None:
    tokens = facts.prompts.input_p95
    if tokens <= STUDENT_CONTEXT:
        return None
    what = f"{tokens:,} tokens (p95); a student is served {STUDENT_CONTEXT:,}"
    return Gap(kind="long prompts", what=what, todo="a student needs no instructions: give it a shorter prompt")


def _personal(facts: Facts) -> Gap | None:
    if not facts.personal:
        return None
    kinds = ", ".join(
        f"{kind} in {n:,}" for kind, n in sorted(facts.personal.items(), key=lambda item: (-item[1], item))
    )
    what = f"of {facts.looked_at:,} messages looked at: {kinds}"
    return Gap(kind="personal data", what=what, todo='set `mode = "redact"` under `[privacy]` before you import')


def _versions(facts: Facts) -> Gap | None:
    number = facts.prompts.versions
    if number < 2:
        return None
    todo = "learn from the calls of one version, or give the student a prompt of its own"
    if number > FEW_VERSIONS:
        return Gap(kind="system prompt", what=f"{number:,} different ones: filled in for each call", todo=todo)
    what = f"{number} versions, the most frequent in {facts.prompts.main_version * 100:.0f} % of the calls"
    return Gap(kind="system prompt", what=what, todo=todo)


def _tokens(facts: Facts) -> Gap | None:
    number = facts.spent.estimated
    what = f"not counted in {_of(number, facts)} calls: estimated, a fifth or so off"
    return Gap(kind="tokens", what=what, todo="log the provider's `usage`") if number else None


def _cut(facts: Facts) -> Gap | None:
    number = facts.outputs.truncated
    what = f"{_of(number, facts)} end at the greatest length"
    return (
        Gap(kind="cut replies", what=what, todo="leave them out: a student would learn to stop there")
        if number
        else None
    )


def _empty(facts: Facts) -> Gap | None:
    number = facts.outputs.empty
    what = f"{_of(number, facts)} hold neither text nor calls of tools"
    return Gap(kind="empty replies", what=what, todo="look whether the log has lost them") if number else None


def _arguments(facts: Facts) -> Gap | None:
    number = facts.outputs.unreadable_arguments
    what = f"{number:,} have arguments that are no JSON object"
    return Gap(kind="broken tool calls", what=what, todo="leave them out") if number else None


def _errors(facts: Facts) -> Gap | None:
    what = f"{_of(facts.failed, facts)} calls ended in one"
    return Gap(kind="errors", what=what, todo="leave them out, and find out why") if facts.failed else None


def _of(number: int, facts: Facts) -> str:
    return f"{number:,} of {facts.spent.calls:,}"
