"""Counting in bounded memory, and what that must not depend on."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from estimate_logs import counted, episode, reckon, single, turn
from prentice.estimation.calls import Reader
from prentice.estimation.estimate import MOST_FUNCTIONS
from prentice.estimation.prompts import KEPT_REQUESTS, PromptTally
from prentice.estimation.sketches import Histogram, Sample, key_of
from prentice.records import Episode, Turn

keys = st.integers(0, 2**64 - 1)


def counts(sample: Sample[Counter[str]]) -> list[int]:
    return sorted(each["calls"] for each in sample)


def filled(seen: list[int], most: int) -> Sample[Counter[str]]:
    sample = Sample[Counter[str]](most, Counter)
    for key in seen:
        if (kept := sample.of(key)) is not None:
            kept["calls"] += 1
    return sample


@given(st.lists(keys, max_size=60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_sample_keeps_the_same_whatever_the_order(seen: list[int], most: int, rng: random.Random) -> None:
    other = rng.sample(seen, len(seen))
    one, two = filled(seen, most), filled(other, most)
    assert (counts(one), one.share, one.distinct) == (counts(two), two.share, two.distinct)


@given(st.lists(keys, max_size=60), st.integers(1, 20))
def test_what_a_sample_keeps_is_counted_in_full(seen: list[int], most: int) -> None:
    sample = filled(seen, most)
    below = [key for key in seen if key < sample.share * 2**64]
    assert counts(sample) == sorted(Counter(below).values())
    assert len(sample) <= most


def test_a_sample_tells_the_number_of_keys_that_it_could_not_keep() -> None:
    sample = filled([key_of(str(number).encode()) for number in range(20_000)], 1_000)
    assert 500 <= len(sample) <= 1_000
    assert abs(sample.distinct - 20_000) < 2_000


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_the_nearest_rank_to_within_one_percent_and_a_rounding(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    exact = next(value for rank, value in enumerate(ordered, 1) if rank >= share * len(values))
    assert abs(histogram.quantile(share) - exact) <= 0.5 + 0.0101 * exact
    assert exact >= 100 or histogram.quantile(share) == exact


words = st.text("ab c", max_size=6)
usages = st.just(counted(3, 2)) | st.builds(counted, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
made = st.builds(
    lambda asked, reply, system, model, usage: turn(asked, reply, system=system, model=model, usage=usage),
    words,
    words,
    words,
    st.sampled_from(["m", "gpt-4o", "unheard-of"]),
    usages,
)
logs = st.lists(st.lists(made, max_size=3).map(lambda turns: episode(*turns)), max_size=8).filter(
    lambda episodes: any(each.turns for each in episodes)
)


@settings(max_examples=40)
@given(logs, st.randoms(use_true_random=False))
def test_the_order_of_the_episodes_changes_nothing(episodes: list[Episode], rng: random.Random) -> None:
    assert reckon(*episodes) == reckon(*rng.sample(episodes, len(episodes)))


@settings(max_examples=40)
@given(logs, made)
def test_another_call_never_lowers_a_total(episodes: list[Episode], more: Turn) -> None:
    before, after = reckon(*episodes), reckon(*episodes, episode(more))
    assert after.calls == before.calls + 1
    for field in ("calls", "input_tokens", "output_tokens", "cached_tokens", "usd", "unpriced", "estimated"):
        one, two = (sum(getattr(each.spent, field) for each in found.functions) for found in (before, after))
        assert two >= one
    kept = {each.name: each.spent for each in after.functions}
    assert all(kept[each.name].calls >= each.spent.calls for each in before.functions)


def test_more_functions_than_are_kept_are_counted_as_one() -> None:
    names = [f"f{number}" for number in range(MOST_FUNCTIONS + 7)]
    found = reckon(*(single("a", function=name) for name in names))
    calls = {function.name: function.spent.calls for function in found.functions}
    assert len(calls) == MOST_FUNCTIONS + 1
    assert calls["all other functions"] == 7
    assert "the later ones are counted as one" in found.notes[0]


def test_more_requests_than_are_kept_are_told_apart_by_a_sample() -> None:
    (call,) = Reader().calls(single("a"))
    tally = PromptTally()
    for number in [*range(KEPT_REQUESTS), *range(KEPT_REQUESTS), -1]:
        tally.add(call._replace(request=key_of(str(number).encode())))
    prompts = tally.result()
    assert prompts.repeats_from == 0.5
    assert abs(prompts.distinct - KEPT_REQUESTS) < 500
    assert abs(prompts.repeats - 0.5) < 0.01
