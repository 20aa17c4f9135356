"""Logs → an estimate: what each function costs, whether a small model could learn it, and what is missing for that.

Plays nothing, stores nothing, sends nothing; reads each episode once and keeps a bounded amount of each function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, Field, model_validator

from prentice.config import StageConfig
from prentice.errors import DataError
from prentice.estimation.breakeven import DAYS_PER_MONTH, Assumptions, BreakEven, break_even
from prentice.estimation.calls import Call, Reader
from prentice.estimation.functions import Function
from prentice.estimation.gaps import Facts, Gap, gaps_of
from prentice.estimation.learnable import Answer, judge
from prentice.estimation.outputs import Outputs, OutputTally
from prentice.estimation.pricing import PriceBook, Priced, nearest
from prentice.estimation.prompts import Prompts, PromptTally
from prentice.estimation.sketches import Sample
from prentice.estimation.spending import OTHER_MODELS, SpendingTally, Spent
from prentice.models.prices import Price
from prentice.records import Episode, Record

MOST_FUNCTIONS = 50
OTHER_FUNCTIONS = Function("", "all other functions")
"""Where the calls of more than `MOST_FUNCTIONS` go."""

TEXTS_LOOKED_AT = 200
"""Messages of a function in which personal data is looked for."""
_TEXT_CHARACTERS = 2_000

UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""When an episode began whose source did not say, as the importers write it."""

NOT_OUTCOMES = {"weight"}
"""Metrics that say nothing of how it went."""

Finder = Callable[[str], Iterable[str]]
"""The kinds of personal data in a text."""


class EstimateConfig(StageConfig):
    """How a log is reckoned."""

    days: float | None = Field(None, gt=0)
    """Days that the log covers, where it has no times."""
    calls_per_month: float | None = Field(None, gt=0)
    """Calls of all functions in a month, where the log is a part of them."""
    assumptions: Assumptions = Assumptions()
    """What the break-even range rests on."""

    @model_validator(mode="after")
    def _one_of_them(self) -> EstimateConfig:
        if self.days is not None and self.calls_per_month is not None:
            raise ValueError("days and calls_per_month say the same twice: give one of them")
        return self


class FunctionEstimate(Record):
    """One function of somebody's program."""

    name: str
    answer: Answer
    """Whether a small model could take it over, ..."""
    reason: str
    """... and why."""
    spent: Spent
    prompts: Prompts
    outputs: Outputs
    graded: int
    """Calls whose outcome the log knows."""
    successes: int
    """Of them, those of an episode, or themselves, with success."""
    personal: dict[str, int]
    """Of the messages looked at, those with personal data, by kind; empty too where nobody looked."""
    calls_per_month: float | None
    usd_per_month: float | None
    """Of the calls whose cost is known; None where no time or no price is known."""
    break_even: BreakEven | None
    """None where no price is known, or a student is not worth a try yet."""
    gaps: tuple[Gap, ...]


class Estimate(Record):
    """What logs say before anything is trained."""

    version: Literal[1] = 1
    episodes: int
    calls: int
    begun: AwareDatetime | None
    ended: AwareDatetime | None
    """The first and the last episode that has a time."""
    timed: int
    """Episodes that have one."""
    month: str
    """How a month was reckoned, in words."""
    functions: tuple[FunctionEstimate, ...]
    """The dearest first."""
    models: tuple[Priced, ...]
    prices: str
    """Name and version of the price list."""
    assumptions: Assumptions
    notes: tuple[str, ...]


def estimate(
    episodes: Iterable[Episode],
    config: EstimateConfig | None = None,
    *,
    prices: Mapping[str, Price] | None = None,
    personal: Finder | None = None,
) -> Estimate:
    """Reckon what is in logs.

    Args:
        episodes: read once, in any order; the order changes nothing.
        prices: of the user, by the model's name in the logs or as provider:model; all others come from the list.
        personal: finds personal data; without it none is looked for.

    Raises: DataError if there is no call; MissingExtraError without the price list.
    """
    book = PriceBook(prices)
    survey = _Survey(book)
    for episode in episodes:
        survey.add(episode)
    if not survey.calls:
        empty = f"{survey.episodes:,} episodes hold no call" if survey.episodes else "no episode in the logs"
        raise DataError(f"{empty}, so there is nothing to estimate", "see what is read: prentice import --dry-run")
    return survey.result(config or EstimateConfig(), personal)


@dataclass(slots=True)
class _Text:
    text: str = ""


class _FunctionTally:
    """All that is kept of one function."""

    def __init__(self, name: str, prices: PriceBook) -> None:
        self.name = name
        self.spending, self.prompts, self.outputs = SpendingTally(prices), PromptTally(), OutputTally()
        self.texts = Sample[_Text](TEXTS_LOOKED_AT, _Text)
        self.graded = self.successes = self.failed = 0

    def add(self, call: Call, outcomes: _Outcomes, position: int) -> None:
        self.spending.add(call, self.prompts.add(call))
        self.outputs.add(call)
        self.graded += outcomes.graded(position)
        self.successes += outcomes.succeeded(position)
        self.failed += outcomes.failed_at == position
        messages = call.turn.request.messages
        if messages and messages[-1].role != "system" and (kept := self.texts.of(call.request)) is not None:
            kept.text = messages[-1].content[:_TEXT_CHARACTERS]


