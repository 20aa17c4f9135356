"""Intervals: values worked out by hand, coverage over every possible outcome, and what must hold for all inputs."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.records import Interval
from prentice.statistics import (
    cases_to_settle,
    crossed_difference,
    crossed_mean,
    paired_difference,
    quantile,
    wilson,
)

unhurried = settings(deadline=None)
"""A busy machine and the first import of scipy are no fault of the interval."""
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


def counts(n: int, wins: int, losses: int) -> Interval:
    """The paired difference of `wins` cases won, `losses` lost and the rest equal."""
    first = [True] * wins + [False] * (n - wins)
    second = [False] * wins + [True] * losses + [False] * (n - wins - losses)
    return paired_difference(first, second)


def test_wilson_gives_the_value_worked_out_by_hand() -> None:
    # p = 0.8, n = 10, z2 = 3.8415: centre (0.8 + z2/20) / (1 + z2/10) = 0.71674,
    # half 1.96 * sqrt(0.016 + z2/400) / (1 + z2/10) = 0.22658
    interval = wilson(8, 10)
    assert interval.value == 0.8
    assert interval.low == pytest.approx(0.49016, abs=1e-5)
    assert interval.high == pytest.approx(0.94332, abs=1e-5)


def test_wilson_at_the_ends_stays_within_zero_and_one() -> None:
    # at 0 successes the upper end is z2 / (n + z2) = 3.8415 / 13.8415
    assert wilson(0, 10).low == 0
    assert wilson(0, 10).high == pytest.approx(0.27753, abs=1e-5)
    assert wilson(10, 10).high == 1


def test_no_cases_tell_nothing() -> None:
    assert wilson(0, 0) == Interval(value=0.5, low=0, high=1)
    assert paired_difference([], []) == Interval(value=0, low=-1, high=1)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3)])
def test_wilson_refuses_more_successes_than_cases(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"not between 0 and n=3"):
        wilson(successes, n)


def test_paired_difference_gives_the_value_worked_out_by_hand() -> None:
    # 10 cases, 3 won, 1 lost; with one pseudo-case each: (4 - 2) / 12 = 0.16667,
    # half 1.95996 * sqrt((6/12 - 0.16667^2) / 12) = 1.95996 * 0.198373 = 0.38880
    interval = counts(10, wins=3, losses=1)
    assert interval.value == pytest.approx(0.2)
    assert interval.low == pytest.approx(-0.22214, abs=1e-5)
    assert interval.high == pytest.approx(0.55547, abs=1e-5)


def test_paired_difference_has_a_width_when_the_two_never_disagree() -> None:
    # half 1.95996 * sqrt(2) / 102
    assert counts(100, 0, 0).high == pytest.approx(0.027175, abs=1e-6)


def test_outcomes_of_different_length_are_not_paired() -> None:
    with pytest.raises(ValueError, match="2 outcomes cannot be paired with 1"):
        paired_difference([True, False], [True])


def exact_coverage(n: int, win: float, lose: float) -> float:
    """Probability, over all outcomes of n cases, that the interval holds the true difference."""
    covered = 0.0
    for wins, losses in product(range(n + 1), repeat=2):
        if wins + losses <= n:
            interval = counts(n, wins, losses)
            if interval.low <= win - lose <= interval.high:
                ways = math.comb(n, wins) * math.comb(n - wins, losses)
                covered += ways * win**wins * lose**losses * (1 - win - lose) ** (n - wins - losses)
    return covered


def test_the_interval_covers_the_truth_in_small_samples_and_near_the_ends() -> None:
    rates = [(0.01, 0.01), (0.05, 0.01), (0.1, 0.1), (0.3, 0.05), (0.3, 0.3), (0.6, 0.1), (0.9, 0.02)]
    found = [exact_coverage(n, win, lose) for n in (10, 20) for win, lose in rates]
    assert min(found) >= 0.93
    assert sum(found) / len(found) >= 0.95


def test_the_interval_covers_the_truth_in_simulated_runs_of_400_cases() -> None:
    rng = random.Random(7)
    kinds = [(True, False), (False, True), (True, True), (False, False)]
    held = 0
    for _ in range(600):
        pairs = rng.choices(kinds, weights=[0.16, 0.11, 0.4, 0.33], k=400)
        interval = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        held += interval.low <= 0.05 <= interval.high
    assert 0.93 <= held / 600 <= 0.97


@unhurried
@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_holds_its_estimate(sample: tuple[int, int]) -> None:
    interval = wilson(*sample)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


@unhurried
@given(PAIRS)
def test_a_paired_interval_holds_its_estimate_and_swapping_mirrors_it(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    interval, mirrored = paired_difference(first, second), paired_difference(second, first)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx(
        (-interval.value, -interval.high, -interval.low), abs=1e-12
    )


@unhurried
@given(PAIRS.filter(lambda pairs: any(not a for a, _ in pairs)), st.data())
def test_one_more_success_never_lowers_an_end(pairs: list[tuple[bool, bool]], data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([i for i, (a, _) in enumerate(pairs) if not a]))
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    before = paired_difference(first, second)
    after = paired_difference([a or i == place for i, a in enumerate(first)], second)
    assert after.low >= before.low - 1e-12
    assert after.high >= before.high - 1e-12


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5.0], 0.95, 5.0), ([3.0, 1.0], 0.5, 2.0), ([0.0, 10.0, 20.0, 30.0, 40.0], 0.95, 38.0), ([1.0, 2.0], 1.0, 2.0)],
)
def test_a_quantile_lies_between_its_neighbours(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == pytest.approx(expected)


def test_there_is_no_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"no quantile 0\.5 of 0 values"):
        quantile([], 0.5)


def test_four_times_the_cases_halve_the_interval() -> None:
    # half width 0.04 at 400 cases, distance to -0.02 is 0.02: (0.04 / 0.02)^2 * 400
    assert cases_to_settle(Interval(value=0.0, low=-0.04, high=0.04), 400, -0.02) == 1600


def test_no_number_of_cases_settles_an_estimate_on_the_threshold() -> None:
    assert cases_to_settle(Interval(value=-0.02, low=-0.05, high=0.01), 400, -0.02) is None


def test_the_crossed_interval_gives_the_value_worked_out_by_hand() -> None:
    # seeds' means 0.55 and 0.65, variance 0.005, over 2 seeds 0.0025; cases' means the same. Total 0.005;
    # degrees of freedom 0.005^2 / (0.0025^2 / 1 + 0.0025^2 / 1) = 2, where t = 4.30265; half 4.30265 sqrt(0.005)
    interval = crossed_mean([[0.5, 0.6], [0.6, 0.7]])
    assert interval.value == pytest.approx(0.6)
    assert interval.low == pytest.approx(0.6 - 0.30424, abs=1e-5)
    assert interval.high == pytest.approx(0.6 + 0.30424, abs=1e-5)


def test_seeds_that_agree_leave_the_variance_of_the_cases() -> None:
    # cases' means 1, 1, 1, 1, 0: variance 0.2, over 5 cases 0.04; 4 degrees of freedom, t = 2.77645, half 0.55529
    interval = crossed_mean([[1, 1, 1, 1, 0]] * 3)
    assert interval.low == pytest.approx(0.8 - 0.55529, abs=1e-5)
    assert interval.high == 1


def test_few_seeds_that_disagree_make_a_wide_interval_however_many_cases_there_are() -> None:
    # each student gets all cases alike, 0.4, 0.5 or 0.6: variance 0.01, over 3 seeds; 2 degrees of freedom
    interval = crossed_mean([[value] * 10_000 for value in (0.4, 0.5, 0.6)])
    assert interval.high - 0.5 == pytest.approx(4.30265 * math.sqrt(0.01 / 3), abs=1e-5)


def test_where_nothing_varies_the_interval_is_wilsons_over_the_cases() -> None:
    assert crossed_mean([[1] * 10] * 3).low == pytest.approx(wilson(10, 10).low)
    assert crossed_mean([[1] * 10] * 3).high == 1
    assert crossed_mean([[0] * 10] * 3).high == pytest.approx(wilson(0, 10).high)
    half = crossed_mean([[0.5] * 10] * 3)
    assert (half.low, half.high) == pytest.approx((wilson(5, 10).low, wilson(5, 10).high))


def test_a_difference_is_taken_in_pairs_of_seed_and_case() -> None:
    # cases differ wildly, pairs by 0.1 and 0.2: the interval is that of the pairs
    a, b = [[0.9, 0.3], [0.9, 0.3]], [[0.8, 0.1], [0.8, 0.1]]
    interval = crossed_difference(a, b)
    # cases' means 0.1 and 0.2: variance 0.005, over 2; 1 degree of freedom, t = 12.7062
    assert interval.value == pytest.approx(0.15)
    assert interval.high == pytest.approx(0.15 + 12.7062 * 0.05, abs=1e-4)


def test_equal_outcomes_differ_by_the_interval_of_as_many_pairs() -> None:
    assert crossed_difference([[1, 0, 1]] * 2, [[1, 0, 1]] * 2) == paired_difference([True] * 3, [True] * 3)
    always = crossed_difference([[1] * 20] * 2, [[0] * 20] * 2)
    assert always == paired_difference([True] * 20, [False] * 20)


def test_tables_that_are_not_full_or_do_not_fit_are_refused() -> None:
    tables: list[list[list[float]]] = [[], [[]], [[1, 0], [1]]]
    for broken in tables:
        with pytest.raises(ValueError, match="full table"):
            crossed_mean(broken)
    with pytest.raises(ValueError, match="outside"):
        crossed_mean([[2.0]])
    with pytest.raises(ValueError, match="cannot be paired"):
        crossed_difference([[1, 0]], [[1]])


@unhurried
@given(st.integers(1, 4), st.integers(1, 8), st.data())
def test_the_crossed_interval_has_width_and_holds_its_mean(seeds: int, cases: int, data: st.DataObject) -> None:
    row = st.lists(st.integers(0, 1), min_size=cases, max_size=cases)
    a, b = (data.draw(st.lists(row, min_size=seeds, max_size=seeds)) for _ in range(2))
    interval, difference = crossed_mean(a), crossed_difference(a, b)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert -1 <= difference.low <= difference.value <= difference.high <= 1
    assert interval.low < interval.high
    assert difference.low < difference.high


@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_case", "least"),
    [(3, 0.0, 0.3, 0.95), (3, 0.04, 0.3, 0.95), (5, 0.04, 0.3, 0.95), (3, 0.2, 0.1, 0.9)],
)
def test_the_crossed_interval_holds_the_truth_as_often_as_it_says(
    seeds: int, of_seed: float, of_case: float, least: float
) -> None:
    draw = random.Random(1)
    hits = 0
    for _ in range(400):
        by_case = [draw.gauss(0, of_case) for _ in range(60)]
        by_seed = [draw.gauss(0, of_seed) for _ in range(seeds)]
        values = [[s + c + draw.gauss(0, 0.3) for c in by_case] for s in by_seed]
        interval = crossed_difference(values, [[0.0] * 60] * seeds)
        hits += interval.low <= 0 <= interval.high
    # two standard deviations of 400 draws are 2.2 points; last, three seeds that differ far more than cases do
    assert hits / 400 >= least - 0.022
