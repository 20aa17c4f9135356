"""What the prompts of a function share: whole repeats, and beginnings that a provider's cache would keep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from prentice.estimation.calls import CHARACTERS_PER_TOKEN, Call
from prentice.estimation.sketches import Histogram, Sample
from prentice.records import Record

KEPT_REQUESTS = 10_000
"""Requests of a function that are remembered to tell repeats; of more, a fair sample by hash is."""

KEPT_BEGINNINGS = 1_000

CACHED_FROM = 1_024
"""Tokens from which on providers keep the beginning of a prompt."""


class Prompts(Record):
    """What the prompts of a function have in common."""

    distinct: int
    """Different requests, estimated where `repeats_from` is below 1."""
    repeats: float
    """Share of the calls that ask what an earlier call has asked, word for word."""
    repeats_from: float
    """Share of all requests that were looked at for it, chosen by hash; 1 unless there were too many to remember."""
    asked_again: int
    """Requests seen more than once, ..."""
    answered_alike: int
    """... and those among them that got the same answer every time."""
    shared: float
    """Share of the prompts' characters, at their beginning, that calls before have sent: system, tools, history."""
    versions: int
    """Different system prompts."""
    main_version: float
    """Share of the calls that the most frequent of them has."""
    input_p95: int
    """Tokens of a prompt that 95 % of all do not exceed."""


@dataclass(slots=True)
class _Asked:
    calls: int = 0
    reply: int = 0
    alike: bool = True


@dataclass(slots=True)
class _Beginning:
    characters: int = 0


class PromptTally:
    """Takes in the calls of one function."""

    def __init__(self) -> None:
        self._asked = Sample[_Asked](KEPT_REQUESTS, _Asked)
        self._beginnings = Sample[_Beginning](KEPT_BEGINNINGS, _Beginning)
        self._versions = Sample[Counter[str]](KEPT_BEGINNINGS, Counter)
        self._input = Histogram()
        self._characters = self._shared = 0

    def add(self, call: Call) -> int:
        """Take in one call.

        Returns: the tokens at the prompt's beginning that a provider may have kept, if an earlier call sent them.
        """
        self._input.add(call.input_tokens)
        self._ask(call)
        if (version := self._versions.of(call.system)) is not None:
            version["calls"] += 1
        shared = _cacheable(max(call.repeated_characters, call.beginning_characters))
        if shared and (beginning := self._beginnings.of(call.beginning)) is not None:
            beginning.characters = _cacheable(call.beginning_characters)
        self._characters += call.prompt_characters
        self._shared += shared
        return round(call.input_tokens * shared / call.prompt_characters) if shared else 0

    @property
    def repeated(self) -> float:
        """Of what `add` returned, the share that was not the first of its kind: the first call has to send it."""
        first = sum(each.characters for each in self._beginnings) / self._beginnings.share
        return max(0.0, 1 - first / self._shared) if self._shared else 0.0

    def result(self) -> Prompts:
        """What there was."""
        calls = sum(each.calls for each in self._asked)
        again = [each for each in self._asked if each.calls > 1]
        versions = [each["calls"] for each in self._versions]
        return Prompts(
            distinct=self._asked.distinct,
            repeats=1 - len(self._asked) / calls if calls else 0.0,
            repeats_from=self._asked.share,
            asked_again=len(again),
            answered_alike=sum(each.alike for each in again),
            shared=self._shared * self.repeated / self._characters if self._characters else 0.0,
            versions=self._versions.distinct,
            main_version=max(versions, default=0) / max(1, sum(versions)),
            input_p95=self._input.quantile(0.95),
        )

    def _ask(self, call: Call) -> None:
        asked = self._asked.of(call.request)
        if asked is None:
            return
        # order must not matter: all alike or not is the same whichever came first
        asked.alike = asked.alike and (not asked.calls or asked.reply == call.reply)
        asked.reply = call.reply
        asked.calls += 1


def _cacheable(characters: int) -> int:
    return characters if characters >= CACHED_FROM * CHARACTERS_PER_TOKEN else 0
