"""Intervals and quantiles that hold for small samples and for rates near 0 and 1. Knows nothing of episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from prentice.records.reports import Interval

CONFIDENCE = 0.95


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
    n = len(a)
    if n == 0:
        return Interval(value=0.0, low=-1.0, high=1.0)
    total = n + 2
    difference = (wins - losses) / total
    spread = (wins + losses + 2) / total - difference**2
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(spread / total)
    return Interval(value=(wins - losses) / n, low=max(-1.0, difference - half), high=min(1.0, difference + half))


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
