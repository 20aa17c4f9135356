"""What a call costs: dollars per million tokens, from an offline price list or from the user.

An unknown price is None all the way into the report, never 0.
"""

from __future__ import annotations

import datetime
from importlib import metadata
from typing import Any

from pydantic import Field

from prentice.errors import MissingExtraError
from prentice.records import Usage
from prentice.records.base import Record

INSTALL = 'pip install "prentice[remote]"'

OWN = "user"
"""Source of a price that the user states."""

LIST_NAMES = {"gemini": "google", "xai": "x-ai"}
"""Providers that the price list calls otherwise than any-llm does."""


class Price(Record):
    """Dollars per million tokens of one model on one day."""

    input_usd: float = Field(ge=0)
    output_usd: float = Field(ge=0)
    cached_input_usd: float | None = Field(None, ge=0)
    """For input tokens read from the provider's cache; None: they cost what all input costs."""
    cache_write_usd: float | None = Field(None, ge=0)
    """For input tokens put into the provider's cache; None: they cost what all input costs."""
    up_to_input_tokens: int | None = None
    """Prompts longer than this have another price, which is not known here."""
    as_of: datetime.date | None = None
    """The day whose price this is."""
    source: str = OWN
    """Where it comes from, for reports."""

    def discounted(self, share: float) -> Price:
        """The price less a share of it, as a batch has it."""
        lower = {
            name: value * (1 - share)
            for name in ("input_usd", "output_usd", "cached_input_usd", "cache_write_usd")
            if (value := getattr(self, name)) is not None
        }
        return self.model_copy(update={**lower, "source": f"{self.source}, {share:.0%} off in batches"})


def price_list() -> str:
    """Name and version of the price list, for reports; raises MissingExtraError if it is not installed."""
    try:
        return f"genai-prices {metadata.version('genai-prices')}"
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError("prices need genai-prices, which is not installed", INSTALL) from error


def find_price(provider: str, model: str) -> Price | None:
    """Today's price of a provider's model in the offline list; None if the list does not know it.

    Raises: MissingExtraError if the list is not installed.
    """
    source = price_list()
    from genai_prices import Usage as ListUsage
    from genai_prices import calc_price

    name = LIST_NAMES.get(provider, provider)
    try:
        found = calc_price(ListUsage(), model, provider_id=name)
    except LookupError:
        return None
    prices: dict[str, Any] = {key: value for key, value in vars(found.model_price).items() if value is not None}
    # the list falls back on providers with a name like the one asked for; a fee per request is not a price of tokens
    if found.provider.id != name or "requests_kcount" in prices or not {"input_mtok", "output_mtok"} <= prices.keys():
        return None
    starts = [tier.start for key in ("input_mtok", "output_mtok") for tier in getattr(prices[key], "tiers", ())]
    return Price(
        input_usd=_base(prices["input_mtok"]),
        output_usd=_base(prices["output_mtok"]),
        cached_input_usd=_base(prices["cache_read_mtok"]) if "cache_read_mtok" in prices else None,
        cache_write_usd=_base(prices["cache_write_mtok"]) if "cache_write_mtok" in prices else None,
        up_to_input_tokens=min(starts, default=None),
        as_of=datetime.datetime.now(datetime.UTC).date(),
        source=source,
    )


def cost(usage: Usage, price: Price | None, cache_written: int = 0) -> float | None:
    """Dollars for the tokens of one call; None where a price or a number of tokens is not known.

    Args:
        cache_written: of the input tokens, those that were put into the provider's cache.
    """
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    if price.up_to_input_tokens is not None and usage.input_tokens > price.up_to_input_tokens:
        return None
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    written = min(cache_written, usage.input_tokens - cached)
    cached_usd = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    written_usd = price.input_usd if price.cache_write_usd is None else price.cache_write_usd
    fresh = usage.input_tokens - cached - written
    input_usd = fresh * price.input_usd + cached * cached_usd + written * written_usd
    return (input_usd + usage.output_tokens * price.output_usd) / 1e6


def most(input_tokens: int, output_tokens: int, price: Price) -> float:
    """The most dollars that a call of this size can cost: nothing comes from the cache, all goes into it."""
    return (input_tokens * max(price.input_usd, price.cache_write_usd or 0.0) + output_tokens * price.output_usd) / 1e6


def in_words(price: Price) -> str:
    """Where a price comes from, and of which day it is, for reports."""
    day = f" prices of {price.as_of:%Y-%m-%d}" if price.as_of else ""
    source = price.source.replace(OWN, "your own price", 1) if price.source.startswith(OWN) else price.source
    return f"{source},{day}" if day else source


def _base(value: Any) -> float:
    return float(getattr(value, "base", value))
