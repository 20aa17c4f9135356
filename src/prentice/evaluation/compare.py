"""Policies compared on the same held-out cases: episodes in, a report out. Plays nothing and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue

from prentice.config import StageConfig
from prentice.errors import DataError
from prentice.evaluation.measured import pass_hat, with_measures
from prentice.evaluation.verdict import judge
from prentice.records import Episode, PolicyResult, Report, Split, utc_now
from prentice.statistics import paired_difference, quantile, wilson
from prentice.tasks.contract import Measure
from prentice.tasks.metered import spent_by_role

TEACHER, BASE, STUDENT = "teacher", "base", "student"
FEWEST_SHARED = 20
"""Fewer cases than this say too little about how fast a machine is."""


class Scale(NamedTuple):
    """How much slower this machine is now than a recording's was then (2.0: twice as slow)."""

    processing: float
    """For CPU-seconds."""
    latency: float
    """For seconds of waiting: less, where several episodes at once had to share the machine then."""


class EvaluateConfig(StageConfig):
    """Policies compared on the same held-out cases, and the rule of the verdict."""

    policies: tuple[str, ...] = Field((TEACHER, BASE, STUDENT), min_length=1)
    """Who plays: teacher, base, student; the task's trivial policies are always added."""
    margin: float = Field(0.02, ge=0, lt=1)
    """How far below the teacher's success the student's may lie: 0.02 is two percentage points."""
    cases: int = Field(400, ge=0)
    """How many held-out cases are played, from the first on; 0 plays all."""
    split: Split = "test"
    """Which cases are held out."""
    metric: str = "success"
    """The environment's flag that says whether an episode succeeded."""
    tries: int = Field(1, ge=1)
    """How often each case is played. The first try counts; with more, `pass^k` says how likely k tries of a case all
    succeed. Tries differ only above temperature 0, or where the environment varies."""
    temperature: float | None = Field(None, ge=0)
    """Of every policy's replies; default: as in [rollout]. Above 0 a policy of many turns can leave a loop that it
    would otherwise repeat for ever."""
    cpu_hour_usd: float | None = Field(None, gt=0)
    """Dollars for one CPU-hour, so that local models can be compared with priced ones; not set: no price is assumed."""


def compare(
    episodes_by_policy: Mapping[str, Sequence[Episode]],
    *,
    config: EvaluateConfig,
    machine: str,
    recorded: Collection[str] = (),
    scale: Scale | None = None,
    measures: Mapping[str, Measure] | None = None,
    facts: Mapping[str, JsonValue] | None = None,
    created: str | None = None,
) -> Report:
    """Compare policies on the same cases; a verdict is given when both `teacher` and `student` are among them.

    Args:
        episodes_by_policy: role (teacher, base, student, a trivial policy's name) -> one episode per case,
            or several tries, of which the first counts and all say how reliable the policy is.
        machine: where the times were measured, in words.
        recorded: roles whose episodes were played earlier.
        scale: what the recorded roles' seconds are multiplied by (`scale_recorded`); None: left as recorded.
        measures: what the task measures beside success, by name.
        created: ISO date and time; now, when None.

    Raises: DataError if there are no episodes, a case was played by one policy and not by another or twice by one,
        an episode is of another split or task, or an episode that ended well lacks the success flag.
    """
    order = [n for n in config.policies if n in episodes_by_policy]
    order += [n for n in episodes_by_policy if n not in order]
    played = {name: _by_case(name, episodes_by_policy[name], config.split) for name in order}
    cases = _same_cases(played)
    outcomes = {name: [_success(played[name][case], config.metric) for case in cases] for name in order}
    in_order = {name: [played[name][case] for case in cases] for name in order}
    timing = "recorded" if scale is None else "scaled"
    results = []
    for name in order:
        clock = scale if name in recorded and scale is not None else Scale(1.0, 1.0)
        result = _result(name, in_order[name], outcomes[name], config.cpu_hour_usd, clock)
        results.append(_marked(result, timing) if name in recorded else result)
    results = _with_differences(results, outcomes)
    results = with_measures(results, in_order, measures or {}, TEACHER)
    results = [_with_reliability(r, episodes_by_policy[r.name], config.metric) for r in results]
    by_name = {r.name: r for r in results}
    both = {TEACHER, STUDENT} <= by_name.keys()
    is_scaled = any(r.timing == "scaled" for r in results)
    return Report(
        task=next(iter(played[order[0]].values())).task,
        split=config.split,
        cases=len(cases),
        results=tuple(results),
        verdict=judge(by_name[TEACHER], by_name[STUDENT], config.margin) if both else None,
        scale=scale.processing if is_scaled and scale else None,
        latency_scale=scale.latency if is_scaled and scale else None,
        machine=machine,
        created=created or utc_now().isoformat(timespec="seconds"),
        facts=dict(facts or {}) | ({"cpu_hour_usd": config.cpu_hour_usd} if config.cpu_hour_usd else {}),
    )


