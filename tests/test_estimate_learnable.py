"""Which replies look learnable, and what is said of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from estimate_logs import calling, counted, only, single
from prentice.records import Episode


def many(number: int, reply: str = "ok", **of: Any) -> list[Episode]:
    """Calls with inputs that all differ."""
    return [single(f"input {n}", reply.format(n % 3, n), **of) for n in range(number)]


def test_few_short_replies_are_labels_and_a_good_first_candidate() -> None:
    function = only(*many(300, "label {0}"))
    assert (function.answer, function.reason) == ("good first candidate", "3 different replies, all short")
    assert function.outputs.entropy_bits == pytest.approx(1.58496, abs=1e-5)  # log2 of 3
    assert {each.text: each.share for each in function.outputs.top} == pytest.approx(
        {f"label {n}": 1 / 3 for n in range(3)}
    )


def test_objects_with_the_same_keys_are_a_good_first_candidate() -> None:
    replies = [json.dumps({"date": f"2026-{n}", "amount": n}) for n in range(200)]
    function = only(*(single(f"{n}", reply) for n, reply in enumerate(replies)))
    assert function.answer == "good first candidate"
    assert function.reason.startswith("JSON objects with the same keys (amount, date)")
    assert (function.outputs.objects, function.outputs.shapes) == (1, 1)


def test_objects_in_a_fence_are_objects_too() -> None:
    assert only(single("a", '```json\n{"a": 1}\n```')).outputs.objects == 1


def test_objects_with_ever_other_keys_are_only_possible() -> None:
    function = only(*(single(f"{n}", json.dumps({f"key {n % 4}": n})) for n in range(200)))
    assert (function.answer, function.outputs.shapes) == ("possible", 4)


def test_long_free_text_is_not_yet_a_candidate_and_has_no_range() -> None:
    function = only(*many(200, "{1} " + "word " * 300))
    assert (function.answer, function.break_even) == ("not yet", None)
    assert function.reason.startswith("long free text")


def test_short_free_text_is_possible() -> None:
    assert only(*many(200, "the answer is {1}")).answer == "possible"


def test_what_would_be_good_is_only_possible_with_few_inputs() -> None:
    function = only(*(single(f"{n % 99}", "yes") for n in range(300)))
    assert function.answer == "possible"
    assert function.reason.endswith("but only 99 different inputs to learn from")


def test_what_would_be_good_is_only_possible_with_prompts_beyond_a_students_context() -> None:
    function = only(*many(300, "yes", usage=counted(10_000, 1)))
    assert function.answer == "possible"
    assert "p95) need shortening" in function.reason


def test_too_few_calls_say_nothing() -> None:
    assert only(*many(19)).answer == "not yet"
    assert only(*many(20)).answer == "possible"


def test_replies_that_all_call_few_tools_are_a_good_first_candidate() -> None:
    function = only(*(single(f"{n}", calling("find" if n % 4 else "stop", f'{{"id": {n}}}')) for n in range(200)))
    assert function.answer == "good first candidate"
    assert [(each.text, each.share, each.keys) for each in function.outputs.tool_names] == [
        ("find", 0.75, ("id",)),
        ("stop", 0.25, ("id",)),
    ]


def test_a_chat_that_sometimes_calls_tools_is_only_possible() -> None:
    function = only(*(single(f"{n}", calling("f", "{}") if n % 2 else "hello") for n in range(200)))
    assert function.answer == "possible"
    assert function.reason.startswith("50 % of the replies are calls of 1 tool, the others text")


def test_the_length_of_a_reply_is_its_text_without_hidden_reasoning() -> None:
    function = only(*many(200, "label {0}", usage=counted(10, 5_000)))
    assert function.outputs.tokens_p95 == 2
    assert function.answer == "good first candidate"


@pytest.mark.parametrize(("differing", "answer"), [(4, "good first candidate"), (5, "possible")])
def test_labels_that_change_for_the_same_input_are_only_possible(differing: int, answer: str) -> None:
    again = [single(f"input {n}", "no" if n < differing else "yes") for n in range(20)]
    function = only(*(single(f"input {n}", "yes") for n in range(200)), *again)
    assert (function.prompts.asked_again, function.prompts.answered_alike) == (20, 20 - differing)
    assert function.answer == answer
