"""Questions that take several searches: what each function is shown, what counts as success, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prentice.config import build
from prentice.errors import ConfigError, DataError
from prentice.models import ScriptedModel
from prentice.models.policy import Policy
from prentice.records import Episode, Request
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks.multihop import MultiHop, MultiHopConfig, answer_f1, normal

PASSAGES = [
    {"id": "kiss", "title": "Kiss and Tell", "text": "A film of 1945 with Shirley Temple as Corliss Archer."},
    {"id": "temple", "title": "Shirley Temple", "text": "She was Chief of Protocol of the United States."},
    {"id": "archer", "title": "Meet Corliss Archer", "text": "A radio program about Corliss Archer."},
    {"id": "rules", "title": "Rules", "text": "Of games."},
]
QUESTION = {
    "id": "q1",
    "split": "test",
    "question": "Which position held who played Corliss Archer in Kiss and Tell?",
    "answer": "Chief of Protocol",
    "answer_aliases": ["U.S. Chief of Protocol"],
    "supporting_ids": ["kiss", "temple"],
}
SCRIPTS = ["ใครเขียน หนังสือ นี้", "谁写了这本书？", "من كتب هذا الكتاب؟", "Who 🚀 wrote 📕 it?"]


def task(
    folder: Path, questions: list[dict[str, Any]] | None = None, corpus: list[dict[str, Any]] | None = None, **more: Any
) -> MultiHop:
    """A task on a small corpus."""
    for name, rows in (("corpus", PASSAGES if corpus is None else corpus), ("questions", questions or [QUESTION])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    section = {"kind": "multihop", "corpus": "corpus.jsonl", "questions": "questions.jsonl", "passages": 1} | more
    return MultiHop(build(MultiHopConfig, section, "[task]"), folder)


def played(one: MultiHop, policy: Policy, folder: Path) -> list[Episode]:
    """Its episodes on the held-out questions."""
    with Store.open(folder / "store.db") as store:
        run = play_all(one, policy, one.cases("test"), store, RolloutConfig())
        return list(store.episodes(run=run))


def notes(text: str, answer: str = "") -> str:
    """A reply of the function `notes`."""
    return json.dumps({"notes": text, "answer": answer})


def test_worked_examples_are_turns_of_the_chat_that_the_student_is_not_shown(tmp_path: Path) -> None:
    told = {
        "instructions": "Search.",
        "student_instructions": "Query.",
        "examples": [{"asked": "Q?", "reply": "words"}],
    }
    one = task(tmp_path, query=told)
    inputs: dict[str, JsonValue] = {"question": "Who?", "searched": [], "notes": ""}
    asked = "Question: Who?\nNotes: none"
    for audience, texts in (
        ("teacher", ["Search.", "Q?", "words", asked]),
        ("student", ["Query.", asked]),
    ):
        request = one.render("query", inputs, audience)  # type: ignore[arg-type]
        assert [message.content for message in request.messages] == texts


def test_a_search_led_by_what_was_found_before_finds_all_gold_passages(tmp_path: Path) -> None:
    replies = [
        "Kiss and Tell film",
        notes("Shirley Temple played her."),
        "Shirley Temple",
        notes("x", "the chief of protocol"),
    ]
    (episode,) = played(task(tmp_path), ScriptedModel(replies), tmp_path)
    values = {metric.name: metric.value for metric in episode.metrics}
    assert values == {
        "success": True,
        "recall": 1.0,
        "gold": 2.0,
        "gold_found": 2.0,
        "answer_exact": True,
        "answer_f1": 1.0,
        "valid_notes": 1.0,
        "empty_queries": 0.0,
        "repeated_queries": 0.0,
        "question_enough": False,
    }
    assert [turn.request.function for turn in episode.turns] == ["query", "notes", "query", "notes"]
    assert episode.turns[2].request.messages[-1].content == (
        f"Question: {QUESTION['question']}\nNotes: Shirley Temple played her.\nSearched for: Kiss and Tell film"
    )
    assert (
        episode.turns[3]
        .request.messages[-1]
        .content.endswith(
            "Searched for: Kiss and Tell film; Shirley Temple\n"
            "[Shirley Temple] She was Chief of Protocol of the United States."
        )
    )


def test_a_passage_is_not_found_twice_and_the_question_as_query_gets_its_next_ones(tmp_path: Path) -> None:
    one = task(tmp_path)
    (name,) = one.baselines()
    (episode,) = played(one, one.baselines()[name], tmp_path)
    shown = [turn.request.inputs["passages"] for turn in episode.turns if turn.request.function == "notes"]
    assert [rows[0][0] for rows in shown] == ["Kiss and Tell", "Meet Corliss Archer"]  # type: ignore[index]
    assert episode.metric("success") is False
    assert episode.metric("recall") == 0.5
    assert episode.metric("repeated_queries") == 1


def test_that_the_question_itself_would_have_done_is_said_of_every_episode(tmp_path: Path) -> None:
    rows = [{**QUESTION, "id": "two hops"}, {**QUESTION, "id": "one ranking", "supporting_ids": ["kiss", "archer"]}]
    found = played(task(tmp_path, rows), ScriptedModel(lambda request: notes("zebra")), tmp_path)
    assert {e.case: (e.metric("success"), e.metric("question_enough")) for e in found} == {
        "two hops": (False, False),
        "one ranking": (False, True),
    }


def test_notes_that_are_no_such_object_are_kept_as_they_are_and_counted(tmp_path: Path) -> None:
    replies = ["", "It was   Shirley.", "zebra", notes("", "Chief")]
    (episode,) = played(task(tmp_path), ScriptedModel(replies), tmp_path)
    assert episode.turns[2].request.inputs["notes"] == "It was Shirley."
    assert episode.metric("valid_notes") == 0.5
    assert episode.metric("empty_queries") == 1
    assert episode.metric("answer_exact") is False
    assert episode.metric("answer_f1") == pytest.approx(2 * 1 / (1 + 3))
    assert episode.turns[1].request.messages[-1].content.endswith("Nothing was found.")


def test_the_student_is_told_less_and_the_schema_holds_notes_alone(tmp_path: Path) -> None:
    one = task(tmp_path)
    inputs: dict[str, JsonValue] = {"question": "Q", "searched": [], "notes": "", "passages": []}
    assert one.render("query", inputs, "student").messages[0].content == "Write the next search query."
    assert one.render("query", inputs, "teacher").response_schema is None
    assert one.render("notes", inputs, "student").response_schema is not None


def test_long_passages_are_cut(tmp_path: Path) -> None:
    long = [
        {"id": "kiss", "title": "T", "text": " ".join(f"w{n}" for n in range(50))},
        {"id": "cjk", "text": "京" * 500},
    ]
    one = task(tmp_path, [{**QUESTION, "supporting_ids": ["kiss"]}], long, passage_words=5, hops=1, passages=2)
    (episode,) = played(one, ScriptedModel(["w3 京京", notes("")]), tmp_path)
    texts = [row[1] for row in episode.turns[1].request.inputs["passages"]]  # type: ignore[index, union-attr]
    assert sorted(map(str, texts)) == ["w0 w1 w2 w3 w4 …", "京" * 10 + " …"]


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus.jsonl: no passages, so nothing can be found"):
        task(tmp_path, corpus=[]).cases("test")


def test_a_gold_passage_that_is_not_in_the_corpus_is_named_with_its_question(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"questions.jsonl:1: question 'q1': its gold passage 'temple' is not in"):
        task(tmp_path, corpus=PASSAGES[:1]).cases("test")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"id": ""}, "questions.jsonl:1: the question has no id"),
        ({"question": " "}, "questions.jsonl:1: question 'q1' is empty"),
        ({"split": "exam"}, "questions.jsonl:1: split 'exam' is not train, val or test"),
        ({"supporting_ids": []}, "questions.jsonl:1: question 'q1' lacks its answer"),
        ({"answer": None}, "questions.jsonl:1: question 'q1' lacks its answer"),
        (
            {"answer": "The?"},
            "questions.jsonl:1: question 'q1': without articles and punctuation the answer 'The?' is empty",
        ),
        ({"answer_aliases": "USA"}, "questions.jsonl:1: question 'q1': answer_aliases is not a list of texts: USA"),
    ],
)
def test_a_question_that_cannot_be_used_is_named(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        task(tmp_path, [{**QUESTION, **wrong}]).cases("test")
    assert message in str(caught.value)


def test_other_scripts_go_through_every_turn(tmp_path: Path) -> None:
    rows = [{**QUESTION, "id": text, "question": text, "answer": text, "supporting_ids": [text]} for text in SCRIPTS]
    corpus = [{"id": text, "title": text, "text": "One of them."} for text in SCRIPTS]
    one = task(tmp_path, rows, [*PASSAGES, *corpus])

    def echo(request: Request) -> str:
        asked = str(request.inputs["question"])
        return asked if request.function == "query" else notes(asked, asked)

    found = played(one, ScriptedModel(echo), tmp_path)
    assert {episode.case for episode in found} == set(SCRIPTS)
    assert all(episode.metric("answer_exact") for episode in found)
    assert all(episode.metric("success") for episode in found)
    for episode in found:
        assert f"Notes: {episode.case}" in episode.turns[2].request.messages[-1].content
        assert f"[{episode.case}]" in episode.turns[1].request.messages[-1].content


def test_answers_are_compared_as_squad_compares_them() -> None:
    assert normal("The  U.S. Chief, of “Protocol”!") == "us chief of protocol"
    assert normal("$5 + a half, C++") == "5 half c"
    assert answer_f1("a cat", "the cat") == 1
    assert answer_f1("", "cat") == 0
    assert answer_f1("the", "a") == 1


@given(st.text(max_size=30), st.text(max_size=30))
def test_f1_is_a_share_and_the_same_both_ways(one: str, other: str) -> None:
    assert 0 <= answer_f1(one, other) == answer_f1(other, one) <= 1


ENGINE = """
class Last:
    def __init__(self, passages):
        self.passages = passages
    def search(self, query, count, without=()):
        return [p for p in reversed(self.passages) if p.id not in without][:count]
