"""What a task measures beside success: a ratio of sums over all episodes, such as F1, with its interval over cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prentice.records import Episode, Interval, PolicyResult
from prentice.statistics import ratio, ratio_difference
from prentice.tasks.contract import Measure

Sums = tuple[list[float], list[float]]


def with_measures(
    results: Sequence[PolicyResult],
    played: Mapping[str, Sequence[Episode]],
    measures: Mapping[str, Measure],
    teacher: str,
) -> list[PolicyResult]:
    """The results with these figures; a figure that nothing is known of is left out.

    Args:
        played: role → episodes, in the same order of cases.
    """
    found = []
    for result in results:
        ours, theirs = played[result.name], played.get(teacher)
        values = {name: ratio(*_sums(_ended(ours), measure)) for name, measure in measures.items()}
        update: dict[str, dict[str, Interval]] = {"measures": _known(values)}
        if theirs is not None and result.name != teacher:
            both = [pair for pair in zip(ours, theirs, strict=True) if all(e.failure is None for e in pair)]
            ours, theirs = [pair[0] for pair in both], [pair[1] for pair in both]
            pairs = {n: ratio_difference(_sums(ours, m), _sums(theirs, m)) for n, m in measures.items()}
            update["measures_to_teacher"] = _known(pairs)
        found.append(result.model_copy(update=update))
    return found


def pass_hat(outcomes: Sequence[Sequence[bool]]) -> dict[str, Interval]:
    """`pass^k` for each k up to the number of tries: how likely k tries of one case all succeed, a mean over cases.

    Args:
        outcomes: one row a case, of as many tries as every other.
    Source: τ-bench, Yao et al. 2024 (arXiv:2406.12045), section 3: C(successes, k) / C(tries, k) of each case.
    """
    tries = min(map(len, outcomes))
    ones = [1.0] * len(outcomes)
    found = {}
    for k in range(1, tries + 1):
        shares = [math.comb(sum(row), k) / math.comb(len(row), k) for row in outcomes]
        found[f"pass^{k}"] = ratio(shares, ones)
    return _known(found)


def _ended(episodes: Sequence[Episode]) -> list[Episode]:
    return [episode for episode in episodes if episode.failure is None]


def _known(values: Mapping[str, Interval | None]) -> dict[str, Interval]:
    return {name: value for name, value in values.items() if value is not None}


def _sums(episodes: Sequence[Episode], measure: Measure) -> Sums:
    """What is added up above and below the line, one of each an episode."""
    top = [measure.factor * _value(episode, measure.top) for episode in episodes]
    below = [sum(_value(e, name) for name in measure.bottom) if measure.bottom else 1.0 for e in episodes]
    return top, below


def _value(episode: Episode, name: str) -> float:
    return float(episode.metric(name) or 0)
