"""From calls that were recorded to a project: what people let stand, and what they showed, are the examples."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.errors import DataError
from prentice.pipeline import Project
from prentice.pipeline.scaffold import recorded_table
from prentice.records import Call, Failure, Feedback, Message, Reply, Request, ToolCall, Turn
from prentice.records.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SYSTEM = Message(role="system", content="Say where it belongs.\nOne word.")


def call(name: str, said: str, *asked: Message, **fields: object) -> Call:
    """A recorded call."""
    reply = Reply(message=Message(role="assistant", content=said), model="m")
    turn = Turn(request=Request(function="chat", messages=(SYSTEM, *asked)), reply=reply)
    about = {"run": "record", "task": "recorded", "case": name, "policy": "p", "at": NOW, "turn": turn}
    return Call.model_validate({"id": name, "episode": name, **about, **fields})


def user(text: str) -> Message:
    """What a user says."""
    return Message(role="user", content=text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that recorded twenty good calls, and some of every other kind."""
    calls = [call(f"c{n}", ("mail", "phone")[n % 2], user(f"message number {n}")) for n in range(20)]
    calls.append(call("corrected", "mail", user("the line was dead")))
    calls.append(call("rejected", "mail", user("who knows")))
    calls.append(call("later", "mail", user("a"), Message(role="assistant", content="b"), user("c")))
    calls.append(call("failed", "", user("x"), turn=None, failure=Failure(where="model", message="503")))
    asks = Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),))
    tools = call("tools", "", user("look it up"))
    assert tools.turn is not None
    reply = tools.turn.reply.model_copy(update={"message": asks})
    calls.append(tools.model_copy(update={"turn": tools.turn.model_copy(update={"reply": reply})}))
    shown = Message(role="assistant", content="phone")
    with Store.open(tmp_path / ".prentice" / "store.db") as store:
        store.add_calls(calls)
        store.add_feedback(
            [
                Feedback(id="1", episode="corrected", name="demonstration", demonstration=shown, at=NOW),
                Feedback(id="2", episode="corrected", name="success", value=False, at=NOW),
                Feedback(id="3", episode="rejected", name="success", value=False, at=NOW),
            ]
        )
    return tmp_path


def test_the_examples_are_what_stood_and_what_was_shown(folder: Path) -> None:
    table = recorded_table(folder)
    answers = {row.cells["text"]: row.cells["answer"] for row in table.rows}
    assert len(answers) == 21
    assert answers["the line was dead"] == "phone"
    assert answers["message number 3"] == "phone"
    assert table.instructions == SYSTEM.content
    assert table.note == "left out: 1 a later turn, 1 rejected, 1 calls a tool"


def test_a_folder_that_recorded_becomes_a_project_in_one_command(folder: Path) -> None:
    options = ["--grade", "label", "--teacher", "task:answer key", "--yes"]
    said = CliRunner().invoke(app, ["new", str(folder), "--cases", str(folder), *options])
    assert said.exit_code == 0, said.output
    project = Project(folder)
    assert (folder / "instructions.md").read_text(encoding="utf-8") == SYSTEM.content + "\n"
    assert {case.expected for case in project.task.cases("test")} <= {"mail", "phone"}
    assert project.has_store


def test_a_store_in_which_nothing_fits_says_what_is_in_it(tmp_path: Path) -> None:
    later = call("later", "mail", user("a"), Message(role="assistant", content="b"), user("c"))
    with Store.open(tmp_path / "store.db") as store:
        store.add_calls([later])
    with pytest.raises(DataError, match="1 a later turn"):
        recorded_table(tmp_path / "store.db")