"""


def test_a_search_engine_of_ones_own_lies_beside_the_corpus_and_its_code_counts(tmp_path: Path) -> None:
    (tmp_path / "last_first.py").write_text(ENGINE)
    one = task(tmp_path, search="last_first:Last")
    (episode,) = played(one, ScriptedModel(["x", notes(""), "x", notes("")]), tmp_path)
    first = episode.turns[1].request.inputs["passages"]
    assert first == [["Rules", "Of games."]]
    before = one.fingerprint()
    (tmp_path / "last_first.py").write_text(ENGINE + "# changed\n")
    assert one.fingerprint() != before
    with pytest.raises(ConfigError, match="no module named 'nowhere'"):
        task(tmp_path, search="nowhere:Last")
    (tmp_path / "numbers_only.py").write_text("FIVE = 5\n")
    with pytest.raises(ConfigError, match=r"search = 'numbers_only:FIVE' is not a class"):
        task(tmp_path, search="numbers_only:FIVE")


def test_a_search_engine_that_changes_what_it_is_given_changes_no_score(tmp_path: Path) -> None:
    greedy = ENGINE.replace("Last", "Greedy").replace(
        "        return", "        without |= {'kiss', 'temple'}\n        return", 1
    )
    (tmp_path / "greedy_engine.py").write_text(greedy)
    (episode,) = played(
        task(tmp_path, search="greedy_engine:Greedy"), ScriptedModel(["x", notes(""), "x", notes("")]), tmp_path
    )
    assert episode.metric("gold_found") == 0


def test_ids_may_be_numbers_wherever_they_stand(tmp_path: Path) -> None:
    corpus: list[dict[str, Any]] = [{**PASSAGES[0], "id": 7}, {**PASSAGES[1], "id": 8}, *PASSAGES[2:]]
    one = task(tmp_path, [{**QUESTION, "supporting_ids": [7, "8"]}], corpus)
    (episode,) = played(one, ScriptedModel(["Kiss and Tell", notes(""), "Shirley Temple", notes("")]), tmp_path)
    assert (episode.metric("gold"), episode.metric("success")) == (2, True)


def test_a_file_of_questions_that_is_not_there_names_its_setting(tmp_path: Path) -> None:
    one = task(tmp_path)
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(DataError, match="No such file") as caught:
        one.cases("test")
    assert caught.value.hint == "set [task] questions to a file of questions"


def test_another_corpus_is_another_task(tmp_path: Path) -> None:
    before = task(tmp_path).fingerprint()
    assert task(tmp_path).fingerprint() == before
    assert task(tmp_path, corpus=[*PASSAGES, {"id": "new", "text": "x"}]).fingerprint() != before
