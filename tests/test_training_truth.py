"""What a run is about to teach is shown before it starts, and a row that would teach something else is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prentice.errors import TrainingError
from prentice.records import Example, Message, ToolCall
from prentice.training.check import CheckedRow
from prentice.training.config import SFTConfig
from prentice.training.forest import plant
from prentice.training.start import open_checker
from prentice.training.truth import HEAD, TAIL, Alike, Lengths, Sharing, Truth, look
from tiny_models import write_tiny_llama
from training_models import examples

WHERE = Path("rows.parquet")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def checked(base: Path, *rows: Example) -> list[CheckedRow]:
    return open_checker(512, WHERE, base).check(rows)


def history(*messages: Message) -> Example:
    return examples(1)[0].model_copy(update={"messages": (Message(role="user", content="Where is it?"), *messages)})


def calls(*ids: str) -> Message:
    return Message(role="assistant", tool_calls=tuple(ToolCall(id=i, name="find", arguments="{}") for i in ids))


def result(of: str | None) -> Message:
    return Message(role="tool", content="in transit", tool_call_id=of)


def test_a_history_whose_calls_all_have_their_results_is_trained_on(base: Path) -> None:
    (row,) = checked(base, history(calls("a", "b"), result("b"), result("a"), calls("a"), result("a")))
    assert row.prompt.count("in transit") == 3


def test_results_without_ids_answer_the_calls_in_their_order(base: Path) -> None:
    assert checked(base, history(calls("a", "b"), result(None), result(None)))


@pytest.mark.parametrize(
    "messages",
    [(calls("a", "b"), result("a")), (calls("a", "b"), result("a"), Message(role="user", content="And now?"))],
    ids=["before the reply", "before the user goes on"],
)
def test_a_tool_call_whose_result_is_missing_stops_the_run(base: Path, messages: tuple[Message, ...]) -> None:
    with pytest.raises(TrainingError, match=r"rows\.parquet: row row0: its tool call 'b' has no result"):
        checked(base, history(*messages))


@pytest.mark.parametrize(
    "messages",
    [(calls("a"), result("a"), result("a")), (calls("a"), result("x")), (result("a"),), (result(None),)],
    ids=["answered twice", "another id", "no call at all", "no call and no id"],
)
def test_a_tool_message_that_answers_no_call_stops_the_run(base: Path, messages: tuple[Message, ...]) -> None:
    with pytest.raises(TrainingError, match=r"row row0: a tool message answers .*, which no call asked for"):
        checked(base, history(*messages))


def test_a_chat_template_that_drops_the_system_message_stops_the_run(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path)
    template = base / "chat_template.jinja"
    kept = "{% for m in messages if m.role != 'system' %}"
    template.write_text(template.read_text(encoding="utf-8").replace("{% for m in messages %}", kept), encoding="utf-8")
    with pytest.raises(TrainingError, match="row row0: the chat template drops the system message"):
        checked(base, *examples(1))
    assert checked(base, history())


def test_a_chat_template_that_trims_the_system_message_keeps_it(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path)
    template = base / "chat_template.jinja"
    trimmed = template.read_text(encoding="utf-8").replace("m.content", "m.content | trim")
    template.write_text(trimmed, encoding="utf-8")
    assert checked(base, *examples(1, system="\n Which intent? \n"))


def changed(row: Example, **update: Any) -> Example:
    return row.model_copy(update=update)


def looked(base: Path, rows: Sequence[Example], config: SFTConfig | None = None) -> Truth:
    config = config or SFTConfig(max_tokens=120)
    return look(open_checker(config.max_tokens, WHERE, base), rows, config)


def test_what_a_sound_dataset_teaches_is_counted(base: Path) -> None:
    rows = examples(8, val=2)
    truth = looked(base, rows)
    tokens = [row.row for row in checked(base, *rows)]
    assert (truth.rows, truth.splits, truth.faults) == (8, {"train": 6, "val": 2}, ())
    assert truth.tokens == sum(len(row.tokens) for row in tokens)
    assert truth.supervised == sum(len(row.reply) for row in tokens)
    assert truth.stops == {"<|im_end|>": 8}
    longest = max(range(8), key=lambda i: len(tokens[i].tokens))
    assert truth.lengths == Lengths(len(tokens[longest].tokens), f"row{longest}", 120, 0)
    assert not truth.compared
    assert (truth.repeated, truth.leaked, truth.contradicting) == (Alike(), Alike(), Alike())


def test_what_sharing_saves_is_what_the_engine_computes(base: Path) -> None:
    rows = examples(8)
    truth = looked(base, rows, SFTConfig(batch=8))
    planted = [row.row for row in checked(base, *rows)]
    assert truth.sharing == Sharing(len(plant(planted).ids), sum(len(row.tokens) - 1 for row in planted), 8)
    alone = looked(base, rows, SFTConfig(batch=1)).sharing
    assert alone is not None
    assert alone.computed == alone.plain


def test_every_row_at_fault_is_named_and_not_only_the_first(base: Path) -> None:
    rows = examples(9)
    rows[1] = changed(rows[1], reply=Message(role="assistant", content=" "))
    rows[2] = changed(rows[2], reply=Message(role="user", content="card arrival"))
    rows[3] = changed(rows[3], messages=(Message(role="user", content="long " * 90),))
    rows[4] = changed(rows[4], messages=history(calls("a")).messages)
    rows[5] = changed(rows[5], messages=history(result("a")).messages)
    rows[6] = changed(rows[6], messages=(Message(role="user", content="longer " * 90),))
    truth = looked(base, rows)
    assert [(fault.row, fault.kind) for fault in truth.faults] == [
        ("row1", "its reply is empty, so nothing in it is supervised"),
        ("row2", "its reply has the role 'user', so nothing in it is supervised"),
        ("row3", "it is longer than max_tokens"),
        ("row4", "a tool call has no result"),
        ("row5", "a tool message answers no call"),
        ("row6", "it is longer than max_tokens"),
    ]
    assert truth.lengths.too_long == 2
    assert truth.lengths.row == "row6"
    assert truth.lengths.longest > 120
    assert truth.tokens == sum(len(row.row.tokens) for row in checked(base, rows[0], rows[7], rows[8]))


def test_what_training_refuses_and_what_the_check_finds_is_the_same(base: Path) -> None:
    rows = examples(4)
    rows[2] = changed(rows[2], messages=history(calls("a")).messages)
    with pytest.raises(TrainingError) as refused:
        checked(base, *rows)
    (fault,) = looked(base, rows).faults
    assert refused.value.problem == f"{WHERE}: row {fault.row}: {fault.problem}"


def test_tokens_other_than_the_servers_are_found_in_every_row_that_has_them(base: Path) -> None:
    tokenizer = open_checker(512, WHERE, base).tokenizer

    def serving(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return [*ids, 7] if "twice" in text else ids

    checker = open_checker(512, WHERE, base, serving)
    truth = look(checker, examples(8), SFTConfig())
    assert truth.compared
    # the prompts of two rows and their replies have the word
    assert [fault.row for fault in truth.faults] == ["row3", "row4"]
    assert {fault.kind for fault in truth.faults} == {"trained tokens differ from those the server would see"}


def test_rows_that_repeat_leak_or_contradict_are_counted(base: Path) -> None:
    rows = examples(6, val=1)
    again = changed(rows[0], id="again")
    leaked = changed(rows[1], id="leaked", split="val")
    other = changed(rows[2], id="other", reply=Message(role="assistant", content="exchange rate"))
    truth = looked(base, [*rows, again, leaked, other])
    assert truth.repeated == Alike(2, ("row0", "again"))
    assert truth.leaked == Alike(1, ("leaked",))
    assert truth.contradicting == Alike(2, ("row2", "other"))
    assert truth.faults == ()


def test_a_dataset_without_a_training_row_would_not_start(base: Path) -> None:
    truth = looked(base, examples(3, val=3))
    assert [(fault.row, fault.kind) for fault in truth.faults] == [("", "no row is left to train on")]
    assert truth.sharing is None
    assert looked(base, []).rows == 0


def test_the_rows_shown_are_the_shortest_the_median_and_the_longest(base: Path) -> None:
    rows = examples(8)
    ordered = sorted(checked(base, *rows), key=lambda row: len(row.row.tokens))
    shown = looked(base, rows).samples
    assert [(s.title, s.row) for s in shown] == [
        ("the shortest row", ordered[0].example.id),
        ("the median row", ordered[4].example.id),
        ("the longest row", ordered[-1].example.id),
    ]
    assert shown[0].head == ordered[0].prompt
    assert (shown[0].reply, shown[0].stop) == (ordered[0].reply.removesuffix("<|im_end|>"), "<|im_end|>")
    assert (shown[0].prompt_tokens, shown[0].reply_tokens) == (len(ordered[0].row.prompt), len(ordered[0].row.reply))


def test_a_tool_call_and_a_long_conversation_are_shown_where_there_are_any(base: Path) -> None:
    calling = changed(examples(1)[0], id="calls", reply=calls("a"))
    talking = changed(history(calls("a"), result("a")), id="talks")
    shown = looked(base, [*examples(6), calling, talking], SFTConfig()).samples
    assert {(s.title, s.row) for s in shown} > {
        ("a conversation of many turns", "talks"),
        ("a row that calls a tool", "calls"),
    }
    assert len(shown) == 3
    (reply,) = [s.reply for s in shown if s.row == "calls"]
    assert '"name": "find"' in reply


def test_a_long_prompt_is_cut_in_the_middle_and_the_cut_is_counted(base: Path) -> None:
    row = changed(examples(1)[0], messages=(Message(role="user", content="x1" * 200),))
    (sample,) = looked(base, [row], SFTConfig()).samples
    assert sample.left_out == sample.prompt_tokens - HEAD - TAIL > 100
    assert sample.head.startswith("<|im_start|>user\nx1x1")
    assert sample.tail.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("before", ["", "x"], ids=["even", "odd"])
def test_a_character_that_the_cut_goes_through_is_left_out_whole(base: Path, before: str) -> None:
    # each ů is two tokens of this tokenizer, bytes both: in one of the two cases the cut lies between them
    row = changed(examples(1)[0], messages=(Message(role="user", content=before + "ů" * 200),))
    (sample,) = looked(base, [row], SFTConfig()).samples
    assert "\N{REPLACEMENT CHARACTER}" not in sample.head + sample.tail


def test_many_rows_are_looked_at_in_their_order(base: Path) -> None:
    rows = examples(400)
    bad = {17, 230, 399}
    rows = [changed(r, reply=Message(role="assistant")) if i in bad else r for i, r in enumerate(rows)]
    assert [fault.row for fault in looked(base, rows).faults] == [f"row{i}" for i in sorted(bad)]
