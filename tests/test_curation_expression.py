"""The language of `keep`: what it allows means what it means in Python; everything else is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prentice.curation.expression import Expression
from prentice.errors import ConfigError

NAMES: dict[str, Any] = {"success": True, "score": 0.5, "tries": 3, "label": "card", "zero": 0}

numbers = st.one_of(st.integers(-9, 9).map(str), st.sampled_from(["0.5", "1e3", "tries", "score", "zero", "success"]))
texts = st.sampled_from(['"card"', "'ca'", "label", '""'])


def _numeric(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner)
    return st.one_of(pair.map(" ".join), inner.map("({})".format), inner.map("-{}".format))


arithmetic = st.recursive(numbers, _numeric, max_leaves=6)
ordered = st.lists(arithmetic, min_size=2, max_size=4).flatmap(
    lambda parts: st.lists(
        st.sampled_from([" < ", " <= ", " == ", " != ", ">", ">="]), min_size=len(parts) - 1, max_size=len(parts) - 1
    ).map(lambda signs: "".join(p + s for p, s in zip(parts, [*signs, ""], strict=True)))
)
member = st.tuples(texts, st.sampled_from(["in", "not in"]), texts).map(" ".join)
listed = st.tuples(arithmetic, st.lists(arithmetic, max_size=3)).map(lambda t: f"{t[0]} in [{', '.join(t[1])}]")


def _logical(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from(["and", "or"]), inner)
    return st.one_of(pair.map(" ".join), inner.map("not {}".format), inner.map("({})".format))


expressions = st.recursive(st.one_of(arithmetic, ordered, member, listed), _logical, max_leaves=8)


def outcome(work: Any) -> Any:
    try:
        return repr(work())
    except ArithmeticError as error:
        return type(error)


@given(text=expressions)
def test_an_allowed_expression_means_what_it_means_in_python(text: str) -> None:
    ours = outcome(lambda: Expression(text, "keep").value(NAMES))
    python = outcome(lambda: eval(text, {"__builtins__": {}}, dict(NAMES)))
    assert ours == python


@given(text=st.text(max_size=40) | st.text("()[]{}.,:=!<>+-*/%@'\"\\ \n\tandornti019_x", max_size=40))
def test_any_text_is_either_an_expression_or_one_clear_line(text: str) -> None:
    try:
        shown = repr(Expression(text, "keep").names)
    except ConfigError as error:
        shown = error.problem
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("success ==", "at ^ (character 11): success ==^"),
        ("success and open('x')", "calls are not allowed here, at ^ (character 13): success and ^open('x')"),
        ("ü == 'ü' and a.b", "attributes are not allowed here, at ^ (character 14): ü == 'ü' and ^a.b"),
        ("a[0]", "subscripts are not allowed here, at ^ (character 1)"),
        ("f'{a}'", "f-strings are not allowed here"),
        ("(a for a in b)", "GeneratorExp is not allowed here"),
        ("2 ** 9", "Pow is not allowed here"),
        ("None", "None is not allowed here"),
        ("a = 1", "invalid syntax"),
        ("a is b", "Is is not allowed here"),
        ("lambda: 1", "Lambda is not allowed here"),
        ("", "the expression is empty"),
        ("-" * 1500 + "1", "nested too deeply"),
        ("(" * 900 + "1" + ")" * 900, ""),
        ("a" * 2001, "2001 characters"),
        ("a\0", ""),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line_with_its_place(text: str, shown: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Expression(text, "keep")
    assert shown in caught.value.problem
    assert "\n" not in str(caught.value)


def test_names_are_listed_once_in_order() -> None:
    assert Expression("b > a and b < 2\nor c", "keep").names == ("b", "a", "c")


@pytest.mark.parametrize("text", ["label > 1", "-label", "label + label", "label * 9", "1 in tries", "tries in label"])
def test_values_that_do_not_fit_together_are_the_users_to_fix(text: str) -> None:
    with pytest.raises(ConfigError, match="keep: `") as caught:
        Expression(text, "keep").value(NAMES)
    assert "tries = 3" in caught.value.problem or "label = 'card'" in caught.value.problem


@pytest.mark.parametrize(("text", "answer"), [("success", True), ("zero", False), ("2 - 1", True), ("score < 1", True)])
def test_yes_and_no_may_be_written_as_one_and_zero(text: str, answer: bool) -> None:
    assert Expression(text, "keep").holds(NAMES) is answer


@pytest.mark.parametrize("text", ["score", "label", "tries", "(1, 2)"])
def test_a_value_that_is_neither_yes_nor_no_is_not_silently_taken_for_yes(text: str) -> None:
    with pytest.raises(ConfigError, match="neither yes nor no"):
        Expression(text, "keep").holds(NAMES)


def test_a_rank_must_be_a_number() -> None:
    assert Expression("score - 2 * tries", "rank_by").number(NAMES) == -5.5
    with pytest.raises(ConfigError, match="not a number"):
        Expression("label", "rank_by").number(NAMES)
