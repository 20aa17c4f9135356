"""What recorded calls cost, at the list prices of their provider."""

from __future__ import annotations

from prentice.errors import MissingExtraError
from prentice.models.prices import Price, cost, find_price
from prentice.records import Call


class Prices:
    """The prices of one provider's models.

    Args:
        provider: as any-llm calls it; empty: nothing has a price.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._known: dict[str, Price | None] = {}

    def add_to(self, call: Call) -> Call:
        """The call with its dollars, where the price and the number of tokens are known."""
        if call.turn is None or not self._provider:
            return call
        reply = call.turn.reply
        dollars = cost(reply.usage, self._price(reply.model))
        if dollars is None:
            return call
        turn = call.turn.model_copy(update={"reply": reply.model_copy(update={"cost_usd": dollars})})
        return call.model_copy(update={"turn": turn})

    def _price(self, model: str) -> Price | None:
        if model not in self._known:
            try:
                self._known[model] = find_price(self._provider, model)
            except MissingExtraError:
                self._known[model] = None
        return self._known[model]
