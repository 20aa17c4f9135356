"""`/v1/feedback`: what people, judges and programs say of recorded episodes, at once or weeks later."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from openai_server import OpenAIServer, serving
from prentice.pipeline.recording import Recording
from prentice.records import Episode, ToolCall
from prentice.records.store import Store
from prentice.serving.access import Access
from prentice.serving.endpoint import make_app
from prentice.serving.keys import add_key

WEEKS_AGO = "2026-01-02T03:04:05+00:00"


@dataclass
class Desk:
    """An endpoint."""

    url: str
    folder: Path
    headers: dict[str, str]

    def ask(self, episode: str, text: str = "hello") -> None:
        """One recorded call."""
        body = {"model": "echo", "messages": [{"role": "user", "content": text}], "prentice": {"episode": episode}}
        httpx.post(f"{self.url}/chat/completions", json=body, headers=self.headers).raise_for_status()

    def say(self, episode: str, **said: Any) -> httpx.Response:
        """Feedback."""
        return httpx.post(f"{self.url}/feedback", json={"episode": episode, **said}, headers=self.headers)

    def episode(self, name: str) -> Episode:
        """The stored episode of this name."""
        with Store.open(self.folder / ".prentice" / "store.db") as store:
            (found,) = [each for each in store.episodes() if each.tags["episode"] == name]
            return found


@contextmanager
def desk(folder: Path, upstream: str, key: str = "") -> Iterator[Desk]:
    """An endpoint in front of a server."""
    recording = Recording.of(folder, [f'record.upstream="{upstream}"'])
    access = Access(recording.home, "127.0.0.1")
    app = make_app(recording.upstream(own_key=False), recording.recorder("openai"), access, recording.config)
    with serving(app) as url:
        yield Desk(url, folder, {"authorization": f"Bearer {key}"} if key else {})


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A server of OpenAI's form."""
    with serving(OpenAIServer().app) as url:
        yield url


