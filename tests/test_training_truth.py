"""What a run is about to teach is shown before it starts, and a row that would teach something else is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from prentice.errors import TrainingError
from prentice.records import Example, Message, ToolCall
from prentice.training.check import CheckedRow
from prentice.training.start import open_checker
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