def _with_reliability(result: PolicyResult, tries: Sequence[Episode], metric: str) -> PolicyResult:
    outcomes: dict[str, list[bool]] = {}
    for episode in tries:
        outcomes.setdefault(episode.case, []).append(_success(episode, metric))
    if len(tries) == len(outcomes):
        return result
    return result.model_copy(update={"measures": pass_hat(list(outcomes.values())) | result.measures})


def _marked(result: PolicyResult, timing: str) -> PolicyResult:
    return result if result.timing == "none" else result.model_copy(update={"timing": timing})


def _with_differences(results: Sequence[PolicyResult], outcomes: Mapping[str, Sequence[bool]]) -> list[PolicyResult]:
    """Set each policy beside the teacher; outcomes are in the same order of cases."""
    teacher = outcomes.get(TEACHER)
    if teacher is None:
        return list(results)
    return [
        r if r.name == TEACHER else r.model_copy(update={"difference": paired_difference(outcomes[r.name], teacher)})
        for r in results
    ]


def scale_recorded(now: Sequence[Episode], then: Sequence[Episode]) -> Scale:
    """How much slower this machine is now than the recording's was then.

    Args:
        now, then: episodes of the same model, the base, on at least 20 shared cases; then as many of them were played
            at once as of the teacher's.

    Returns: median seconds now over median seconds then, over the shared cases, of CPU time and of waiting; where
        episodes lack one of them, the other stands for both.
    Raises: DataError if fewer cases are shared, or no time is known on both sides.
    """
    ours, theirs = ({e.case: e for e in side if e.failure is None} for side in (now, then))
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < FEWEST_SHARED:
        raise DataError(
            f"recorded times cannot be scaled: the base played {len(shared)} cases both now and in the recording, "
            f"and at least {FEWEST_SHARED} are needed",
            "play more cases, or measure the teacher with --teacher live",
        )
    pairs = [(ours[case], theirs[case]) for case in shared]
    processing, latency = _slower(pairs, "processing_s"), _slower(pairs, "latency_s")
    one = processing or latency
    if one is None:
        raise DataError(
            "recorded times cannot be scaled: the base's episodes lack times, now or in the recording",
            "measure the teacher with --teacher live",
        )
    return Scale(processing or one, latency or one)


def _slower(pairs: Sequence[tuple[Episode, Episode]], field: Literal["processing_s", "latency_s"]) -> float | None:
    """Median seconds now over median seconds then; None where some episode does not say them."""
    new, old = ([episode.total(field) for episode in side] for side in zip(*pairs, strict=True))
    if None in new or None in old:
        return None
    medians = [quantile([v for v in side if v is not None], 0.5) for side in (new, old)]
    return medians[0] / medians[1] if min(medians) > 0 else None


def _by_case(name: str, episodes: Sequence[Episode], split: Split) -> dict[str, Episode]:
    found: dict[str, Episode] = {}
    for episode in episodes:
        if episode.split != split:
            raise DataError(f"{name}: episode {episode.id} is of the split {episode.split!r}, not {split!r}")
        if episode.attempt:
            continue
        if episode.case in found:
            raise DataError(
                f"{name}: case {episode.case!r} was played twice: episodes {found[episode.case].id}, {episode.id}",
                "give one attempt a case",
            )
        found[episode.case] = episode
    return found


