"""Could a small model take this function over? In words, with the reason; no score."""

from __future__ import annotations

from typing import Literal, NamedTuple

from prentice.estimation.outputs import Outputs
from prentice.estimation.prompts import Prompts
from prentice.estimation.spending import Spent

Answer = Literal["good first candidate", "possible", "not yet"]

FEW_CALLS = 20
"""Below it the replies do not show what kind they are of."""
FEW_INPUTS = 100
"""Different inputs below which a student has too little to learn from."""
FEW_REPEATS = 20
"""Inputs that came again, below which they say nothing of how steady the replies are."""
ALIKE = 0.8
MOST_LABELS = 200
REPLIES_A_LABEL = 5
"""Calls a distinct reply, at least, for replies to be labels."""
LABEL_TOKENS = 16
SHORT_TOKENS = 100
OBJECT_TOKENS = 400
LONG_TOKENS = 300
MOSTLY = 0.95
MANY_TOOLS = 5
STUDENT_CONTEXT = 4_096
"""Tokens of prompt and reply that a student is served with (`models.local`)."""


class Judgement(NamedTuple):
    """The answer and its reason."""

    answer: Answer
    reason: str


def judge(spent: Spent, prompts: Prompts, outputs: Outputs) -> Judgement:
    """What the replies are like decides first, then whether there is enough to learn from."""
    if spent.calls < FEW_CALLS:
        return Judgement("not yet", f"{spent.calls} calls are too few to see what the replies are like")
    found = _by_replies(outputs, spent.calls)
    if found.answer != "good first candidate":
        return found
    if prompts.distinct < FEW_INPUTS:
        return Judgement("possible", f"{found.reason}, but only {prompts.distinct} different inputs to learn from")
    if prompts.asked_again >= FEW_REPEATS and prompts.answered_alike < ALIKE * prompts.asked_again:
        mixed = f"the same input gets different replies, in {prompts.asked_again - prompts.answered_alike:,} cases"
        return Judgement("possible", f"{found.reason}, but {mixed} of {prompts.asked_again:,}")
    if prompts.input_p95 > STUDENT_CONTEXT:
        long = f"prompts of {prompts.input_p95:,} tokens (p95) need shortening for a small model"
        return Judgement("possible", f"{found.reason}, but {long}")
    return found


def _by_replies(outputs: Outputs, calls: int) -> Judgement:
    if outputs.tools > 0:
        return _with_tools(outputs)
    if is_labels(outputs, calls):
        return Judgement("good first candidate", f"{outputs.distinct} different replies, all short")
    if outputs.objects >= MOSTLY:
        return _objects(outputs)
    median = f"{outputs.tokens_p50:,} tokens at the median"
    if outputs.tokens_p95 <= SHORT_TOKENS:
        return Judgement("possible", f"free text, but short: {median}")
    if outputs.tokens_p50 > LONG_TOKENS:
        return Judgement("not yet", f"long free text, {median}: hard to learn and hard to judge")
    return Judgement(
        "possible", f"free text of middling length, {median}: needs a judge or people to tell good from bad"
    )


def is_labels(outputs: Outputs, calls: int) -> bool:
    """Whether the replies are a few short ones, over and over."""
    few = outputs.distinct <= MOST_LABELS and outputs.distinct * REPLIES_A_LABEL <= calls
    return few and outputs.tokens_p95 <= LABEL_TOKENS


def _objects(outputs: Outputs) -> Judgement:
    top = outputs.top_shapes[0]
    length = f"{outputs.tokens_p50:,} tokens at the median"
    if top.share < MOSTLY:
        return Judgement("possible", f"JSON objects with {outputs.shapes} different sets of keys, {length}")
    if outputs.tokens_p95 > OBJECT_TOKENS:
        return Judgement("possible", f"JSON objects with the same keys, but long: {length}")
    return Judgement("good first candidate", f"JSON objects with the same keys ({top.text}), {length}")


def _with_tools(outputs: Outputs) -> Judgement:
    names = len(outputs.tool_names)
    calls = f"calls of {names} tool{'s' * (names != 1)}"
    if outputs.tools < MOSTLY:
        share = f"{outputs.tools * 100:.0f} % of the replies are {calls}, the others text"
        return Judgement(
            "possible", f"{share}, {outputs.tokens_p50:,} tokens at the median: a chat, judge it by its outcome"
        )
    if names <= MANY_TOOLS and outputs.tokens_p95 <= OBJECT_TOKENS:
        return Judgement("good first candidate", f"all replies are {calls}, short, with named arguments")
    return Judgement("possible", f"all replies are {calls}")
