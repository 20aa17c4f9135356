"""`prentice label` in a real terminal: each key counts at once, nothing decided is lost, all can be taken back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.records import Episode, Message, Reply, Request, TokenLogprob, Tool, ToolCall, Turn
from prentice.records.filters import Filter
from prentice.records.labelling.order import in_order
from prentice.records.store import Store
from records_examples import example
from terminals import Terminal


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def asked(case: str, question: str, answer: str, choices: tuple[str, ...] = ()) -> Episode:
    """An episode of one turn."""
    request = Request(function="ask", messages=(user(question),), choices=choices)
    return example(case, turns=(Turn(request=request, reply=Reply(message=assistant(answer), model="m")),), metrics=())


def talk(case: str, turns: int = 3, words: int = 1) -> Episode:
    """An episode of several turns, the second of which calls a tool."""
    chat: list[Message] = []
    made = []
    for n in range(turns):
        chat.append(user(f"question {n} " * words))
        call = ToolCall(id="c", name="look", arguments='{"at": 1}')
        reply = Message(role="assistant", tool_calls=(call,)) if n == 1 else assistant(f"reply {n} " * words)
        request = Request(function="ask", messages=tuple(chat), tools=(Tool(name="look"),))
        made.append(Turn(request=request, reply=Reply(message=reply, model="m")))
        chat.append(reply)
    return example(case, turns=tuple(made), metrics=())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four episodes; the one stored last is shown first."""
    with Store.open(tmp_path / "store.db") as opened:
        opened.add([talk("talk"), *(asked(f"c{n}", f"Where is my card {n}?", f"answer {n}") for n in range(3))])
    return tmp_path / "store.db"


def read(store: Path, case: str) -> Episode:
    with Store.open(store) as opened:
        return next(e for e in opened.episodes() if e.case == case)


def words(episode: Episode) -> list[tuple[str, object, int | None]]:
    """What people said of it."""
    return [(m.name, m.value, m.turn) for m in episode.metrics if m.source == "person"]


def test_keys_judge_correct_and_comment_and_all_of_it_can_be_taken_back(store: Path, tmp_path: Path) -> None:
    with Terminal("label", store, "--author", "ann", cwd=tmp_path) as terminal:
        first = terminal.wait("q quit")
        assert "0 of 4" in first
        assert "Where is my card 2?" in first
        assert "answer 2" in first
        assert "about this answer" in first
        assert "other turn" not in first  # one turn has no other
        terminal.ask("c", "comment: ")
        assert "“rather curt”" in terminal.type("rather curt", "your comment is kept")
        assert "Where is my card 1?" in terminal.press("a", "1 of 4, 1 accepted")
        terminal.ask("e", "better answer (empty: leave it): answer 1")
        terminal.type(" in full", "2 of 4, 1 accepted, 1 corrected")
        assert "Where is my card 0?" in terminal.screen
        assert "reply 2" in terminal.press("r", "3 of 4, 1 accepted, 1 rejected, 1 corrected")
        assert "Where is my card 0?" in terminal.press("u", "taken back: a rejection")
        terminal.press("s", "skipped")
        terminal.press("x", "'x' does nothing here")
        terminal.send("q")
        code, said = terminal.end()
        assert (code, said.splitlines()[:2]) == (
            0,
            ["2 of 4, 1 accepted, 1 corrected; by ann", "2 left; the same command goes on from here"],
        )
    assert words(read(store, "c2")) == [("comment", "rather curt", None), ("success", True, None)]
    assert words(read(store, "c1")) == [("success", False, None)]
    (shown,) = read(store, "c1").demonstrations
    assert (shown.message, shown.author, shown.source) == (assistant("answer 1 in full"), "ann", "person")
    assert words(read(store, "c0")) == []


def test_a_kill_loses_nothing_decided_and_undo_reaches_into_the_session_before(store: Path, tmp_path: Path) -> None:
    with Terminal("label", store, "--author", "ann", cwd=tmp_path) as terminal:
        terminal.wait("0 of 4")
        terminal.press("a", "1 of 4")
        terminal.press("r", "2 of 4")
        terminal.kill()
    assert [words(read(store, case)) for case in ("c2", "c1")] == [
        [("success", True, None)],
        [("success", False, None)],
    ]
    with Terminal("label", store, "--author", "ann", cwd=tmp_path) as terminal:
        assert "Where is my card 0?" in terminal.wait("2 of 4, 1 accepted, 1 rejected")
        assert "Where is my card 1?" in terminal.press("u", "taken back: a rejection")
        assert "Where is my card 2?" in terminal.press("u", "taken back: an acceptance")
        assert "0 of 4" in terminal.press("u", "there is nothing to take back")
        terminal.send("\x03")
        assert terminal.end()[0] == 0
    assert [words(read(store, case)) for case in ("c2", "c1")] == [[], []]


