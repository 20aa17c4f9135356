"""Packing loses nothing and doubles nothing, no document is in two parts, perplexity is what its definition says."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from prentice.errors import TrainingError
from prentice.records.documents import Document
from prentice.training.cpt.corpus import parts
from prentice.training.cpt.packing import Spelling, Written, pack, spelling_of, windows
from prentice.training.cpt.perplexity import Measured
from prentice.training.items import Item
from tiny_models import write_tiny_llama

PLAIN = Spelling(None, (), 0, 512, Path("docs"))
BEGUN = Spelling(None, (1,), 0, 512, Path("docs"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def tokens(rows: Sequence[Item]) -> list[tuple[int, ...]]:
    return [item.row.tokens for item in rows]


def test_documents_follow_each_other_in_rows_of_one_length() -> None:
    rows = pack([Written("a", (11, 12, 13)), Written("b", (21, 22))], PLAIN, 4)
    # the stream: 0 | 11 12 13 0 | 21 22 0; a row begins with the last token of the one before
    assert [(item.row.prompt, item.row.reply) for item in rows] == [
        ((0,), (11, 12, 13)),
        ((13,), (0, 21, 22)),
        ((22,), (0,)),
    ]
    assert [item.id for item in rows] == ["a (from token 0)", "a (from token 2)", "b (from token 1)"]


def test_a_base_with_a_begin_token_sees_it_before_every_document() -> None:
    rows = pack([Written("a", (11, 12)), Written("b", (21,))], BEGUN, 8)
    assert tokens(rows) == [(1, 11, 12, 0, 1, 21, 0)]
    (first,), (second,) = windows([Written("a", (11, 12)), Written("b", (21,))], BEGUN, 8)
    assert [first.row.tokens, second.row.tokens] == [(1, 11, 12), (1, 21)]


def test_a_measured_document_is_predicted_token_by_token_and_its_end_is_not() -> None:
    (rows,) = windows([Written("a", (11, 12, 13, 14))], PLAIN, 3)
    assert [(item.row.prompt, item.row.reply) for item in rows] == [((0,), (11, 12)), ((12,), (13, 14))]


DOCUMENTS = st.lists(st.lists(st.integers(2, 99), min_size=1, max_size=9).map(tuple), min_size=1, max_size=9)


@given(DOCUMENTS, st.integers(2, 12), st.sampled_from([PLAIN, BEGUN]))
def test_every_token_is_predicted_once_and_only_the_last_row_is_shorter(
    documents: list[tuple[int, ...]], length: int, spelling: Spelling
) -> None:
    rows = pack([Written(f"d{n}", ids) for n, ids in enumerate(documents)], spelling, length)
    stream = list(chain(*([*spelling.begin, *ids, spelling.end] for ids in documents)))
    predicted = list(chain(*(item.row.reply for item in rows)))
    assert predicted == (stream[1:] if spelling.begin else stream)
    assert [len(item.row.tokens) for item in rows[:-1]] == [length] * (len(rows) - 1)
    assert 2 <= len(rows[-1].row.tokens) <= length
    for one, other in pairwise(rows):
        assert one.row.tokens[-1:] == other.row.prompt


@given(DOCUMENTS, st.integers(2, 12))
def test_a_row_is_named_by_the_document_and_token_that_it_begins_with(
    documents: list[tuple[int, ...]], length: int
) -> None:
    written = [Written(f"d{n}", tuple(100 * n + place for place in range(len(ids)))) for n, ids in enumerate(documents)]
    for item in pack(written, Spelling(None, (), -1, 0, Path()), length)[1:]:
        document, place = item.id.removesuffix(")").split(" (from token ")
        first = item.row.prompt[0]
        assert first in {-1, 100 * int(document[1:]) + int(place)}


def test_what_looks_like_a_special_token_in_a_document_is_text(base: Path) -> None:
    spelling = spelling_of(AutoTokenizer.from_pretrained(base), 512, Path("docs"))
    ids = spelling.write(Document(id="a", text="one<|endoftext|>two<|im_end|>")).ids
    special = {spelling.tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", "<|im_end|>")}
    assert spelling.end in special
    assert not special & set(ids)
    assert spelling.tokenizer.decode(ids) == "one<|endoftext|>two<|im_end|>"


def test_a_text_ends_as_in_pretraining_and_begins_as_its_tokenizer_begins_it(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert (tokenizer.eos_token, spelling_of(tokenizer, 512, Path()).end) == ("<|im_end|>", 0)
    assert tokenizer.convert_ids_to_tokens(0) == "<|endoftext|>"
    assert spelling_of(tokenizer, 512, Path()).opening == (0,)
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", pair="<|im_start|> $A $B", special_tokens=[("<|im_start|>", begin)]
    )
    assert spelling_of(tokenizer, 512, Path()).opening == (begin,)


def test_a_tokenizer_of_another_model_is_named(base: Path) -> None:
    spelling = spelling_of(AutoTokenizer.from_pretrained(base), 40, Path("docs"))
    with pytest.raises(TrainingError, match=r"docs: document a: token \d+ is outside the model's vocabulary of 40"):
        spelling.write(Document(id="a", text="Überweisung"))


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40, unique=True)


def made(texts: Sequence[str]) -> list[Document]:
    return [Document(id=text, text=text) for text in texts]


@given(NAMES, st.floats(0, 0.5))
def test_no_document_is_in_two_parts_and_none_is_lost(texts: list[str], share: float) -> None:
    split = parts(made(texts), share)
    found = [d.id for d in (*split.train, *split.val, *split.test)]
    assert sorted(found) == sorted(texts)
    assert split.train
    assert bool(split.val) == bool(split.test) == (share > 0 and len(texts) > 2)


def test_the_share_is_held_out_in_two_halves() -> None:
    split = parts(made([f"text {n}" for n in range(2000)]), 0.2)
    # 200 ± 4.5 standard deviations of a binomial
    assert 140 < len(split.val) < 260
    assert 140 < len(split.test) < 260


def test_more_documents_move_none_into_or_out_of_training() -> None:
    few, many = (parts(made([f"text {n}" for n in range(count)]), 0.2) for count in (100, 400))
    for name in ("train", "val", "test"):
        before, after = ({d.id for d in getattr(each, name)} for each in (few, many))
        assert before < after, name


def test_perplexity_by_hand() -> None:
    # 3 tokens at 1/4 each, then at 1/2; one token at 1/2, then at 1/4
    measured = Measured([3, 1], [3 * math.log(1 / 4), math.log(1 / 2)], [3 * math.log(1 / 2), math.log(1 / 4)])
    figures = measured.figures()
    # nats per token: (3 ln 4 + ln 2) / 4 = 7/4 ln 2, then (3 ln 2 + ln 4) / 4 = 5/4 ln 2
    assert figures["perplexity_before"] == pytest.approx(2 ** (7 / 4))
    assert figures["perplexity_after"] == pytest.approx(2 ** (5 / 4))
    assert figures["perplexity_ratio"] == pytest.approx(2 ** (-1 / 2))
    # a sample has the first document only (ratio 1/2), the second only (2), or both
    assert figures["perplexity_ratio_low"] == pytest.approx(1 / 2)
    assert figures["perplexity_ratio_high"] == pytest.approx(2)
    assert (figures["documents"], figures["tokens"]) == (2, 4)


def test_the_interval_of_the_ratio_holds_the_truth_about_as_often_as_it_says() -> None:
    chance, held = random.Random(1), 0
    for _ in range(60):
        gains = [chance.gauss(0.3, 0.2) for _ in range(40)]
        sizes = [chance.randrange(50, 150) for _ in gains]
        after = [gain * size for gain, size in zip(gains, sizes, strict=True)]
        found = Measured(sizes, [0.0] * 40, after).figures()
        held += found["perplexity_ratio_low"] <= math.exp(-0.3) <= found["perplexity_ratio_high"]
    assert held >= 51  # of 57 that are expected; fewer than 51 come in 1 of 100 such trials
