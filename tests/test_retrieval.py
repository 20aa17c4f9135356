"""Passages on disk, and full-text search over them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prentice.errors import DataError, UnknownNameError
from prentice.retrieval import ENGINES, Passage, read_passages
from prentice.retrieval.bm25 import BM25, words_of

CORPUS = [
    Passage(id="a", title="Shirley Temple", text="She was Chief of Protocol of the United States."),
    Passage(id="b", title="Kiss and Tell", text="A film with Shirley Temple as Corliss Archer."),
    Passage(id="c", title="Protocol", text="A protocol is a set of rules."),
    Passage(id="d", title="", text="王小明去了北京"),
    Passage(id="e", title="เชียงใหม่", text="เมืองใน ประเทศไทย"),
    Passage(id="f", title="القاهرة", text="عاصمة مصر"),
    Passage(id="g", title="🚀", text="Emoji only names this 🚀 rocket"),
]
ENGINE = BM25(CORPUS)


def ids(query: str, count: int = 10, without: tuple[str, ...] = ()) -> list[str]:
    """What a query finds."""
    return [passage.id for passage in ENGINE.search(query, count, without)]


def test_what_names_both_words_comes_first_and_what_names_none_not_at_all() -> None:
    assert ids("Shirley Temple protocol")[0] == "a"
    assert set(ids("Shirley Temple protocol")) == {"a", "b", "c"}
    assert ids("Shirley Temple protocol", count=1) == ["a"]
    assert ids("Shirley Temple protocol", without=("a",))[0] == "b"


def test_a_word_that_a_query_repeats_counts_once() -> None:
    # a holds all three words, c the repeated one twice
    assert ids("protocol protocol Protocol protocol Shirley Temple") == ids("protocol Shirley Temple")
    assert ids("protocol protocol Protocol protocol Shirley Temple")[0] == "a"


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "!?", "🦄"])
def test_a_query_of_which_nothing_is_known_finds_nothing(query: str) -> None:
    assert ids(query) == []


@pytest.mark.parametrize(("query", "found"), [("北京", "d"), ("เชียงใหม่", "e"), ("مصر", "f"), ("ROCKET", "g")])
def test_other_scripts_are_found(query: str, found: str) -> None:
    assert ids(query) == [found]


@given(st.text(max_size=40))
def test_any_query_is_answered_without_repeating_a_passage(query: str) -> None:
    found = ids(query)
    assert len(found) == len(set(found)) <= len(CORPUS)


def test_function_words_are_left_out_and_unspaced_scripts_are_cut_in_pairs() -> None:
    assert words_of("The Chief of Protocol") == ["chief", "protocol"]
    assert words_of("北京市") == ["北京", "京市"]
    assert words_of("市") == ["市"]


def test_marks_belong_to_the_word_that_they_stand_in() -> None:
    assert words_of("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert words_of("שָׁלוֹם") == ["שָׁלוֹם"]


def test_a_corpus_without_a_word_to_search_for_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 2 passages holds a word"):
        BM25([Passage(id="a", title="The", text="of"), Passage(id="b", title="🚀", text="!?")])


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bm25'"):
        ENGINES.load("bm52")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.jsonl", "", "c.jsonl: no passages"),
        ("c.csv", "id,title,text\n", "c.csv: no passages"),
        ("c.jsonl", "{", "c.jsonl:1: not valid JSON"),
        ("c.jsonl", "[]", "c.jsonl:1: not a JSON object"),
        ("c.jsonl", '{"text": "x"}', "c.jsonl:1: the passage has no id"),
        ("c.jsonl", '{"id": "a", "text": " "}', "c.jsonl:1: the text of passage 'a' is empty"),
        ("c.jsonl", '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "c.jsonl:2: id 'a' occurred in line 1"),
        ("c.txt", "x", "a corpus comes as"),
        ("c.jsonl", b"\xff", "c.jsonl: cannot be read"),
        ("c.jsonl.gz", b"no gzip", "c.jsonl.gz: Not a gzipped file"),
        ("c.jsonl.gz", gzip.compress(b'{"id": "a", "text": "x"}', mtime=0)[:20], "c.jsonl.gz: cannot be read"),
    ],
)
def test_a_corpus_that_cannot_be_read_names_the_line(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_passages(tmp_path / name)
    assert message in str(caught.value)


def test_a_corpus_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.jsonl: No such file"):
        read_passages(tmp_path / "gone.jsonl")
    (tmp_path / "c.csv").write_text("id,title,text\n7,T,x\n")
    assert read_passages(tmp_path / "c.csv") == (Passage(id="7", title="T", text="x"),)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "text": "x"}'))
    assert read_passages(tmp_path / "c.jsonl.gz") == (Passage(id="a", text="x"),)