def test_turns_are_judged_one_by_one_where_t_says_so(store: Path, tmp_path: Path) -> None:
    options = ("--where", "id=" + talk("talk").id, "--author", "ann")
    with Terminal("label", store, *options, cwd=tmp_path) as terminal:
        assert "turn 2 (of 0 to 2)" in terminal.wait("about the whole episode")
        terminal.press("t", "about this turn")
        assert "turn 0 (of 0 to 2)" in terminal.press("p") + terminal.press("\x1b[D")
        assert "turn 1 (of 0 to 2)" in terminal.press("a")
        terminal.ask("e", 'better answer (empty: leave it): → look({"at": 1})')
        # an answer that calls a tool nobody knows can be gone on with, or dropped
        terminal.type("\x15-> lok({})", "did you mean look?", clears=False)
        terminal.ask("e", "better answer")
        assert "turn 2 (of 0 to 2)" in terminal.type('\x15-> look({"at": 2})', "your answer is kept")
        terminal.send("r")
        assert "1 of 1, 1 corrected" in terminal.end()[1]
    found = read(store, "talk")
    assert words(found) == [("success", True, 0), ("success", False, 1), ("success", False, 2)]
    (shown,) = found.demonstrations
    assert (shown.turn, shown.message.tool_calls) == (1, (ToolCall(id="c", name="look", arguments='{"at": 2}'),))
    with Terminal("label", store, *options, cwd=tmp_path) as terminal:
        assert "ann has judged all of these" in terminal.end()[1]


def test_a_long_chat_is_cut_to_the_terminal_and_v_shows_it_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as opened:
        opened.add([talk("long", turns=6, words=60)])
    with Terminal("label", tmp_path / "store.db", "--author", "ann", cwd=tmp_path, size=(20, 60)) as terminal:
        cut = terminal.wait("more lines above; v shows all")
        assert len(cut.rstrip("\n").split("\n")) <= 20
        assert max(map(len, cut.split("\n"))) <= 60
        assert "more lines below" in cut
        whole = terminal.press("v", "question 0")
        assert "more lines" not in whole
        assert whole.count("reply 5") == 60


def test_an_editor_of_ones_own_gets_the_answer_and_one_that_fails_changes_nothing(store: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, pathlib\n"
        "file, before = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).with_name('before')\n"
        "file.write_text(file.read_text().replace('answer', 'Better\\n\\n') + '\\n', encoding='utf-8')\n"
        "if not before.exists():\n    before.touch()\n    sys.exit(3)\n",
        encoding="utf-8",
    )
    more = {"EDITOR": f"{sys.executable} {editor}"}
    with Terminal("label", store, "--author", "ann", "--limit", "1", cwd=tmp_path, more=more) as terminal:
        terminal.wait("answer 2")
        assert "0 of 1" in terminal.press("e", "the editor ended with 3")
        assert read(store, "c2").demonstrations == ()
        terminal.send("e")
        assert "1 of 1, 1 corrected" in terminal.end()[1]
    assert read(store, "c2").demonstrations[0].message == assistant("Better\n\n 2")


def test_without_a_terminal_one_line_says_what_to_do_instead(store: Path) -> None:
    ended = CliRunner().invoke(app, ["label", str(store)])
    assert ended.exit_code == 2
    assert "label takes keys, and this is no terminal" in ended.stderr
    assert "--out sheet.xlsx" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.db"], "no such store"),
        (["store.db", "--where", "nonsense"], "is no comparison"),
        (["store.db", "--author", " "], "nobody is named as the author"),
        (["store.db", "--author", "a\x00b"], "U+0000"),
    ],
)
def test_what_cannot_be_done_is_named(
    store: Path, arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["label", *arguments])
    assert ended.exit_code == 2
    assert problem in ended.stderr


def test_the_random_order_is_the_same_for_everybody_and_new_episodes_move_no_old_one(store: Path) -> None:
    with Store.open(store) as opened:
        everything = in_order(opened, Filter(), "random")
        assert sorted(everything) == sorted(opened.newest())
        opened.add([asked(f"new {n}", "q", "a") for n in range(5)])
        later = in_order(opened, Filter(), "random")
        assert [id_ for id_ in later if id_ in everything] == everything


def test_the_uncertain_order_begins_with_unsure_replies_and_with_tries_that_disagree(tmp_path: Path) -> None:
    def sure(case: str, logprob: float) -> Episode:
        made = asked(case, "q", "a")
        reply = made.turns[0].reply.model_copy(update={"token_logprobs": (TokenLogprob(token="a", logprob=logprob),)})
        return made.model_copy(update={"turns": (made.turns[0].model_copy(update={"reply": reply}),)})

    split = [
        asked("split", "q", answer).model_copy(update={"id": f"split{n}", "attempt": n})
        for n, answer in enumerate(["x", "x", "y"])
    ]
    with Store.open(tmp_path / "store.db") as opened:
        opened.add([asked("plain", "q", "a"), sure("sure", -0.01), sure("unsure", -3.0), *split])
        cases = {e.id: f"{e.case} {e.turns[0].reply.text}" for e in opened.episodes()}
        order = [cases[id_] for id_ in in_order(opened, Filter(), "uncertain")]
    # by hand: 1 - e^-3 = 0.95; y agrees with 1 of 3, x with 2 of 3; 1 - e^-0.01 = 0.01; nothing known: 0
    assert order == ["unsure a", "split y", "split x", "split x", "sure a", "plain a"]
