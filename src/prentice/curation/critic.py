"""A critic: a model that says, with a reason, which of two replies is better.

Every two replies are shown to it twice, the second time in the other order. Only a verdict that stands both times
makes a pair: a model that prefers whatever it reads first agrees with itself by chance alone, and so its position bias
cancels. How strong it is, is measured: without any, the first place wins in half of all answers.

Answers are written to a file as they come, so that a run that is killed asks none again. A call that fails is counted
and asked again by the next run; it is never a verdict.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from prentice.config import StageConfig
from prentice.errors import DataError, ModelError
from prentice.models.budget import Budget, paid_from
from prentice.models.policy import Policy
from prentice.progress import Bar, Progress
from prentice.records import Interval, Message, Record, Request, Sampling, digest
from prentice.runs import write_atomic
from prentice.statistics import paired_difference

ANSWERS, BOOK = "critic.jsonl", "critic-budget.db"
Verdict = Literal["first", "second", "equal"]
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "verdict": {"type": "string", "enum": ["first", "second", "equal"]},
    },
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}
"""The reason comes first: what is written before a verdict can inform it."""


class CriticConfig(StageConfig):
    """A model that judges which of two replies is better."""

    model: str = ""
    """As `[teacher] model` names models. It should not be the one that wrote the replies: nobody judges their own work
    well."""
    rubric: str = "The better reply is correct, does all that was asked, and adds nothing that was not."
    """What makes a reply better, in words; it comes first in the prompt, so that it can be cached."""
    max_tokens: int = Field(400, ge=16)
    """Longest answer, in tokens: a reason and a verdict."""
    concurrency: int | None = Field(None, ge=1)
    """Calls in flight; default: as many as the model serves at once."""
    budget_usd: float | None = Field(None, gt=0)
    """Most dollars that its calls may cost together, earlier goes included; then it stops in good order."""


@dataclass(frozen=True)
class Question:
    """Two replies to one chat.

    Args:
        messages: the chat, as whoever replied was shown it.
        one, other: the replies.
    """

    messages: tuple[Message, ...]
    one: Message
    other: Message

    def request(self, rubric: str, *, swapped: bool) -> Request:
        """What the critic is asked."""
        first, second = (self.other, self.one) if swapped else (self.one, self.other)
        ask = (
            "You see a conversation and two replies to it. Say which reply is better, or that they are equal. Give the "
            'reason in one or two sentences, then the verdict: "first", "second" or "equal". The order in which the '
            "replies are shown means nothing."
        )
        shown = (
            f"The conversation:\n{_chat(self.messages)}\n\nThe first reply:\n{_reply(first)}\n\n"
            f"The second reply:\n{_reply(second)}"
        )
        return Request(
            function="critic",
            messages=(Message(role="system", content=f"{rubric}\n\n{ask}"), Message(role="user", content=shown)),
            response_schema=SCHEMA,
        )


class Answer(Record):
    """What the critic said to one request."""

    key: str
    """Hash of critic and request."""
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Judged:
    """What came of one question.

    Args:
        winner: 0 for `one`, 1 for `other`, None where no verdict stands.
        reason: in the critic's words, or why none stands.
    """

    winner: int | None
    reason: str


@dataclass(frozen=True)
class Hearing:
    """What came of all questions, in their order.

    Args:
        judged: each.
        counts: outcome in words → how many.
        bias: share of answers that took the first reply, where one was taken both times; without bias 0.5.
    """

    judged: Sequence[Judged]
    counts: Mapping[str, int]
    bias: Interval

    def told(self, name: str) -> tuple[str, ...]:
        """The outcome in words."""
        counts = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        share, low, high = (f"{100 * x:.0f}" for x in (self.bias.value, self.bias.low, self.bias.high))
        asked = f"{len(self.judged):,} pairs of replies, each asked twice with the replies swapped"
        return (
            f"critic {name}: {asked}: {counts}",
            f"position bias: the first reply won in {share} % of its answers ({low} to {high}; without any: 50), "
            "cancelled by asking twice",
        )


AGREED, FIRST, SECOND = "agreed", "took the first both times", "took the second both times"
EQUAL, FAILED = "saw no difference", "calls failed"


def hear(
    questions: Sequence[Question], critic: Policy, config: CriticConfig, identity: str, folder: Path, progress: Progress
) -> Hearing:
    """Ask the critic about every two replies, twice each; what it has answered before is not asked again.

    Args:
        identity: what makes it another critic.
        folder: gets the answers as they come.
    Raises: DataError if it contradicts itself on every pair, or answers nothing; BudgetSpentError.
    """
    asked = asked_of(questions, config, identity)
    _mend(folder / ANSWERS)
    known = answered(folder, (key for key, _ in asked))
    faults: list[str] = []
    missing = {key: request for key, request in asked if key not in known}
    with progress.bar(f"critic {critic.name}", len(asked), "answers", done=len(asked) - len(missing)) as bar:
        book = None if config.budget_usd is None else Budget(config.budget_usd, folder / BOOK, identity)
        try:
            with paid_from(book):
                asyncio.run(_ask_all(missing, critic, config, _Notes(folder / ANSWERS, known, faults, bar)))
        finally:
            if book is not None:
                book.close()
    pairs = [(known.get(asked[i][0]), known.get(asked[i + 1][0])) for i in range(0, len(asked), 2)]
    return _heard(pairs, critic.name, faults)


def asked_of(questions: Sequence[Question], config: CriticConfig, identity: str) -> list[tuple[str, Request]]:
    """Key and request of every call: two for each question, the second with the replies swapped."""
    return [
        (digest([identity, config.max_tokens, request.model_dump(mode="json")]), request)
        for question in questions
        for request in (question.request(config.rubric, swapped=swapped) for swapped in (False, True))
    ]


def answered(folder: Path, keys: Iterable[str]) -> dict[str, Answer]:
    """What was answered before, by key; a last line that a kill cut off is none."""
    path, wanted = folder / ANSWERS, set(keys)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    found = [Answer.model_validate_json(line) for line in lines if line.endswith("\n")]
    return {answer.key: answer for answer in found if answer.key in wanted}


def _mend(path: Path) -> None:
    """Take away a last line that a kill cut off: the next answer would be written behind it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomic(path, whole)


