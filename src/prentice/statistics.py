"""Intervals and quantiles that hold for small samples and for rates near 0 and 1. Knows nothing of episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance

from prentice.records.reports import Interval

CONFIDENCE = 0.95
DRAWS = 2000
"""Of the bootstrap."""


def wilson(successes: int, n: int) -> Interval:
    """The share of successes with its 95 % Wilson score interval.

    Returns: for n = 0, where nothing is known, 0.5 within [0, 1].
    Raises: ValueError unless 0 <= successes <= n.
    Source: Wilson (1927), JASA 22:209-212, without continuity correction; as scipy computes it.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes={successes} is not between 0 and n={n}")
    if n == 0:
        return Interval(value=0.5, low=0.0, high=1.0)
    from scipy.stats import binomtest

    value = successes / n
    bounds = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    # rounding may put an end beyond the estimate by 1e-17
    return Interval(value=value, low=min(float(bounds.low), value), high=max(float(bounds.high), value))


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> Interval:
    """Success rate of `a` minus that of `b` on the same cases, in the same order, with its 95 % interval.

    The Wald interval after one pseudo-case was added to each kind of disagreement. Chosen because the plain Wald
    interval has no width when the two never disagree, and because Fagerland, Lydersen and Laake (2014), Stat. Med.
    33:2850-2875, recommend it: closed form, coverage close to nominal from n = 10 on, also near 0 and 1.

    Returns: the plain observed difference as `value`; for n = 0, 0 within [-1, 1].
    Raises: ValueError if the lengths differ.
    Source: Bonett and Price (2012), J. Educ. Behav. Stat. 37:479-488. Ours: ends are cut to [-1, 1].
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} outcomes cannot be paired with {len(b)}")
    wins = sum(x and not y for x, y in zip(a, b, strict=True))
    losses = sum(y and not x for x, y in zip(a, b, strict=True))
    if not a:
        return Interval(value=0.0, low=-1.0, high=1.0)
    return _bonett_price(wins, losses, len(a))


def _bonett_price(wins: float, losses: float, n: int) -> Interval:
    total = n + 2
    difference = (wins - losses) / total
    spread = (wins + losses + 2) / total - difference**2
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(spread / total)
    return Interval(value=(wins - losses) / n, low=max(-1.0, difference - half), high=min(1.0, difference + half))


def crossed_mean(values: Sequence[Sequence[float]]) -> Interval:
    """The mean over seeds and cases with a 95 % interval that speaks for other seeds and for other cases.

    Both are drawn at random: y[s, c] = mean + seed[s] + case[c] + rest[s, c]. The variance of the mean over S seeds
    and C cases is estimated as (variance of the seeds' means) / S + (variance of the cases' means) / C. That counts
    the rest, var(rest) / (S C), twice, so the interval is rather too wide than too narrow. Student's t with the degrees
    of freedom of Satterthwaite (1946), Biometrics Bulletin 2:110-114. With one seed it speaks for that student alone.

    Args:
        values: (seeds, cases), each 0 or 1, or a share between them.
    Returns: where all values are equal, which leaves no width, Wilson's interval of that share over the cases; no end
        lies outside [0, 1].
    Raises: ValueError if there are no values, rows differ in length, or a value is outside [0, 1].
    """
    if any(not 0 <= value <= 1 for row in values for value in row):
        raise ValueError("a value is outside [0, 1]")
    mean, half = _crossed(values)
    if half is None:
        return _wilson_of(mean, len(values[0]))
    return Interval(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half))


def crossed_difference(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> Interval:
    """Mean of `a` minus that of `b`, taken in pairs of the same seed and case, with the interval of `crossed_mean`.

    Returns: where all pairs differ alike, the interval of `paired_difference` over the cases; no end lies outside
        [-1, 1].
    Raises: ValueError if there are no values, or the two differ in shape.
    """
    if [len(row) for row in a] != [len(row) for row in b]:
        raise ValueError(f"{len(a)} rows of values cannot be paired with {len(b)}, or their lengths differ")
    mean, half = _crossed([[x - y for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)])
    if half is None:
        return _bonett_price(max(mean, 0.0) * len(a[0]), max(-mean, 0.0) * len(a[0]), len(a[0]))
    return Interval(value=mean, low=max(-1.0, mean - half), high=min(1.0, mean + half))


def _crossed(values: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """The mean, and half the width of its interval; None where there is no variance."""
    if not values or not values[0] or len({len(row) for row in values}) > 1:
        raise ValueError("values must be a full table of seeds and cases")
    seeds = [fmean(row) for row in values]
    cases = [fmean(column) for column in zip(*values, strict=True)]
    # (its part of the variance of the mean, degrees of freedom); one value alone shows no variance
    parts = [(variance(means) / len(means), len(means) - 1) for means in (seeds, cases) if len(means) > 1]
    total = sum(part for part, _ in parts)
    if total < 1e-18:
        return fmean(seeds), None
    from scipy.stats import t

    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts)
    return fmean(seeds), float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)


def _wilson_of(share: float, n: int) -> Interval:
    """Wilson's interval where the number of successes need not be whole."""
    z2 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(value=share, low=min(share, max(0.0, centre - half)), high=max(share, min(1.0, centre + half)))


