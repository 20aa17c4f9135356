"""Feedback and recorded calls: they join episodes that are stored, each once, at once or weeks later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prentice.records import Call, Demonstration, Episode, Failure, Feedback, Message, Reply, Request, Turn
from prentice.records.filters import Filter
from prentice.records.jsonl import read_episodes, write_episodes
from prentice.records.store import Store
from records_examples import exact, example

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def said(episode: Episode, id_: str, name: str = "success", value: Any = True, **fields: Any) -> Feedback:
    """Feedback on `episode`."""
    return Feedback(id=id_, episode=episode.id, name=name, value=value, at=NOW, **fields)


def shown(episode: Episode, id_: str, text: str, **fields: Any) -> Feedback:
    """A demonstration for `episode`."""
    message = Message(role="assistant", content=text)
    return Feedback(
        id=id_, episode=episode.id, name="demonstration", demonstration=message, at=NOW, author="ann", **fields
    )


def test_feedback_becomes_a_metric_of_its_episode_and_the_last_word_counts(place: str | Path) -> None:
    one, other = example("one"), example("other")
    with Store.open(place) as store:
        store.add([one, other])
        assert store.add_feedback([said(one, "f1", value=False), said(one, "f2", "comment", "too curt")]).new == 2
        read = next(e for e in store.episodes() if e.id == one.id)
        assert read.metric("success") is False
        assert read.metric("comment") == "too curt"
        assert [m.source for m in read.metrics] == ["environment", "person", "person"]
        assert store.count(Filter.parse(["success=true"])) == 1
        assert store.count(Filter.parse(["success=false"])) == 1
        assert store.summaries(Filter(id=one.id))[0].metrics["success"] is False


def test_a_demonstration_is_of_the_last_turn_where_none_is_named(place: str | Path) -> None:
    episode = example("one")
    with Store.open(place) as store:
        store.add([episode])
        assert store.add_feedback([shown(episode, "d", "card_lost")]).new == 1
        read = next(store.episodes())
        message = Message(role="assistant", content="card_lost")
        assert read.demonstrations == (Demonstration(turn=0, message=message, author="ann", at=NOW),)


def test_the_same_feedback_twice_is_stored_once_and_other_content_under_its_id_is_refused(place: str | Path) -> None:
    episode = example("one")
    with Store.open(place) as store:
        store.add([episode])
        feedback = [said(episode, "f"), shown(episode, "d", "better")]
        assert store.add_feedback(feedback).new == 2
        again = store.add_feedback([each.model_copy(update={"at": NOW + timedelta(days=1)}) for each in feedback])
        assert (again.new, again.known, again.refused) == (0, 2, ())
        wrong = store.add_feedback([said(episode, "f", value=False), said(episode, "g")])
        assert [(each.feedback, each.reason) for each in wrong.refused] == [("f", "other content")]
        assert wrong.new == 1


def test_feedback_on_what_is_not_there_is_named_and_hinders_nothing_else(place: str | Path) -> None:
    episode = example("one")
    with Store.open(place) as store:
        store.add([episode])
        outcome = store.add_feedback(
            [said(example("none"), "a"), said(episode, "b", turn=1), said(episode, "c", turn=0), said(episode, "d")]
        )
        assert [(each.feedback, each.reason) for each in outcome.refused] == [
            ("a", "unknown episode"),
            ("b", "unknown turn"),
        ]
        assert "has 1 turns" in outcome.refused[1].message
        assert outcome.new == 2


def test_feedback_that_is_taken_back_leaves_no_trace(place: str | Path) -> None:
    episode = example("one")
    with Store.open(place) as store:
        store.add([episode])
        given_in = [said(episode, "a", value=False), shown(episode, "b", "x"), said(episode, "c", "comment", "hm")]
        store.add_feedback(given_in)
        assert store.feedback(["a", "b", "c"])[0::2] == given_in[0::2]
        assert store.remove_feedback(["a", "b"]) == 2
        assert store.feedback_on([episode.id]) == given_in[2:]
        read = next(store.episodes())
        assert (read.metric("success"), read.metric("comment"), read.demonstrations) == (True, "hm", ())
        assert store.add_feedback(given_in[:1]).new == 1


def test_feedback_is_found_by_episode_and_author_and_ids_come_newest_first(place: str | Path) -> None:
    one, other = example("one"), example("other", run="run-2")
    with Store.open(place) as store:
        store.add([one, other])
        store.add_feedback([said(one, "a", author="ann"), shown(other, "b", "x"), said(other, "c", author="bea")])
        assert [each.id for each in store.feedback_where()] == ["a", "b", "c"]
        assert [each.id for each in store.feedback_where(author="ann")] == ["a", "b"]
        assert [each.id for each in store.feedback_where(Filter(run="run-2"), author="bea")] == ["c"]
        assert store.newest() == [other.id, one.id]
        assert store.newest(Filter(run="run-1")) == [one.id]
        assert [each.id for each in store.these([one.id, "none", other.id])] == [one.id, other.id]
        assert next(store.these([other.id])).demonstrations[0].message.content == "x"


def test_deleting_an_episode_takes_its_feedback_with_it(place: str | Path) -> None:
    episode = example("one")
    with Store.open(place) as store:
        store.add([episode])
        store.add_feedback([said(episode, "a"), shown(episode, "b", "x")])
        assert store.delete(Filter(id=episode.id)) == 1
        assert store.feedback(["a", "b"]) == []
        store.add([episode])
        assert store.add_feedback([said(episode, "a")]).new == 1


def test_an_export_with_demonstrations_and_extras_reads_back_equal(place: str | Path, tmp_path: Path) -> None:
    episode = example("one", extra={"user": "u-1", "nested": {"a": [1, None]}})
    episode = episode.model_copy(
        update={"turns": tuple(t.model_copy(update={"extra": {"temperature": 0.5}}) for t in episode.turns)}
    )
    with Store.open(place) as store:
        store.add([episode])
        store.add_feedback([shown(episode, "a", "x"), said(episode, "b", value=0.5, turn=0, name="rating")])
        read = list(store.episodes())
    assert (read[0].extra, read[0].turns[0].extra) == (episode.extra, {"temperature": 0.5})
    write_episodes(tmp_path / "out.jsonl", read)
    with Store.open(tmp_path / "copy.db") as copy:
        copy.add(read_episodes(tmp_path / "out.jsonl"))
        assert [exact(e) for e in copy.episodes()] == [exact(e) for e in read]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"value": None}, "either a value or a demonstration"),
        ({"value": True, "demonstration": Message(role="assistant", content="x")}, "either a value or a demonstration"),
        ({"value": None, "demonstration": Message(role="user", content="x")}, "not of role 'user'"),
        ({"value": "x" * 100_001}, "100,001 characters"),
        ({"value": float("nan")}, "finite"),
        ({"id": ""}, "at least 1 character"),
        ({"turn": -1}, "greater than or equal to 0"),
        ({"at": datetime(2026, 1, 1)}, "timezone"),
    ],
)
def test_feedback_that_says_nothing_clear_is_refused(fields: dict[str, Any], problem: str) -> None:
    about = {"id": "f", "episode": "e", "name": "success", "value": True, "at": NOW}
    with pytest.raises(ValidationError, match=problem):
        Feedback.model_validate(about | fields)


def call(id_: str, episode: str, *texts: str, **fields: Any) -> Call:
    """A recorded call: all texts but the last were asked, the last is the reply."""
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[n % 2], content=text) for n, text in enumerate(texts))
    reply = Reply(message=messages[-1], model="m", cost_usd=0.25)
    turn = Turn(request=Request(function="chat", messages=messages[:-1]), reply=reply, extra={"temperature": 1.0})
    about = {"run": "record", "task": "t", "case": episode, "policy": "openai:m", "at": NOW, "turn": turn}
    return Call(id=id_, episode=episode, **(about | fields))


def test_calls_of_one_episode_become_its_turns_in_the_order_they_came(place: str | Path) -> None:
    long = "word " * 200
    with Store.open(place) as store:
        assert store.add_calls([call("1", "e", long, "b"), call("2", "f", "x", "y")]) == 2
        assert (
            store.add_calls([call("3", "e", long, "b", "c", "d"), call("4", "e", long, "b", "c", "d", "e", "f")]) == 2
        )
        read = {episode.id: episode for episode in store.episodes()}
    assert [turn.reply.text for turn in read["e"].turns] == ["b", "d", "f"]
    assert [m.content for m in read["e"].turns[2].request.messages] == [long, "b", "c", "d", "e"]
    assert read["e"].turns[1].extra == {"temperature": 1.0}
    assert len(read["f"].turns) == 1


def test_a_call_that_comes_again_is_stored_once(place: str | Path) -> None:
    calls = [call("1", "e", "a", "b"), call("2", "e", "a", "b", "c", "d")]
    with Store.open(place) as store:
        assert store.add_calls([*calls, *calls]) == 2
        assert store.add_calls(calls) == 0
        assert [len(episode.turns) for episode in store.episodes()] == [2]


def test_a_failed_call_is_a_failure_of_its_episode_until_one_succeeds(place: str | Path) -> None:
    failure = Failure(where="model", message="503")
    with Store.open(place) as store:
        store.add_calls([call("1", "e", "a", "b", turn=None, failure=failure)])
        assert [(episode.failure, episode.turns) for episode in store.episodes()] == [(failure, ())]
        store.add_calls([call("2", "e", "a", "b")])
        assert [(episode.failure, len(episode.turns)) for episode in store.episodes()] == [(None, 1)]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=12), st.integers(1, 4))
def test_however_calls_are_batched_and_repeated_the_store_holds_each_once(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int]], size: int
) -> None:
    calls = [call(f"{number}-{episode}", f"e{episode}", "a", f"reply {number}") for number, episode in drawn]
    with Store.open(tmp_path_factory.mktemp("s") / "store.db") as store:
        for start in range(0, len(calls), size):
            store.add_calls(calls[start : start + size])
        found = {e.id: [turn.reply.text for turn in e.turns] for e in store.episodes()}
    wanted: dict[str, dict[str, None]] = {}
    for each in calls:
        assert each.turn is not None
        wanted.setdefault(each.episode, {})[each.turn.reply.text] = None
    assert found == {episode: list(texts) for episode, texts in wanted.items()}