def _same_cases(played: Mapping[str, Mapping[str, Episode]]) -> list[str]:
    """The cases, in the first policy's order."""
    if not played:
        raise DataError("nothing to compare: no policy has episodes")
    first, reference = next(iter(played.items()))
    for name, episodes in played.items():
        if not episodes:
            raise DataError(f"nothing to compare: {name} has no episodes")
        apart = sorted(reference.keys() ^ episodes.keys())
        if apart:
            raise DataError(
                f"{first} ({len(reference)} cases) and {name} ({len(episodes)} cases) did not play the same cases: "
                f"{len(apart)} were played by one alone, such as {apart[0]!r}",
                "play the missing cases, or set evaluate.cases to what all have",
            )
    tasks = {e.task for episodes in played.values() for e in episodes.values()}
    if len(tasks) > 1:
        raise DataError(f"episodes of different tasks cannot be compared: {', '.join(sorted(tasks))}")
    return list(reference)


def _success(episode: Episode, metric: str) -> bool:
    if episode.failure is not None:
        return False
    value = episode.metric(metric)
    if value is None:
        known = ", ".join(sorted({m.name for m in episode.metrics if m.turn is None})) or "none"
        raise DataError(f"episode {episode.id} (case {episode.case!r}) has no metric {metric!r}; it has: {known}")
    if value not in (0, 1):
        raise DataError(f"episode {episode.id} (case {episode.case!r}): metric {metric!r} = {value!r} is not a flag")
    return bool(value)


def _result(
    name: str, episodes: Sequence[Episode], outcomes: Sequence[bool], cpu_hour_usd: float | None, clock: Scale
) -> PolicyResult:
    """Count one policy's episodes; `clock` multiplies its seconds, and so what CPU time costs, but no price paid."""
    n, successes = len(episodes), sum(outcomes)
    latencies = [clock.latency * s for s in _all_known(e.total("latency_s") for e in episodes if e.failure is None)]
    processing = [clock.processing * s for s in _all_known(t.reply.processing_s for e in episodes for t in e.turns)]
    dollars = _all_known(t.reply.cost_usd for e in episodes for t in e.turns)
    if not dollars and processing and cpu_hour_usd:
        dollars = [s / 3600 * cpu_hour_usd for s in processing]
    costs = dollars or processing
    waits = [clock.latency * s for s in _all_known(t.reply.latency_s for e in episodes for t in e.turns)]
    return PolicyResult(
        name=name,
        policy=episodes[0].policy,
        run=episodes[0].run,
        n=n,
        successes=successes,
        failures=dict(Counter(e.failure.where for e in episodes if e.failure is not None)),
        success=wilson(successes, n),
        input_tokens=_mean((t.reply.usage.input_tokens for e in episodes for t in e.turns), n),
        output_tokens=_mean((t.reply.usage.output_tokens for e in episodes for t in e.turns), n),
        latency_p50_s=quantile(latencies, 0.5) if latencies else None,
        latency_p95_s=quantile(latencies, 0.95) if latencies else None,
        turns=sum(len(e.turns) for e in episodes) / n,
        turn_p50_s=quantile(waits, 0.5) if waits else None,
        latencies_s=tuple(latencies),
        processing_s=_mean(processing, n),
        cost_usd=_mean(dollars, n),
        cost_per_success=sum(costs) / successes if costs and successes else None,
        cost_unit="USD" if dollars else "CPU-s" if processing else None,
        environment=spent_by_role(episodes),
        timing="measured" if latencies or processing else "none",
    )


def _all_known(values: Iterable[float | None]) -> list[float]:
    """The values, or nothing when one of them is unknown: a sum over a part would be too small."""
    found = list(values)
    return [] if None in found else [v for v in found if v is not None]


def _mean(values: Iterable[float | None], n: int) -> float | None:
    known = _all_known(values)
    return sum(known) / n if known else None