@dataclass
class _Notes:
    """Where answers go."""

    path: Path
    known: dict[str, Answer]
    faults: list[str]
    bar: Bar

    def take(self, key: str, text: str) -> None:
        """Keep what was said, if it is an answer."""
        try:
            answer = Answer(key=key, **json.loads(text))
        except (ValueError, TypeError, ValidationError):
            self.faults.append(f"it said {text[:80]!r}, not a reason and a verdict")
            return
        self.known[key] = answer
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(answer.model_dump_json() + "\n")


async def _ask_all(missing: Mapping[str, Request], critic: Policy, config: CriticConfig, notes: _Notes) -> None:
    pile = iter(missing.items())

    async def ask_on(pile: Iterator[tuple[str, Request]]) -> None:
        for key, request in pile:
            try:
                reply = await critic.generate(request, Sampling(max_tokens=config.max_tokens))
                notes.take(key, reply.text)
            except ModelError as error:
                notes.faults.append(error.problem)
            notes.bar.advance(1, failed=f"{len(notes.faults):,}")

    try:
        # gathered, not grouped: an error that ends the run shall be raised as it is
        await asyncio.gather(*(ask_on(pile) for _ in range(config.concurrency or critic.slots)))
    finally:
        await critic.close()


def _heard(pairs: Sequence[tuple[Answer | None, Answer | None]], name: str, faults: Sequence[str]) -> Hearing:
    judged: list[Judged] = []
    outcomes: Counter[str] = Counter()
    for one, other in pairs:
        outcome, winner = _outcome(one, other)
        outcomes[outcome] += 1
        judged.append(Judged(winner, one.reason if one is not None and winner is not None else outcome))
    if pairs and outcomes[FAILED] == len(pairs):
        raise DataError(f"critic {name} answered nothing: {len(faults):,} calls failed, the first: {faults[0]}")
    contradicted = outcomes[FIRST] + outcomes[SECOND]
    if contradicted and not outcomes[AGREED]:
        places = f"{outcomes[FIRST]:,} the first, {outcomes[SECOND]:,} the second"
        raise DataError(
            f"critic {name} contradicts itself: asked again with the replies swapped, it took the same place in "
            f"{contradicted:,} of {len(pairs):,} pairs ({places}) and the same reply in none",
            "take a larger model as pairs.critic.model, or say in pairs.critic.rubric what makes a reply better",
        )
    return Hearing(judged, dict(outcomes), position_bias(outcomes[AGREED], outcomes[FIRST], outcomes[SECOND]))


def _outcome(one: Answer | None, other: Answer | None) -> tuple[str, int | None]:
    """What two answers come to; the second was given with the replies swapped."""
    if one is None or other is None:
        return FAILED, None
    if "equal" in (one.verdict, other.verdict):
        return EQUAL, None
    if one.verdict == other.verdict:
        return (FIRST if one.verdict == "first" else SECOND), None
    return AGREED, 0 if one.verdict == "first" else 1


def position_bias(agreed: int, first: int, second: int) -> Interval:
    """Share of answers that took the reply shown first, with its 95 % interval.

    A pair on which both answers agree adds one answer for each place, so the share is 1/2 + (first - second) / 2n: half
    of a difference of two paired shares, whose interval that of `paired_difference` is.

    Args:
        agreed, first, second: pairs whose two answers agree, took the first place both times, or the second.
    """
    took = [True] * first + [False] * (second + agreed)
    left = [False] * first + [True] * second + [False] * agreed
    found = paired_difference(took, left)
    return Interval(value=0.5 + found.value / 2, low=0.5 + found.low / 2, high=0.5 + found.high / 2)


def _chat(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"[{message.role}]\n{_reply(message)}" for message in messages)


def _reply(message: Message) -> str:
    calls = "".join(f"\n[calls {call.name}({call.arguments})]" for call in message.tool_calls)
    return f"{message.content}{calls}"
