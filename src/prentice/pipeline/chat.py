"""A person talks to one policy, or to two without knowing which is which; what they say of it is feedback.

Each exchange is one episode a policy, of one turn, stored before it is shown. The two of an exchange have the same
case, the same prompt and the same tag `exchange`; `preferred` says which one the person liked better. This module does
not know how a chat looks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prentice.errors import ModelError
from prentice.models.policy import Policy
from prentice.records import (
    Episode,
    Failure,
    Interval,
    Message,
    Request,
    Sampling,
    Turn,
    digest,
    episode_id,
    utc_now,
)
from prentice.records.labelling.answers import check_text
from prentice.records.labelling.words import Draft, Words, written
from prentice.records.store import Store
from prentice.statistics import wilson

RUN = "chat"
"""The run of all chats."""
EXCHANGE, CONVERSATION = "exchange", "conversation"
"""Tags: what links the episodes of one exchange, and those of one conversation."""
PREFERRED = "preferred"
"""Metric: whether the person liked this answer better; both of an exchange may be, or neither."""
Preference = Literal["left", "right", "both", "neither"]
Ask = Callable[[Sequence[Message], str], Awaitable[Request]]
"""The request for what was said so far and what is said now."""


@dataclass(frozen=True)
class Speaker:
    """One policy that takes part."""

    spec: str
    policy: Policy
    ask: Ask
    task: str = RUN


async def plainly(history: Sequence[Message], text: str) -> Request:
    """The chat as it is, with no prompt around it."""
    return Request(function="chat", messages=(*history, Message(role="user", content=text)))


@dataclass
class Answer:
    """What one policy said, and what the person said of it."""

    speaker: Speaker
    words: Words

    @property
    def message(self) -> Message | None:
        """The policy's own reply; None if it gave none."""
        turns = self.words.episode.turns
        return turns[0].reply.message if turns else None

    @property
    def best(self) -> Message | None:
        """What the person said it should have been, else the policy's own reply."""
        return self.words.shown(0) or self.message


@dataclass
class Exchange:
    """One message of the person and the answers to it, in the order in which they are shown."""

    text: str
    answers: tuple[Answer, ...]
    preference: Preference | None = None

    @property
    def chosen(self) -> int:
        """Position of the answer that the conversation goes on with: the preferred one, else the first there is."""
        if self.preference == "right":
            return 1
        there = [n for n, answer in enumerate(self.answers) if answer.message is not None]
        return there[0] if there and self.preference != "left" else 0


@dataclass(frozen=True)
class Standing:
    """How one policy did."""

    spec: str
    good: int
    judged: int

    @property
    def share(self) -> Interval:
        """Of what was judged, the share that was liked, with its 95 % interval."""
        return wilson(self.good, self.judged)


@dataclass
class Chat:
    """A conversation, and those after it once it begins anew.

    Args:
        speakers: one, or two that stand left and right by chance.
        store: where all of it is kept.
        author: the person.
        seed: decides who stands where.
    """

    speakers: Sequence[Speaker]
    store: Store
    author: str
    seed: int = 0
    sampling: Sampling = Sampling()  # noqa: RUF009 - frozen
    exchanges: list[Exchange] = field(default_factory=list)
    """Of all conversations of this chat."""
    _conversation: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _begun: int = 0

    async def say(self, text: str) -> Exchange:
        """Have an answer of everybody, stored.

        Raises: DataError if the text cannot be kept; PrenticeError other than ModelError, which is the user's to fix.
        """
        check_text(text)
        case = f"{self._conversation}-{len(self.exchanges) - self._begun}"
        history = self.history
        episodes = await asyncio.gather(
            *(self._episode(speaker, n, case, history, text) for n, speaker in enumerate(self.speakers))
        )
        self.store.add(episodes)
        answers = [Answer(s, Words(episode)) for s, episode in zip(self.speakers, episodes, strict=True)]
        if int(digest([self.seed, len(self.exchanges)]), 16) % 2:
            answers.reverse()
        self.exchanges.append(Exchange(text, tuple(answers)))
        return self.exchanges[-1]

    @property
    def history(self) -> list[Message]:
        """What was said in this conversation, each time with the answer it goes on with."""
        said: list[Message] = []
        for exchange in self.exchanges[self._begun :]:
            best = exchange.answers[exchange.chosen].best
            if best is not None:
                said += [Message(role="user", content=exchange.text), best]
        return said

    def thumb(self, answer: Answer, *, up: bool) -> None:
        """Say that an answer is good, or that it is not."""
        self._say(answer, answer.words.judge(None, accept=up))

    def prefer(self, preference: Preference) -> None:
        """Say which answer of the last exchange is better; a later word counts."""
        exchange = self.exchanges[-1]
        exchange.preference = preference
        for side, answer in zip(("left", "right"), exchange.answers, strict=True):
            if answer.message is not None:
                self._say(answer, [(None, PREFERRED, preference in (side, "both"))])

    def correct(self, answer: Answer, text: str) -> bool:
        """Say what an answer should have been; return whether that was new.

        Raises: DataError if the text cannot be an answer.
        """
        drafts = answer.words.correct(0, text)
        self._say(answer, drafts)
        return bool(drafts)

    def comment(self, answer: Answer, text: str) -> bool:
        """Remark on an answer; return whether that was new.

        Raises: DataError if the text cannot be kept.
        """
        drafts = answer.words.comment(None, text)
        self._say(answer, drafts)
        return bool(drafts)

    def reset(self) -> None:
        """Begin a new conversation."""
        self._conversation, self._begun = uuid.uuid4().hex[:12], len(self.exchanges)

    def standings(self) -> list[Standing]:
        """How everybody did: of two, how often each was preferred to the other; of one, how often it was good."""
        if len(self.speakers) == 1:
            verdicts = [exchange.answers[0].words.verdict(None) for exchange in self.exchanges]
            return [Standing(self.speakers[0].spec, verdicts.count(True), len(verdicts) - verdicts.count(None))]
        won = [
            exchange.answers[exchange.preference == "right"].speaker
            for exchange in self.exchanges
            if exchange.preference in ("left", "right")
        ]
        return [Standing(each.spec, sum(winner is each for winner in won), len(won)) for each in self.speakers]

    def _say(self, answer: Answer, drafts: Sequence[Draft]) -> None:
        said = written(answer.words.episode.id, self.author, drafts)
        self.store.add_feedback(said)
        answer.words.said += said

    async def _episode(self, speaker: Speaker, place: int, case: str, history: Sequence[Message], text: str) -> Episode:
        """One answer as an episode; where there is none, the failure is what is kept."""
        begun, turns, failure = utc_now(), list[Turn](), None
        request = await speaker.ask(history, text)
        try:
            turns.append(Turn(request=request, reply=await speaker.policy.generate(request, self.sampling)))
        except ModelError as error:
            failure = Failure(where="model", message=error.problem)
        return Episode(
            id=episode_id(RUN, case, place),
            run=RUN,
            task=speaker.task,
            case=case,
            split="train",
            attempt=place,
            policy=speaker.policy.name,
            turns=tuple(turns),
            failure=failure,
            started_at=begun,
            tags={EXCHANGE: case, CONVERSATION: self._conversation},
        )