@pytest.fixture(scope="module")
def here(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """An endpoint that all tests share, each with episodes of its own."""
    with desk(tmp_path_factory.mktemp("desk"), upstream) as opened:
        yield opened


def error(answer: httpx.Response) -> tuple[int, str]:
    """Status and message."""
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return answer.status_code, answer.json()["error"]["message"]


def test_feedback_directly_after_a_call_becomes_part_of_its_episode(here: Desk) -> None:
    here.ask("at once")
    stored = [
        here.say("at once", name="success", value=True),
        here.say("at once", name="rating", value=4.5, source="judge"),
        here.say("at once", comment="too curt", turn=0, author="ann"),
    ]
    assert [(answer.status_code, answer.json()["status"]) for answer in stored] == [(200, "stored")] * 3
    episode = here.episode("at once")
    assert [(m.name, m.value, m.source, m.turn) for m in episode.metrics] == [
        ("success", True, "person", None),
        ("rating", 4.5, "judge", None),
        ("comment", "too curt", "person", 0),
    ]
    assert episode.metric("success") is True


def test_a_demonstration_is_a_text_or_a_message_with_tool_calls_of_the_last_turn_or_of_one_that_is_named(
    here: Desk,
) -> None:
    here.ask("shown", "one")
    here.ask("shown", "two")
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": '{"order": "W1"}'}}
    here.say("shown", demonstration="better", author="ann", at=WEEKS_AGO).raise_for_status()
    here.say("shown", demonstration={"content": None, "tool_calls": [call]}, turn=0).raise_for_status()
    last, first = sorted(here.episode("shown").demonstrations, key=lambda shown: -shown.turn)
    assert (last.turn, last.message.content, last.author, last.at.isoformat()) == (1, "better", "ann", WEEKS_AGO)
    assert first.turn == 0
    assert first.message.tool_calls == (ToolCall(id="c", name="look_up", arguments='{"order": "W1"}'),)


def test_feedback_is_idempotent_with_an_id_and_without(here: Desk) -> None:
    here.ask("again")
    for extra in ({}, {"id": "f-again"}):
        answers = [here.say("again", name="success", value=False, **extra).json() for _ in range(3)]
        assert [answer["status"] for answer in answers] == ["stored", "known", "known"]
        assert len({answer["id"] for answer in answers}) == 1
    assert len(here.episode("again").metrics) == 2


def test_other_feedback_under_the_same_id_is_refused_and_changes_nothing(here: Desk) -> None:
    here.ask("mine")
    here.say("mine", name="success", value=True, id="f-mine")
    assert error(here.say("mine", name="success", value=False, id="f-mine"))[0] == 409
    assert here.episode("mine").metric("success") is True


def test_feedback_weeks_later_finds_its_episode_after_a_restart(tmp_path: Path, upstream: str) -> None:
    with desk(tmp_path, upstream) as before:
        before.ask("old")
    with desk(tmp_path, upstream) as after:
        assert after.say("old", name="success", value=True, at=WEEKS_AGO).json()["status"] == "stored"
        assert after.episode("old").metric("success") is True


def test_what_is_not_there_is_404_and_named(here: Desk) -> None:
    here.ask("one turn")
    assert error(here.say("nobody", name="success", value=True)) == (404, "no episode 'nobody' is known")
    status, message = error(here.say("one turn", comment="x", turn=7))
    assert status == 404
    assert "none of number 7" in message


WRONG = [
    ({}, "exactly one of value, comment and demonstration"),
    ({"value": True}, "a value needs a name"),
    ({"name": "x", "value": True, "comment": "y"}, "given: value, comment"),
    ({"name": "x", "value": "good"}, "value"),
    ({"name": "x" * 101, "value": 1}, "name"),
    ({"name": "", "value": 1}, "name"),
    ({"name": "x", "value": 1, "turn": -1}, "turn"),
    ({"name": "x", "value": 1, "turn": 2**31}, "turn"),
    ({"name": "x", "value": 1, "turn": 0.5}, "turn"),
    ({"name": "x", "value": 1, "source": "environment"}, "source"),
    ({"name": "x", "value": 1, "at": "2026-01-02T03:04:05"}, "at"),
    ({"name": "x", "value": 1, "id": ""}, "id"),
    ({"name": "x", "value": 1, "user": "ann"}, "user"),
    ({"comment": ""}, "comment"),
    ({"comment": "x" * 100_001}, "comment"),
    ({"demonstration": 5}, "demonstration"),
    ({"demonstration": {"role": "user", "content": "x"}}, "assistant"),
    ({"demonstration": {"content": "x", "tool_calls": 5}}, "tool_calls"),
]


@pytest.mark.parametrize(("said", "message"), WRONG, ids=[str(said)[:50] for said, _ in WRONG])
def test_feedback_that_is_wrong_is_400_and_names_the_field(here: Desk, said: dict[str, Any], message: str) -> None:
    status, words = error(here.say("any", **said))
    assert status == 400
    assert message in words


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"episode": "x", "name": "y", "value": NaN}', b"\xff"])
def test_feedback_that_is_no_object_is_400(here: Desk, body: bytes) -> None:
    answer = httpx.post(f"{here.url}/feedback", content=body, headers={"content-type": "application/json"})
    assert error(answer)[0] == 400


def test_a_key_gives_feedback_only_if_it_is_for_that(tmp_path: Path, upstream: str) -> None:
    home = tmp_path / ".prentice"
    chat, both = add_key(home, "chat", ["chat"]), add_key(home, "both", ["chat", "feedback"])
    with desk(tmp_path, upstream, both) as opened:
        opened.ask("keyed")
        for key, status in (("none", 401), ("prentice-guess", 401), (chat, 403), (both, 200)):
            said = {"episode": "keyed", "name": "success", "value": True}
            answer = httpx.post(f"{opened.url}/feedback", json=said, headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == status


def test_a_store_that_is_down_is_503_and_the_same_feedback_is_taken_later(tmp_path: Path, upstream: str) -> None:
    store = tmp_path / ".prentice" / "store.db"
    with desk(tmp_path, upstream) as opened:
        opened.ask("before")
        assert opened.say("before", name="success", value=True).status_code == 200
        with closing(sqlite3.connect(store)) as other:
            other.execute("BEGIN EXCLUSIVE")  # as another program that holds it
            opened.ask("meanwhile")
            status, message = error(opened.say("meanwhile", name="success", value=True))
            assert (status, "later" in message) == (503, True)
            other.rollback()
        assert opened.say("meanwhile", name="success", value=True).status_code == 200
        assert opened.episode("meanwhile").metric("success") is True
