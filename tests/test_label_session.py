"""Going through episodes without a terminal: whatever is done, a new session knows it, and all of it can be undone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prentice.errors import DataError
from prentice.records import Episode, Message, Reply, Request, Turn
from prentice.records.filters import Filter
from prentice.records.labelling.session import Session
from prentice.records.labelling.words import Words
from prentice.records.store import Store
from records_examples import example


def talk(case: str, turns: int) -> Episode:
    made = tuple(
        Turn(
            request=Request(function="f", messages=(Message(role="user", content=f"{case} {n}"),)),
            reply=Reply(message=Message(role="assistant", content=f"reply {n}"), model="m"),
        )
        for n in range(turns)
    )
    return example(case, turns=made, metrics=())


EPISODES = [talk("one", 1), talk("three", 3), talk("other", 1), talk("none", 0), talk("two", 2)]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's file with the episodes in it, to copy."""
    path = tmp_path_factory.mktemp("labelled") / "store.db"
    with Store.open(path) as store:
        store.add(EPISODES)
    return path


def act(session: Session, what: str) -> None:
    """One thing that a person may do; at the end only what is possible there."""
    if session.words is None and what != "undo":
        return
    match what:
        case "accept" | "reject":
            session.judge(accept=what == "accept")
        case "toggle":
            session.toggle()
        case "skip":
            session.skip()
        case "undo":
            session.undo()
        case "back" | "forth":
            session.move(1 if what == "forth" else -1)
        case "comment":
            session.comment("hm")
        case _ if session.words is not None and session.words.episode.turns:
            session.correct(what)


acts = st.sampled_from(["accept", "reject", "toggle", "skip", "undo", "back", "forth", "comment", "reply 0", "better"])


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(acts, max_size=10))
def test_a_new_session_knows_all_that_was_done_and_undo_takes_all_of_it_back(
    labelled: Path, tmp_path_factory: pytest.TempPathFactory, done: list[str]
) -> None:
    with Store.open(shutil.copy(labelled, tmp_path_factory.mktemp("s"))) as store:
        ids = store.newest()
        session = Session(store, ids, "ann")
        for what in done:
            act(session, what)
        later = Session(store, ids, "ann")
        assert later.tally == session.tally
        by_hand = {
            e.id: Words(e, store.feedback_on([e.id])).state for e in store.episodes() if store.feedback_on([e.id])
        }
        assert later.tally.judged == sum(state != "open" for state in by_hand.values())
        if later.words is not None:
            assert by_hand.get(later.words.episode.id, "open") == "open"
        while later.undo():
            pass
        assert store.feedback_where() == []
        assert later.tally.judged == 0


def test_undo_of_an_acceptance_brings_the_correction_before_it_back(labelled: Path, tmp_path: Path) -> None:
    with Store.open(shutil.copy(labelled, tmp_path)) as store:
        one = EPISODES[0].id

        def last() -> str:
            return next(e for e in store.episodes() if e.id == one).demonstrations[-1].message.content

        Session(store, [one], "ann").correct("better")
        Session(store, [one], "ann", again=True).judge(accept=True)
        assert last() == "reply 0"  # it was right after all, and is what is learnt
        Session(store, [one], "ann").undo()
        assert last() == "better"


def test_each_person_judges_all_and_no_one_takes_back_anothers_word(labelled: Path, tmp_path: Path) -> None:
    with Store.open(shutil.copy(labelled, tmp_path)) as store:
        ids = store.newest()
        Session(store, ids, "ann").judge(accept=True)
        other = Session(store, ids, "bea")
        assert other.tally.judged == 0
        assert other.undo() == []
        other.judge(accept=False)
        assert [(each.author, each.value) for each in store.feedback_where()] == [("ann", True), ("bea", False)]


def test_an_episode_that_is_deleted_meanwhile_is_passed_over_or_named(labelled: Path, tmp_path: Path) -> None:
    with Store.open(shutil.copy(labelled, tmp_path)) as store:
        ids = [EPISODES[0].id, EPISODES[1].id, EPISODES[2].id]
        session = Session(store, ids, "ann")
        store.delete(Filter(id=ids[0]))
        with pytest.raises(DataError, match="no episode"):
            session.judge(accept=True)
        store.delete(Filter(id=ids[1]))
        session.skip()
        assert session.words is not None
        assert session.words.episode.id == ids[2]