def ratio(top: Sequence[float], bottom: Sequence[float]) -> Interval | None:
    """Sum of `top` over sum of `bottom`, one of each a case, with its 95 % interval over other cases.

    Returns: None where the sum of `bottom` is 0: nothing is known. Where all draws agree, without width, a share
        has Wilson's interval over the cases that say something of it.
    Raises: ValueError if the lengths differ.
    Source: percentile bootstrap over cases (Efron 1979), `DRAWS` draws, always the same ones.
    """
    drawn = _drawn_ratios(top, bottom)
    if drawn is None:
        return None
    found = _percentiles(sum(top) / sum(bottom), drawn)
    if found.low == found.high and 0 <= found.value <= 1:
        return _wilson_of(found.value, sum(map(bool, bottom)))
    return found


def ratio_difference(
    a: tuple[Sequence[float], Sequence[float]], b: tuple[Sequence[float], Sequence[float]]
) -> Interval | None:
    """`ratio` of `a` minus that of `b` on the same cases, in the same order: both are drawn together.

    Returns: None where one of the two is not known.
    Raises: ValueError if the lengths differ.
    """
    if len(a[0]) != len(b[0]):
        raise ValueError(f"{len(a[0])} cases cannot be paired with {len(b[0])}")
    ours, theirs = _drawn_ratios(*a), _drawn_ratios(*b)
    if ours is None or theirs is None:
        return None
    return _percentiles(
        sum(a[0]) / sum(a[1]) - sum(b[0]) / sum(b[1]), [x - y for x, y in zip(ours, theirs, strict=True)]
    )


def _drawn_ratios(top: Sequence[float], bottom: Sequence[float]) -> list[float] | None:
    """The ratio for each draw of cases; not a number where a draw has nothing to divide by. None: as the whole has."""
    if len(top) != len(bottom):
        raise ValueError(f"{len(top)} values cannot be divided by {len(bottom)}")
    if not sum(bottom):
        return None
    import numpy as np

    values = np.array([top, bottom], dtype=float)
    chance = np.random.default_rng(0)
    sums = [values[:, chance.integers(len(top), size=len(top))].sum(axis=1) for _ in range(DRAWS)]
    return [float(over / under) if under else math.nan for over, under in sums]


def _percentiles(value: float, drawn: Sequence[float]) -> Interval:
    known = [each for each in drawn if not math.isnan(each)]
    tail = (1 - CONFIDENCE) / 2
    # of a skewed ratio the percentiles can leave the estimate outside
    return Interval(value=value, low=min(value, quantile(known, tail)), high=max(value, quantile(known, 1 - tail)))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, by linear interpolation (type 7 of Hyndman and Fan, 1996).

    Raises: ValueError if there are no values, or share is not in [0, 1].
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no quantile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def cases_to_settle(interval: Interval, n: int, threshold: float) -> int | None:
    """About how many cases would leave `threshold` outside the interval, if the estimate stays as it is.

    The width of an interval shrinks with the square root of n.

    Returns: None when the estimate lies on the threshold, where no number of cases is enough.
    """
    distance = abs(interval.value - threshold)
    if distance < 1e-9:
        return None
    half = (interval.high - interval.low) / 2
    return max(n + 1, math.ceil(n * (half / distance) ** 2))
