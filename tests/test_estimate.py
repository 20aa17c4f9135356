"""What logs cost and what of them could be learnt, against figures derived by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from estimate_logs import LONG, PRICES, calling, counted, episode, only, plain, reckon, said, single, turn
from prentice.errors import ConfigError, DataError
from prentice.estimation import Assumptions, Spent, break_even, estimate, parse_prices
from prentice.estimation.estimate import UNKNOWN_TIME
from prentice.estimation.prompts import PromptTally
from prentice.records import Demonstration, Episode, Failure, Message, Metric, Tool
from prentice.records.importing import fields


def test_tokens_are_what_the_log_counts_else_a_quarter_of_the_characters() -> None:
    spent = only(single("12345678", "123", usage=counted(100, 10)), single("12345678", "123")).spent
    assert (spent.input_tokens, spent.output_tokens, spent.estimated) == (100 + 2, 10 + 1, 1)


def test_calls_of_tools_and_the_tools_themselves_count_as_text() -> None:
    tool = Tool(name="look")
    (with_tool,), (without,) = (
        reckon(single("12345678", calling("look", '{"a": 1}'), tools=tools)).functions for tools in ((tool,), ())
    )
    assert without.spent.output_tokens == 3  # 4 characters of name, 8 of arguments
    assert with_tool.spent.input_tokens > without.spent.input_tokens


def test_dollars_are_tokens_at_the_price_and_cached_tokens_at_theirs() -> None:
    # (600 x 2.5 + 400 x 1.25 + 100 x 10) / 1e6
    assert only(single("a", usage=counted(1_000, 100, 400))).spent.usd == pytest.approx(0.003)


def test_dollars_that_the_log_names_count_before_any_price() -> None:
    spent = only(single("a", usage=counted(1_000, 100), cost_usd=0.5), single("a", usage=counted(1_000, 100))).spent
    assert (spent.usd, spent.logged) == pytest.approx((0.5035, 1))


def test_a_call_without_a_price_is_counted_and_never_costs_nothing() -> None:
    found = reckon(single("a", model="unheard-of"), single("a", usage=counted(1_000, 100)))
    spent = found.functions[0].spent
    assert (spent.unpriced, spent.usd_per_call) == pytest.approx((1, 0.0035))
    assert [model.price is None for model in found.models] == [False, True]


def test_a_function_of_which_no_price_is_known_has_no_dollars_a_month_and_no_range() -> None:
    function = only(*(single(f"{n}", "yes", model="unheard-of") for n in range(200)), days=1)
    assert (function.answer, function.usd_per_month, function.break_even) == ("good first candidate", None, None)


@pytest.mark.parametrize("name", ["gpt-4o", "openai:gpt-4o", "openai/gpt-4o", "gpt-4o-2024-08-06"])
def test_a_model_has_the_price_of_the_list_however_the_log_names_it(name: str) -> None:
    (model,) = estimate([single("a", model=name)]).models
    assert model.price is not None
    assert (model.price.input_usd, model.price.output_usd) == (2.5, 10)


def test_an_unknown_model_is_named_with_those_of_the_list_that_look_like_it() -> None:
    (model,) = estimate([single("a", model="gpt-4oo")]).models
    assert model.price is None
    assert "gpt-4o" in model.nearest


def test_a_price_of_the_user_counts_before_the_list_and_one_that_fits_no_call_is_named() -> None:
    prices = parse_prices(["openai:gpt-4o=100,200,50", "gtp-4o=1,1"])
    found = estimate([single("a", model="gpt-4o", usage=counted(1_000_000, 0))], prices=prices)
    assert found.functions[0].spent.usd == 100
    assert found.notes == ("--price gtp-4o: no call in the logs has this model",)


@pytest.mark.parametrize(
    "text", ["gpt-4o", "gpt-4o=1", "gpt-4o=1,2,3,4", "=1,2", "gpt-4o=a,b", "gpt-4o=-1,2", "m=nan,1"]
)
def test_a_price_that_is_none_is_refused_with_the_form_it_has(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a price") as caught:
        parse_prices([text])
    assert "openai:gpt-4o=2.5,10" in caught.value.hint


def test_repeats_are_calls_that_ask_what_was_asked_before() -> None:
    prompts = only(single("a", "1"), single("a", "1"), single("b", "1"), single("b", "2"), single("c", "3")).prompts
    assert (prompts.distinct, prompts.repeats) == pytest.approx((3, 2 / 5))
    assert (prompts.asked_again, prompts.answered_alike) == (2, 1)


def test_ids_that_providers_draw_do_not_make_a_request_another_one() -> None:
    def asked(id_: str) -> Episode:
        call = calling("f", "{}").tool_calls[0].model_copy(update={"id": id_})
        shown = (Message(role="assistant", tool_calls=(call,)), Message(role="tool", content="1", tool_call_id=id_))
        return episode(turn(shown))

    assert only(asked("x"), asked("y")).prompts.distinct == 1


def test_a_beginning_that_calls_share_is_counted_from_its_second_time_on() -> None:
    function = only(*(single(f"{n:04}", system=LONG, usage=counted(2_050, 1)) for n in range(10)))
    # 10 prompts of 4 096 + 4 characters, of which nine have their first 4 096 from the cache
    assert function.prompts.shared == pytest.approx(9 * 4_096 / 41_000)
    # so many of the 2 050 tokens, for 1.25 dollars less
    assert function.spent.cacheable_usd == pytest.approx(9 * 2_050 * 4_096 / 4_100 * 1.25e-6, rel=1e-3)


def test_what_was_cached_already_cannot_be_saved_again() -> None:
    cached = only(*(single(f"{n:04}", system=LONG, usage=counted(2_050, 1, 2_048)) for n in range(10)))
    assert cached.spent.cacheable_usd == 0


def test_a_beginning_too_short_for_a_providers_cache_is_not_counted() -> None:
    assert only(*(single(f"{n:04}", system=LONG[1:]) for n in range(10))).prompts.shared == 0


def test_the_history_of_a_chat_is_a_beginning_that_was_sent_before() -> None:
    start = (Message(role="system", content=LONG), Message(role="user", content="1234"))
    later = (*start, said("5678"), Message(role="user", content="9012"))
    # 4 100 characters, the first of their kind; then 4 108, of which 4 100 were sent before
    assert only(episode(turn(start, said("5678")), turn(later))).prompts.shared == pytest.approx(4_100 / 8_208)


def test_system_prompts_that_differ_below_their_first_lines_are_versions_of_one_function() -> None:
    head = "Route the message.\nBe brief.\nToday is 2026-01-{}.\n"
    days = [single("a", system=head.format(f"{n:02}") + "Old." * 10) for n in range(3)]
    prompts = only(*days, days[0]).prompts
    assert (prompts.versions, prompts.main_version) == pytest.approx((3, 0.5))


def test_calls_without_a_name_are_told_apart_by_system_prompt_tools_and_form() -> None:
    look = Tool(name="look")
    schema = {"type": "object", "properties": {"a": {}}}
    calls = [
        single("a", system="Route the message to a team."),
        single("a", system="Write a poem."),
        single("a", system="Write a poem.", tools=(look,)),
        single("a", system="Write a poem.", response_schema=schema),
        single("a"),
        single("a", function="named"),
    ]
    names = [function.name for function in reckon(*calls).functions]
    assert len(set(names)) == 6
    assert {name.rpartition(" ")[0] or name for name in names} == {
        "Route the message to",
        "Write a poem",
        "no system prompt",
        "named",
    }


def test_a_month_is_reckoned_from_the_times_of_the_log() -> None:
    function = only(single("a", day=0, usage=counted(1_000, 100)), single("b", day=30.4375, usage=counted(1_000, 100)))
    assert (function.calls_per_month, function.usd_per_month) == pytest.approx((2, 0.007))


def test_a_month_is_reckoned_from_what_the_user_says_where_he_says_it() -> None:
    calls = [single("a", day=0, usage=counted(1_000, 100)), single("b", day=1, usage=counted(1_000, 100))]
    assert only(*calls, calls_per_month=50).usd_per_month == pytest.approx(50 * 0.0035)
    assert only(*calls, days=30.4375 / 4).usd_per_month == pytest.approx(8 * 0.0035)


def test_without_times_there_is_no_month_and_the_way_to_have_one_is_said() -> None:
    found = reckon(single("a"), single("b"))
    assert (found.functions[0].calls_per_month, found.begun, found.timed) == (None, None, 0)
    assert "--calls-per-month" in found.month


def test_a_missing_time_is_the_one_that_importers_write() -> None:
    assert fields.UNKNOWN_TIME == UNKNOWN_TIME


def test_two_ways_to_say_how_long_a_log_is_are_refused() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        reckon(single("a"), days=1, calls_per_month=1)


def test_logs_without_a_call_are_refused() -> None:
    with pytest.raises(DataError, match="no episode in the logs"):
        reckon()
    with pytest.raises(DataError, match="1 episodes hold no call"):
        reckon(episode())


def test_outcomes_are_metrics_and_demonstrations_of_an_episode_or_a_turn() -> None:
    good = Metric(name="success", value=True)
    shown = Demonstration(turn=1, message=said("better"), at=datetime(2026, 1, 1, tzinfo=UTC))
    two = (turn("a"), turn("b"))
    logs = [
        episode(*two, metrics=(good,)),
        episode(*two, metrics=(Metric(name="rating", value=3.0, turn=0),)),
        episode(*two, demonstrations=(shown,)),
        episode(*two, metrics=(Metric(name="comment", value="fine"), Metric(name="weight", value=1.0, turn=0))),
    ]
    function = only(*logs)
    assert (function.graded, function.successes) == (2 + 1 + 1, 2)
    assert [gap.what for gap in function.gaps if gap.kind == "no outcome"] == ["none on 4 of 8 calls"]


def test_what_is_missing_is_named_with_the_next_step() -> None:
    logs = [
        episode(turn("a", "cut", finish_reason="length"), failure=Failure(where="model", message="503")),
        single("b", ""),
        single("c", calling("f", "{not json")),
        single("long " * 5_000),
        single("d", system="Route.\n\n\nmore\nand\nother"),
    ]
    found = {gap.kind: gap for each in reckon(*logs).functions for gap in each.gaps}
    expected = "no outcome, few inputs, long prompts, tokens, cut replies, empty replies, broken tool calls, errors"
    assert found.keys() >= set(expected.split(", "))
    assert found["cut replies"].what == "1 of 4 end at the greatest length"
    assert all(gap.todo for gap in found.values())


def test_personal_data_is_looked_for_in_what_was_asked_last_where_somebody_can_find_it() -> None:
    logs = [single("write to me@example.com", system="help@example.com"), single("hello", system="help@example.com")]
    found = estimate(logs, prices=PRICES, personal=lambda text: ["email"] * text.count("@"))
    assert found.functions[0].personal == {"email": 1}
    assert any(gap.what == "of 2 messages looked at: email in 1" for gap in found.functions[0].gaps)


SPENT = Spent(
    calls=1_000,
    input_tokens=100_000,
    output_tokens=10_000,
    cached_tokens=0,
    estimated=0,
    usd=1.0,
    logged=0,
    unpriced=0,
    cacheable_usd=0,
)
"""A call reads 100 tokens, writes 10, and costs 0.1 cent."""
NOTHING_SHARED = PromptTally().result()


def test_the_range_is_what_its_assumptions_give() -> None:
    found = break_even(SPENT, NOTHING_SHARED, 40, None, plain())
    assert found is not None
    careful, hopeful = found.careful, found.hopeful
    # 100 rows x 110 tokens at 110 a second = 100 s of two cores at 0.036 dollars an hour = 0.002 dollars
    assert careful.training_hours == hopeful.training_hours == pytest.approx(100 / 3_600)
    # 200 calls of the large model, and 100 less the 40 that the log knows the outcome of
    assert (careful.teacher_usd, hopeful.teacher_usd) == pytest.approx((0.2, 0.06))
    # 100 x 0.01 + 10 x 0.1 = 2 CPU-seconds a call at 1e-5 dollars, half of the time paid for idle in the careful case
    assert (careful.student_usd, hopeful.student_usd) == pytest.approx((0.04, 0.02))
    assert (careful.saved_usd, hopeful.saved_usd) == pytest.approx((0.5 - 0.04, 1 - 0.02))
    assert (careful.times_cheaper, hopeful.times_cheaper) == pytest.approx((25, 50))
    assert careful.calls == pytest.approx(0.202 / 0.46 * 1_000)
    assert hopeful.calls == pytest.approx(0.062 / 0.98 * 1_000)
    assert (found.per, careful.months) == ("1 000 calls", None)


def test_a_rented_machine_is_paid_for_all_month_however_few_the_calls() -> None:
    found = break_even(SPENT, NOTHING_SHARED, 0, 10_000.0, plain(always_on=(True, False)))
    assert found is not None
    assert found.careful.student_usd == pytest.approx(2 * 730.5 * 0.036)
    assert (found.careful.saved_usd < 0, found.careful.calls, found.careful.months) == (True, None, None)
    assert found.hopeful.months == pytest.approx(0.102 / 9.8)


def test_more_machines_are_paid_for_where_one_is_not_enough() -> None:
    # 4 million calls of 2 CPU-seconds need 2 222.2 core-hours, and 4 444.4 at half load: 3.04 months of two cores
    found = break_even(SPENT, NOTHING_SHARED, 0, 4e6, plain(always_on=(True, False)))
    assert found is not None
    assert found.careful.student_usd == pytest.approx(4 * 2 * 730.5 * 0.036)


def test_a_call_is_never_reckoned_cheaper_than_the_assumed_limit() -> None:
    found = break_even(SPENT, NOTHING_SHARED, 0, None, plain(cheaper_at_most=(9, 30)))
    assert found is not None
    assert (found.careful.times_cheaper, found.hopeful.times_cheaper) == pytest.approx((9, 30))


def test_what_people_cost_is_in_the_range_when_they_are_named() -> None:
    without, with_them = (
        break_even(SPENT, NOTHING_SHARED, 0, None, plain(one_off_usd=pair)) for pair in ((0, 0), (1_000, 500))
    )
    assert without is not None
    assert with_them is not None
    assert with_them.careful.make_usd - without.careful.make_usd == pytest.approx(1_000)
    assert with_them.hopeful.make_usd - without.hopeful.make_usd == pytest.approx(500)


@given(st.floats(1e-7, 10), st.integers(1, 10**5), st.integers(1, 10**4), st.none() | st.floats(1, 1e9))
def test_the_hopeful_end_is_never_the_worse_one(usd: float, read: int, write: int, monthly: float | None) -> None:
    spent = SPENT.model_copy(update={"usd": usd * 1_000, "input_tokens": read * 1_000, "output_tokens": write * 1_000})
    found = break_even(spent, NOTHING_SHARED, 0, monthly, Assumptions())
    assert found is not None
    assert found.hopeful.make_usd <= found.careful.make_usd
    assert found.hopeful.saved_usd >= found.careful.saved_usd
    assert (found.hopeful.calls or math.inf) <= (found.careful.calls or math.inf)
