"""What recorded calls cost, at the list prices of their provider."""

from __future__ import annotations

from prentice.errors import MissingExtraError
from prentice.models.prices import Price, cost, find_price
from prentice.records import Call


class Prices:
    """The prices of the models that are called; a call's policy begins with the provider's name."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Price | None] = {}

    def add_to(self, call: Call) -> Call:
        """The call with its dollars, where the price and the number of tokens are known."""
        provider, named, _ = call.policy.partition(":")
        if call.turn is None or not named:
            return call
        reply = call.turn.reply
        dollars = cost(reply.usage, self._price(provider, reply.model))
        if dollars is None:
            return call
        turn = call.turn.model_copy(update={"reply": reply.model_copy(update={"cost_usd": dollars})})
        return call.model_copy(update={"turn": turn})

    def _price(self, provider: str, model: str) -> Price | None:
        key = (provider, model)
        if key not in self._known:
            try:
                self._known[key] = find_price(provider, model)
            except MissingExtraError:
                self._known[key] = None
        return self._known[key]
