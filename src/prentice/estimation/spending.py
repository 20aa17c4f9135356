"""What the calls of a function cost: what the log says, else its tokens at a price."""

from __future__ import annotations

from collections import Counter

from prentice.estimation.calls import Call
from prentice.estimation.pricing import PriceBook
from prentice.models.prices import Price, cost
from prentice.records import Record, Usage

MOST_MODELS = 1_000
OTHER_MODELS = "other models"


class Spent(Record):
    """What the calls of one function took."""

    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    """Of the input, those that the log says came from the provider's cache."""
    estimated: int
    """Calls whose tokens are estimated from characters, wholly or in part, since the log does not count them."""
    usd: float
    """Of the calls whose cost is known."""
    logged: int
    """Calls whose dollars the log names; the others are reckoned at a price."""
    unpriced: int
    """Calls whose cost is not known: no price for the model, or none for so long a prompt."""
    cacheable_usd: float
    """Dollars that a provider's prompt cache saves at most, beside what the log says it has saved."""

    @property
    def usd_per_call(self) -> float | None:
        """Mean of the calls whose cost is known; None if there are none."""
        known = self.calls - self.unpriced
        return self.usd / known if known else None


class SpendingTally:
    """Takes in the calls of one function."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._calls = self._input = self._output = self._cached = 0
        self._estimated = self._logged = self._unpriced = 0
        # in whole trillionths of a dollar: sums of floats would depend on the order of the calls
        self._usd = self._cacheable = 0
        self.models: Counter[str] = Counter()
        """Calls by model."""

    def add(self, call: Call, cacheable: int) -> None:
        """Take in one call.

        Args:
            cacheable: tokens at its prompt's beginning that the provider's cache could have held.
        """
        reply = call.turn.reply
        price = self._prices.of(reply.model)
        cached = min(reply.usage.cached_tokens or 0, call.input_tokens)
        self._calls += 1
        self._input += call.input_tokens
        self._output += call.output_tokens
        self._cached += cached
        self._estimated += reply.usage.input_tokens is None or reply.usage.output_tokens is None
        self._logged += reply.cost_usd is not None
        self._name(reply.model)
        usd = reply.cost_usd
        if usd is None:
            usage = Usage(input_tokens=call.input_tokens, cached_tokens=cached, output_tokens=call.output_tokens)
            usd = cost(usage, price)
        self._unpriced += usd is None
        self._usd += _exact(usd or 0.0)
        self._cacheable += _exact(max(0, cacheable - cached) * _saved(price) / 1e6)

    def result(self, repeated: float) -> Spent:
        """What there was.

        Args:
            repeated: of the cacheable tokens, the share that was not the first of its kind.
        """
        return Spent(
            calls=self._calls,
            input_tokens=self._input,
            output_tokens=self._output,
            cached_tokens=self._cached,
            estimated=self._estimated,
            usd=self._usd / 1e12,
            logged=self._logged,
            unpriced=self._unpriced,
            cacheable_usd=self._cacheable / 1e12 * repeated,
        )

    def _name(self, model: str) -> None:
        full = len(self.models) >= MOST_MODELS and model not in self.models
        self.models[OTHER_MODELS if full else model] += 1


def _saved(price: Price | None) -> float:
    """Dollars per million tokens that reading from the cache saves; 0 where that is not known."""
    return 0.0 if price is None or price.cached_input_usd is None else price.input_usd - price.cached_input_usd


def _exact(usd: float) -> int:
    return round(usd * 1e12)