class _Outcomes:
    """How an episode went, and each of its turns."""

    def __init__(self, episode: Episode) -> None:
        told = [m for m in episode.metrics if m.name not in NOT_OUTCOMES and not isinstance(m.value, str)]
        self._graded = {metric.turn for metric in told} | {shown.turn for shown in episode.demonstrations}
        self._good = {m.turn for m in told if m.name == "success" and m.value}
        self.failed_at = len(episode.turns) - 1 if episode.failure else None

    def graded(self, position: int) -> bool:
        return None in self._graded or position in self._graded

    def succeeded(self, position: int) -> bool:
        return None in self._good or position in self._good


@dataclass
class _Survey:
    """All functions of the logs."""

    prices: PriceBook
    episodes: int = 0
    calls: int = 0
    timed: int = 0
    begun: datetime | None = None
    ended: datetime | None = None
    functions: dict[str, _FunctionTally] = field(default_factory=dict)
    reader: Reader = field(default_factory=Reader)

    def add(self, episode: Episode) -> None:
        self.episodes += 1
        if episode.started_at > UNKNOWN_TIME:
            self.timed += 1
            self.begun = min(self.begun or episode.started_at, episode.started_at)
            self.ended = max(self.ended or episode.started_at, episode.started_at)
        outcomes = _Outcomes(episode)
        for position, call in enumerate(self.reader.calls(episode)):
            self.calls += 1
            self._tally(call.function).add(call, outcomes, position)

    def _tally(self, function: Function) -> _FunctionTally:
        if function.key not in self.functions and len(self.functions) >= MOST_FUNCTIONS:
            function = OTHER_FUNCTIONS
        if function.key not in self.functions:
            self.functions[function.key] = _FunctionTally(function.name, self.prices)
        return self.functions[function.key]

    def result(self, config: EstimateConfig, personal: Finder | None) -> Estimate:
        months, words = self._months(config)
        found = [_function(tally, months, config.assumptions, personal) for tally in self.functions.values()]
        models = sum((tally.spending.models for tally in self.functions.values()), Counter[str]())
        return Estimate(
            episodes=self.episodes,
            calls=self.calls,
            begun=self.begun,
            ended=self.ended,
            timed=self.timed,
            month=words,
            functions=tuple(sorted(found, key=lambda each: (-each.spent.usd, -each.spent.calls, each.name))),
            models=tuple(self._priced(name, models[name]) for name in sorted(models)),
            prices=self.prices.source,
            assumptions=config.assumptions,
            notes=tuple(self._notes()),
        )

    def _months(self, config: EstimateConfig) -> tuple[float | None, str]:
        """How many months the logs stand for, and why."""
        if config.calls_per_month is not None:
            return self.calls / config.calls_per_month, f"{config.calls_per_month:,.0f} calls a month, as you said"
        span = (
            timedelta(days=config.days)
            if config.days
            else (self.ended - self.begun if self.begun and self.ended else None)
        )
        if not span:
            return None, "no times in the logs: give --days or --calls-per-month for figures a month"
        days = span / timedelta(days=1)
        said = "as you said" if config.days else "first to last"
        return days / DAYS_PER_MONTH, f"the logs cover {days:,.1f} days, {said}; a month has {DAYS_PER_MONTH:.1f}"

    def _priced(self, model: str, calls: int) -> Priced:
        price = self.prices.of(model)
        return Priced(
            model=model, calls=calls, price=price, nearest=() if price or model == OTHER_MODELS else nearest(model)
        )

    def _notes(self) -> list[str]:
        notes = [f"--price {name}: no call in the logs has this model" for name in self.prices.unused()]
        if self.timed and self.timed < self.episodes:
            notes.append(f"{self.episodes - self.timed:,} of {self.episodes:,} episodes have no time")
        if OTHER_FUNCTIONS.key in self.functions:
            notes.append(f"more than {MOST_FUNCTIONS} functions: the later ones are counted as one")
        return notes


def _function(
    tally: _FunctionTally, months: float | None, assumptions: Assumptions, personal: Finder | None
) -> FunctionEstimate:
    prompts, outputs = tally.prompts.result(), tally.outputs.result()
    spent = tally.spending.result(tally.prompts.repeated)
    answer, reason = judge(spent, prompts, outputs)
    calls_per_month = spent.calls / months if months else None
    found = Counter(kind for each in tally.texts if personal for kind in set(personal(each.text)))
    facts = Facts(spent, prompts, outputs, tally.graded, tally.failed, found, len(tally.texts))
    worth = answer != "not yet"
    return FunctionEstimate(
        name=tally.name,
        answer=answer,
        reason=reason,
        spent=spent,
        prompts=prompts,
        outputs=outputs,
        graded=tally.graded,
        successes=tally.successes,
        personal=dict(found),
        calls_per_month=calls_per_month,
        usd_per_month=spent.usd / months if months and spent.unpriced < spent.calls else None,
        break_even=break_even(spent, prompts, tally.graded, calls_per_month, assumptions) if worth else None,
        gaps=gaps_of(facts),
    )
