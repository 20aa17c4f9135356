"""Episodes in, a report out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from prentice.errors import DataError
from prentice.evaluation import EvaluateConfig, Scale, compare, scale_recorded
from prentice.evaluation.measured import pass_hat
from prentice.records import Episode, Failure, Message, Metric, PolicyResult, Reply, Report, Request, Turn, Usage

START = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = Request(function="classify", messages=(Message(role="user", content="hello"),))


def turn(cost: float | None = None, **figures: Any) -> Turn:
    usage = Usage(input_tokens=figures.pop("tokens", 10), output_tokens=2)
    reply = {"latency_s": 0.5, "processing_s": 1.0, **figures}
    return Turn(
        request=ASKED,
        reply=Reply(message=Message(role="assistant", content="x"), model="m", usage=usage, cost_usd=cost, **reply),
    )


def episode(case: int, success: bool | float | str | None = True, turns: int = 1, **more: Any) -> Episode:
    settings = {k: more.pop(k) for k in ("cost", "latency_s", "processing_s", "tokens") if k in more}
    defaults = {
        "id": f"e{case}",
        "run": "r",
        "task": "support",
        "split": "test",
        "policy": "local:m",
        "started_at": START,
    }
    metrics = () if success is None else (Metric(name="success", value=success),)
    return Episode(
        **{**defaults, **more}, case=f"c{case}", turns=tuple(turn(**settings) for _ in range(turns)), metrics=metrics
    )


def episodes(outcomes: Sequence[bool], **more: Any) -> list[Episode]:
    return [episode(case, success, **more) for case, success in enumerate(outcomes)]


def failed(case: int, where: Any = "model") -> Episode:
    return episode(case, None, turns=0, failure=Failure(where=where, message="503"))


def run(by_policy: dict[str, list[Episode]], config: EvaluateConfig | None = None, **more: Any) -> Report:
    return compare(by_policy, config=config or EvaluateConfig(), machine="two cores", created="2026-01-01", **more)


def one(found: list[Episode], config: EvaluateConfig | None = None) -> PolicyResult:
    return run({"student": found}, config).results[0]


def test_figures_are_those_counted_by_hand() -> None:
    found = one(
        [*episodes([True, True, False], latency_s=0.2, processing_s=0.4), episode(3, False, latency_s=1.0, turns=2)]
    )
    assert (found.n, found.successes, found.success.value) == (4, 2, 0.5)
    assert found.latencies_s == (0.2, 0.2, 0.2, 2.0)
    assert found.latency_p50_s == pytest.approx(0.2)
    assert found.latency_p95_s == pytest.approx(0.2 + 0.85 * 1.8)  # place 2.85 among four
    assert found.processing_s == pytest.approx((3 * 0.4 + 2 * 1.0) / 4)
    assert found.cost_per_success == pytest.approx(3.2 / 2)
    assert found.cost_unit == "CPU-s"
    assert (found.input_tokens, found.output_tokens) == (12.5, 2.5)


def test_the_difference_is_paired_by_case_whatever_the_order() -> None:
    teacher = episodes([True, False, True, False])
    student = list(reversed(episodes([True, True, True, False])))
    results = run({"student": student, "teacher": teacher}).results
    assert [r.name for r in results] == ["teacher", "student"]
    assert results[0].difference is None
    assert results[1].difference is not None
    assert results[1].difference.value == pytest.approx(0.25)


def test_a_failed_episode_is_no_success_and_is_counted_by_its_boundary() -> None:
    well = episodes([True, True])
    broken = episode(2, True, failure=Failure(where="environment", message="lost"))
    found = one([*well, broken, failed(3), failed(4)])
    assert (found.n, found.successes) == (5, 2)
    assert found.failures == {"environment": 1, "model": 2}
    assert len(found.latencies_s) == 2
    assert found.cost_per_success == pytest.approx(3.0 / 2)  # the broken episode's turn was paid for


def test_a_missing_success_flag_is_an_error_that_names_the_episode() -> None:
    with pytest.raises(DataError, match=r"episode e1 \(case 'c1'\) has no metric 'success'; it has: none"):
        one([episode(0), episode(1, None)])


@pytest.mark.parametrize("value", [0.5, "yes"])
def test_a_success_that_is_no_flag_is_refused(value: float | str) -> None:
    with pytest.raises(DataError, match=r"episode e0 .* is not a flag"):
        one([episode(0, value)])


def test_flags_written_as_numbers_count() -> None:
    assert one([episode(0, 1.0), episode(1, 0.0)]).successes == 1


def test_policies_that_did_not_play_the_same_cases_are_not_compared() -> None:
    with pytest.raises(DataError, match=r"teacher \(3 cases\) and student \(2 cases\) did not play the same .* 'c2'"):
        run({"teacher": episodes([True] * 3), "student": episodes([True] * 2)})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([episode(0), episode(0, id="again")], "case 'c0' was played twice: episodes e0, again"),
        ([episode(0, split="train")], "is of the split 'train', not 'test'"),
        ([episode(0), episode(1, task="other")], "different tasks cannot be compared: other, support"),
        ([], "student has no episodes"),
    ],
)
def test_episodes_that_would_bend_the_figures_are_refused(found: list[Episode], message: str) -> None:
    with pytest.raises(DataError, match=message):
        one(found)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="no policy has episodes"):
        run({})


def test_dollars_are_used_only_where_every_episode_has_them() -> None:
    priced = one(episodes([True, False], cost=0.01))
    assert (priced.cost_unit, priced.cost_usd, priced.cost_per_success) == ("USD", 0.01, 0.02)
    partly = one([episode(0, cost=0.01), episode(1)])
    assert (partly.cost_unit, partly.cost_usd) == ("CPU-s", None)


def test_a_price_for_cpu_time_makes_local_and_hosted_policies_comparable() -> None:
    config = EvaluateConfig(cpu_hour_usd=0.36)
    report = run(
        {"teacher": episodes([True] * 200, cost=0.01), "student": episodes([True] * 200, latency_s=0.1)}, config
    )
    student = report.results[1]
    assert student.cost_unit == "USD"
    assert student.cost_per_success == pytest.approx(0.0001)  # one CPU-second at 0.36 dollars an hour
    assert report.facts == {"cpu_hour_usd": 0.36}
    assert report.verdict is not None
    assert report.verdict.answer == "promote"  # 200 ties leave ±1.4 points
    assert report.verdict.reasons[1].startswith("met: cost per success")


def test_without_times_and_prices_there_is_no_cost_and_no_guess() -> None:
    found = one(episodes([True], latency_s=None, processing_s=None, tokens=None))
    assert (found.cost_unit, found.cost_per_success, found.latency_p95_s, found.input_tokens) == (
        None,
        None,
        None,
        None,
    )
    assert found.timing == "none"


def test_without_a_success_a_success_has_no_cost() -> None:
    found = one(episodes([False, False]))
    assert (found.cost_per_success, found.cost_unit, found.processing_s) == (None, "CPU-s", 1.0)


def test_without_a_teacher_there_is_no_difference_and_no_verdict() -> None:
    report = run({"base": episodes([True]), "student": episodes([True]), "most frequent": episodes([False])})
    assert [r.name for r in report.results] == ["base", "student", "most frequent"]
    assert all(r.difference is None for r in report.results)
    assert report.verdict is None


def test_recorded_seconds_are_scaled_and_recorded_dollars_are_not() -> None:
    by_policy = {"teacher": episodes([True]), "student": episodes([True])}
    teacher, student = run(by_policy, recorded=["teacher"], scale=Scale(2.0, 2.0)).results
    assert (teacher.timing, teacher.latency_p50_s, teacher.processing_s, teacher.cost_per_success) == (
        "scaled",
        1,
        2,
        2,
    )
    assert teacher.latencies_s == (1.0,)
    assert (student.timing, student.latency_p50_s, student.cost_per_success) == ("measured", 0.5, 1)
    config = EvaluateConfig(cpu_hour_usd=3600)
    by_hour = run(by_policy, config, recorded=["teacher"], scale=Scale(2.0, 2.0)).results[0]
    assert (by_hour.cost_unit, by_hour.cost_per_success) == ("USD", 2)
    priced = run({"teacher": episodes([True], cost=0.5)}, recorded=["teacher"], scale=Scale(2.0, 2.0)).results[0]
    assert (priced.cost_per_success, priced.latency_p50_s) == (0.5, 1)


def test_recorded_seconds_without_a_scale_are_marked_as_recorded() -> None:
    report = run({"teacher": episodes([True])}, recorded=["teacher"])
    assert (report.results[0].timing, report.results[0].latency_p50_s, report.scale) == ("recorded", 0.5, None)


def test_the_scale_is_the_ratio_of_medians_over_shared_cases() -> None:
    then = episodes([True] * 25, processing_s=0.2)
    now = [*episodes([True] * 20, processing_s=0.3), *(episode(case, processing_s=9.0) for case in range(100, 150))]
    assert scale_recorded(now, then) == pytest.approx((1.5, 1))


def test_the_scale_falls_back_on_latency() -> None:
    then = episodes([True] * 20, processing_s=None, latency_s=0.4)
    assert scale_recorded(episodes([True] * 20, latency_s=0.2), then) == pytest.approx((0.5, 0.5))


def test_latencies_of_a_recording_made_two_at_once_are_scaled_by_latencies() -> None:
    # two at once on two cores: a second of waiting was a second of CPU time; alone it is half of one, here and now
    then = episodes([True] * 20, processing_s=1.0, latency_s=1.0)
    now = episodes([True] * 20, processing_s=2.0, latency_s=1.0)
    scale = scale_recorded(now, then)
    assert scale == pytest.approx((2, 1))
    by_policy = {"teacher": episodes([True], processing_s=10.0, latency_s=10.0), "student": episodes([True])}
    report = run(by_policy, recorded=["teacher"], scale=scale)
    assert (report.results[0].processing_s, report.results[0].latency_p50_s) == pytest.approx((20, 10))
    assert (report.scale, report.latency_scale) == pytest.approx((2, 1))


def test_too_few_shared_cases_give_no_scale() -> None:
    with pytest.raises(DataError, match="19 cases both now and in the recording, and at least 20") as caught:
        scale_recorded(episodes([True] * 20), [*episodes([True] * 19), failed(19)])
    assert "--teacher live" in caught.value.hint


def test_episodes_without_times_give_no_scale() -> None:
    blank = episodes([True] * 20, processing_s=None, latency_s=None)
    with pytest.raises(DataError, match="lack times"):
        scale_recorded(blank, episodes([True] * 20))


@pytest.mark.parametrize("wrong", [{"margin": -0.1}, {"cases": -1}, {"policies": ()}, {"split": "dev"}, {"margn": 0.1}])
def test_a_config_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EvaluateConfig.model_validate(wrong)


def test_comparing_loads_no_plotting_library() -> None:
    code = "import prentice.evaluation, sys; assert not {'matplotlib', 'scipy', 'torch', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pass_hat_k_is_the_chance_that_k_tries_of_a_case_all_succeed() -> None:
    # 3 of 3, 2 of 3, 0 of 3: pass^2 = (1 + C(2,2)/C(3,2) + 0) / 3
    found = pass_hat([[True, True, True], [True, False, True], [False, False, False]])
    assert found["pass^1"].value == pytest.approx(5 / 9)
    assert found["pass^2"].value == pytest.approx((1 + 1 / 3) / 3)
    assert found["pass^3"].value == pytest.approx(1 / 3)
    assert found["pass^3"].low <= 1 / 3 <= found["pass^3"].high


def test_the_first_try_counts_and_all_tries_say_how_reliable_a_policy_is() -> None:
    first = episodes([True, False])
    second = [each.model_copy(update={"id": f"{each.id}-2", "attempt": 1}) for each in episodes([False, False])]
    (result,) = run({"student": [*first, *second]}).results
    assert result.success.value == 0.5
    assert {name: interval.value for name, interval in result.measures.items()} == {"pass^1": 0.25, "pass^2": 0.0}
