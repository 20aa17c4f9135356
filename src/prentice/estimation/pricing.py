"""Prices for the models of a log, which names them in many ways: `gpt-4o`, `openai:gpt-4o`, `anthropic/claude-…`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from prentice.errors import ConfigError
from prentice.models.prices import LIST_NAMES, Price, find_price, price_list
from prentice.records import Record

HINT = "write MODEL=IN,OUT or MODEL=IN,OUT,CACHED in dollars per million tokens, such as openai:gpt-4o=2.5,10,1.25"


class Priced(Record):
    """A model of the logs and what its tokens cost."""

    model: str
    calls: int
    price: Price | None
    """None: neither the list nor the user has one."""
    nearest: tuple[str, ...] = ()
    """Names of the list that look like an unknown one."""


class PriceBook:
    """The user's prices, then the list's.

    Args:
        own: by the model's name as the log has it, or as provider:model.

    Raises: MissingExtraError if the price list is not installed.
    """

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self.source = price_list()
        self._own = {name.lower(): price for name, price in (own or {}).items()}
        self._found: dict[str, Price | None] = {}
        self.used: set[str] = set()
        """Names of the user's prices that some call was reckoned with."""

    def of(self, model: str) -> Price | None:
        """The price of a model as a log names it; None if nobody knows it."""
        if model not in self._found:
            self._found[model] = self._look_up(model)
        return self._found[model]

    def unused(self) -> tuple[str, ...]:
        """The user's prices that no call was reckoned with: most likely misspelt."""
        return tuple(sorted(self._own.keys() - self.used))

    def _look_up(self, model: str) -> Price | None:
        provider, name = split_model(model)
        for known in (model.lower(), name.lower(), f"{provider}:{name}".lower()):
            if known in self._own:
                self.used.add(known)
                return self._own[known]
        return find_price(provider, name) if provider else None


def split_model(model: str) -> tuple[str, str]:
    """Provider and name of a model as a log names it; the provider is empty where nothing tells it."""
    providers = _providers()
    for sign in (":", "/"):
        before, found, after = model.partition(sign)
        before = LIST_NAMES.get(before.lower(), before.lower())
        if found and any(provider.id == before for provider in providers):
            return before, after
    for provider in providers:
        if provider.model_match is not None and provider.model_match.is_match(model.lower()):
            return str(provider.id), model
    return "", model


def nearest(model: str) -> tuple[str, ...]:
    """Up to three models of the list with a name like this one."""
    names = sorted({known.id for provider in _providers() for known in provider.models})
    bare = model.rpartition("/")[2].rpartition(":")[2]
    return tuple(difflib.get_close_matches(bare.lower(), names, n=3, cutoff=0.6))


def parse_prices(texts: Sequence[str]) -> dict[str, Price]:
    """Prices as people write them: `openai:gpt-4o=2.5,10`, and a third number for input read from the cache.

    Raises: ConfigError naming the text.
    """
    return dict(_parse(text) for text in texts)


def _parse(text: str) -> tuple[str, Price]:
    model, _, numbers = text.rpartition("=")
    try:
        values = [float(number) for number in numbers.split(",")]
        if not model.strip() or len(values) not in (2, 3):
            raise ValueError
        cached = values[2] if len(values) == 3 else None
        return model.strip(), Price(input_usd=values[0], output_usd=values[1], cached_input_usd=cached)
    except ValueError as error:
        raise ConfigError(f"--price {text!r} is not a price", HINT) from error


def _providers() -> list[Any]:
    from genai_prices.data_snapshot import get_snapshot

    return list(get_snapshot().providers)
