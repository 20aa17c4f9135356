"""The trie of choices: it reaches every choice, and computes a token only where two branches are left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prentice.errors import ModelError
from prentice.models.choices import Pick, Trie, walk

END = 0


def picker(wanted: Sequence[int]) -> tuple[list[int], Pick]:
    """A pick function that follows `wanted`, and the list of positions it was asked at."""
    asked: list[int] = []

    async def pick(path: Sequence[int], allowed: Sequence[int]) -> int:
        asked.append(len(path))
        token = (*wanted, END)[len(path)]
        assert token in allowed
        return token

    return asked, pick


async def test_a_choice_that_its_first_token_decides_costs_one_token() -> None:
    trie = Trie.build([("apple", [1, 2, 3]), ("bear", [4, 5])], END)
    asked, pick = picker([1, 2, 3])
    assert await walk(trie, pick) == ("apple", 1)
    assert asked == [0]


async def test_a_shared_beginning_is_not_computed() -> None:
    trie = Trie.build([("card lost", [1, 2, 3]), ("card found", [1, 2, 4])], END)
    asked, pick = picker([1, 2, 4])
    assert await walk(trie, pick) == ("card found", 1)
    assert asked == [2]


async def test_a_choice_that_begins_another_can_be_chosen() -> None:
    trie = Trie.build([("card", [1]), ("card lost", [1, 2])], END)
    for wanted, text in (([1], "card"), ([1, 2], "card lost")):
        _, pick = picker(wanted)
        assert (await walk(trie, pick))[0] == text


async def test_one_choice_costs_nothing() -> None:
    _, pick = picker([])
    assert await walk(Trie.build([("only", [7, 8])], END), pick) == ("only", 0)


def test_two_choices_of_the_same_tokens_are_refused() -> None:
    with pytest.raises(ModelError, match="same tokens"):
        Trie.build([("a", [1]), ("b", [1])], END)


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), min_size=1, unique=True))
async def test_every_choice_can_be_reached(choices: list[tuple[int, ...]]) -> None:
    trie = Trie.build([(str(tokens), tokens) for tokens in choices], END)
    for tokens in choices:
        asked, pick = picker(tokens)
        text, computed = await walk(trie, pick)
        assert text == str(tokens)
        assert computed == len(asked) <= len(tokens) + 1
