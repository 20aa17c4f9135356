"""Prices: by hand, and equal to what the price list's own calculation says."""

from __future__ import annotations

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.models.prices import Price, cost, find_price, price_list
from prentice.records import Usage

PRICE = Price(input_usd=2, output_usd=8, cached_input_usd=0.5)


def test_a_call_costs_fresh_cached_and_written_tokens() -> None:
    # 600k fresh × $2 + 400k cached × $0.5 + 100k out × $8, per million = 1.2 + 0.2 + 0.8
    usage = Usage(input_tokens=1_000_000, cached_tokens=400_000, output_tokens=100_000)
    assert cost(usage, PRICE) == pytest.approx(2.2)


def test_without_a_cached_price_all_input_costs_the_same() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=400_000, output_tokens=0)
    assert cost(usage, Price(input_usd=2, output_usd=8)) == pytest.approx(2.0)


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=5), Usage(output_tokens=5)])
def test_unknown_tokens_have_no_cost(usage: Usage) -> None:
    assert cost(usage, PRICE) is None


def test_an_unknown_price_is_none_and_not_zero() -> None:
    assert find_price("openai", "no-such-model") is None
    assert find_price("llamacpp", "anything") is None
    assert cost(Usage(input_tokens=1, output_tokens=1), None) is None


def test_a_prompt_beyond_the_priced_length_has_no_cost() -> None:
    price = Price(input_usd=1, output_usd=1, up_to_input_tokens=200)
    assert cost(Usage(input_tokens=200, output_tokens=1), price) == pytest.approx(201e-6)
    assert cost(Usage(input_tokens=201, output_tokens=1), price) is None


def test_a_listed_price_names_its_list_and_day() -> None:
    price = find_price("gemini", "gemini-2.5-flash")
    assert price is not None
    assert price.source == price_list()
    assert price.source.startswith("genai-prices 0.")
    assert price.as_of is not None


@pytest.mark.parametrize(
    ("provider", "model", "listed"),
    [
        ("openai", "gpt-5-mini", "openai"),
        ("anthropic", "claude-sonnet-4-5", "anthropic"),
        ("gemini", "gemini-2.5-pro", "google"),
    ],
)
@settings(deadline=None, max_examples=30)
@given(fresh=st.integers(0, 100_000), cached=st.integers(0, 100_000), written=st.integers(0, 100_000))
def test_the_cost_is_that_of_the_lists_own_calculation(
    provider: str, model: str, listed: str, fresh: int, cached: int, written: int
) -> None:
    usage = Usage(input_tokens=fresh + cached, cached_tokens=cached, output_tokens=written)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=fresh + cached, cache_read_tokens=cached, output_tokens=written),
        model,
        provider_id=listed,
    )
    assert cost(usage, find_price(provider, model)) == pytest.approx(float(theirs.total_price))
