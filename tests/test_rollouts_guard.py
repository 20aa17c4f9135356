"""What a rollout stores has passed the store's guard, wherever it was played; it is graded before that."""

from __future__ import annotations

from pathlib import Path

import pytest

from prentice.models import ScriptedModel
from prentice.privacy import PrivacyConfig, Redactor
from prentice.records import Reply, Request, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks.classify import Classify, ClassifyConfig

MAIL = "jane.roe@example.com"


def task(folder: Path) -> Classify:
    """Two cases that speak of a person."""
    rows = f"a,train,write to {MAIL} now,yes\nb,train,hello,yes\np,prompt,never,no\n"
    (folder / "cases.csv").write_text("id,split,text,label\n" + rows, encoding="utf-8")
    return Classify(ClassifyConfig(cases=Path("cases.csv"), instructions="Which?"), folder)


class Portable:
    """Code alone, so that it could play whole episodes in another process."""

    name, slots, portable = "portable", 4, True

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Yes, if it sees the address."""
        del sampling
        from prentice.records import Message

        seen = MAIL in request.messages[-1].content
        return Reply(message=Message(role="assistant", content="yes" if seen else "no"), model="m")

    async def warm_up(self, request: Request) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("processes", [0, 1])
def test_an_episode_is_graded_as_it_was_and_stored_redacted(tmp_path: Path, processes: int) -> None:
    guard = Redactor(PrivacyConfig(mode="redact"))
    made = task(tmp_path)
    with Store.open(tmp_path / "store.db", guard) as store:
        play_all(made, Portable(), made.cases("train"), store, RolloutConfig(processes=processes))
        first = next(e for e in store.episodes() if e.case == "a")
    assert first.metric("success") is True
    assert first.turns[0].request.messages[-1].content == "write to [EMAIL_1] now"
    assert first.turns[0].request.inputs == {"text": "write to [EMAIL_1] now"}
    assert MAIL.encode() not in (tmp_path / "store.db").read_bytes()
    assert guard.found["email"] == 1


def test_a_store_without_a_guard_keeps_what_was_said(tmp_path: Path) -> None:
    made = task(tmp_path)
    with Store.open(tmp_path / "store.db") as store:
        play_all(made, ScriptedModel(lambda _: "yes"), made.cases("train"), store, RolloutConfig())
        assert MAIL in next(e for e in store.episodes() if e.case == "a").turns[0].request.messages[-1].content
