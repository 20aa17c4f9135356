"""`prentice chat`: answers are stored before they are shown, what is said of them is feedback, and two stay blind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.curation import CurateConfig, curate
from prentice.errors import DataError, ModelError, PrenticeError
from prentice.models import ScriptedModel
from prentice.models.local import LocalModel
from prentice.pipeline.chat import EXCHANGE, PREFERRED, RUN, Chat, Speaker, plainly
from prentice.pipeline.project import Project
from prentice.pipeline.speakers import open_speaker
from prentice.progress import Silent
from prentice.records import Episode, Message, Reply, Request, Sampling, Turn, Value
from prentice.records.filters import Filter
from prentice.records.jsonl import write_episodes
from prentice.records.parquet import read_dataset
from prentice.records.store import Store
from records_examples import example
from terminals import Terminal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def speaker(name: str, *answers: str | Exception) -> Speaker:
    """A policy that answers from a script."""
    return Speaker(name, ScriptedModel(answers, name=name), plainly)


def talk(store: Store, *speakers: Speaker, seed: int = 0) -> Chat:
    return Chat(speakers, store, "ann", seed)


def said(episode: Episode) -> dict[str, Value]:
    return {m.name: m.value for m in episode.metrics if m.source == "person"}


async def test_each_exchange_is_an_episode_with_what_was_said_before_and_of_it(store: Store) -> None:
    chat = talk(store, speaker("m", "hi", "fine", "again"))
    first = await chat.say("hello")
    chat.thumb(first.answers[0], up=True)
    second = await chat.say("how are you?")
    assert chat.correct(second.answers[0], "very well")
    chat.comment(second.answers[0], "too short")
    third = await chat.say("and now?")
    texts = [m.content for m in third.answers[0].words.episode.turns[0].request.messages]
    # the conversation goes on with the corrected answer
    assert texts == ["hello", "hi", "how are you?", "very well", "and now?"]
    read = sorted(store.episodes(run=RUN), key=lambda e: e.case)
    assert [said(e) for e in read] == [{"success": True}, {"success": False, "comment": "too short"}, {}]
    assert [d.message.content for e in read for d in e.demonstrations] == ["very well"]
    assert len({e.tags["conversation"] for e in read}) == 1
    chat.reset()
    fourth = await chat.say("hello")
    assert fourth.answers[0].words.episode.failure is not None  # the script is over: a failure is kept too
    assert store.count(Filter(run=RUN, failure="model")) == 1
    assert (chat.standings()[0].good, chat.standings()[0].judged) == (1, 2)


async def test_a_preference_is_on_both_episodes_of_an_exchange_and_a_pair_can_be_read_off(store: Store) -> None:
    chat = talk(store, speaker("a", "from a", "a2", "a3"), speaker("b", "from b", "b2", "b3"))
    first = await chat.say("which?")
    chat.prefer("right")
    better, worse = first.answers[1], first.answers[0]
    second = await chat.say("go on")
    assert better.message is not None
    assert chat.exchanges[1].answers[0].words.episode.turns[0].request.messages[1] == better.message
    chat.prefer("both")
    chat.prefer("neither")  # the last word counts
    await chat.say("no word on this")
    pairs: dict[str, list[Episode]] = {}
    for episode in store.episodes(run=RUN):
        pairs.setdefault(episode.tags[EXCHANGE], []).append(episode)
    one = pairs[better.words.episode.case]
    assert {e.policy: e.metric(PREFERRED) for e in one} == {better.speaker.spec: True, worse.speaker.spec: False}
    assert one[0].turns[0].request == one[1].turns[0].request
    assert {e.metric(PREFERRED) for e in pairs[second.answers[0].words.episode.case]} == {False}
    standings = {each.spec: (each.good, each.judged) for each in chat.standings()}
    assert standings == {better.speaker.spec: (1, 1), worse.speaker.spec: (0, 1)}


async def test_who_stands_left_is_chance_and_the_same_again_with_the_same_seed(tmp_path: Path) -> None:
    async def left(seed: int, name: str) -> list[str]:
        with Store.open(tmp_path / name) as store:
            chat = talk(store, speaker("a", *"x" * 40), speaker("b", *"y" * 40), seed=seed)
            return [(await chat.say("?")).answers[0].speaker.spec for _ in range(40)]

    once = await left(1, "one.db")
    assert once == await left(1, "two.db")
    assert once != await left(2, "three.db")
    # 40 fair draws are within 8 to 32 but for one time in 10,000
    assert 8 <= Counter(once)["a"] <= 32


async def test_a_policy_that_fails_leaves_the_other_to_go_on_with(store: Store) -> None:
    chat = talk(store, speaker("a", ModelError("secret provider"), "a2"), speaker("b", "from b", "b2"))
    exchange = await chat.say("hello")
    chat.prefer("left")
    chat.prefer("right")
    assert {a.speaker.spec: a.message is None for a in exchange.answers} == {"a": True, "b": False}
    assert [e.metric(PREFERRED) for e in store.episodes(run=RUN) if e.failure] == [None]
    later = await chat.say("more")
    kept = [m.content for m in later.answers[0].words.episode.turns[0].request.messages]
    assert kept in (["hello", "from b", "more"], ["more"])


async def test_what_no_store_can_keep_is_refused_before_anybody_is_asked(store: Store) -> None:
    chat = talk(store, speaker("m", "hi"))
    with pytest.raises(DataError, match=r"U\+0000"):
        await chat.say("a\x00b")
    assert chat.exchanges == []


@pytest.mark.models
async def test_a_real_model_talks(store: Store, smollm2: Path) -> None:
    policy = LocalModel(smollm2, threads=1, context=256)
    chat = Chat([Speaker("local", policy, plainly)], store, "ann", sampling=Sampling(max_tokens=4))
    try:
        answer = (await chat.say("Say hello.")).answers[0]
        longer = (await chat.say("Again, please.")).answers[0]
    finally:
        await policy.close()
    assert answer.message is not None
    assert answer.message.content
    assert len(longer.words.episode.turns[0].request.messages) == 3
    assert longer.words.episode.turns[0].reply.usage.output_tokens


def recorded(folder: Path, name: str, answers: dict[str, str]) -> str:
    """The spec of a recording that answers these messages."""
    made = [
        example(
            f"{name} {question}",
            run=name,
            policy=name,
            turns=(
                Turn(
                    request=Request(function="chat", messages=(Message(role="user", content=question),)),
                    reply=Reply(message=Message(role="assistant", content=answer), model=name),
                ),
            ),
        )
        for question, answer in answers.items()
    ]
    write_episodes(folder / f"{name}.jsonl", made)
    return f"recorded:{name}.jsonl"


def test_keys_and_lines_in_a_real_terminal_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    spec = recorded(tmp_path, "one", {"hello": "hi\x1b[2Jthere", "bye": "so long"})
    with Terminal("chat", spec, "--author", "ann", cwd=tmp_path) as terminal:
        terminal.wait("you: ", raw=False)
        # what a model writes does not steer the terminal
        assert "hi␛[2Jthere" in terminal.type("hello", "enter go on", clears=False)
        terminal.send("+")
        terminal.wait("\ngood")
        assert terminal.ask("/", "you: /").endswith("you: /")  # any other key begins the next message
        terminal.ask("reset\r", "a new conversation")
    place = tmp_path / ".prentice" / "store.db"
    with Store.open(place) as store:
        assert [said(e) for e in store.episodes(run=RUN)] == [{"success": True}]
    with Terminal("chat", spec, "--author", "ann", cwd=tmp_path) as terminal:
        terminal.wait("you: ", raw=False)
        terminal.type("bye", "enter go on", clears=False)
        terminal.ask("e", "better answer (empty: leave it): so long")
        terminal.type(" my friend", "your answer is kept", clears=False)
        terminal.ask("\r", "\n\nyou: ")
        terminal.send("/reveal\r")
        code, screen = terminal.end()
    assert code == 0
    assert f"{spec}: good in 0 of 1 (0 %, 95 % interval 0 to 79 %)" in screen
    with Store.open(place) as store:
        assert [d.message.content for e in store.episodes() for d in e.demonstrations] == ["so long my friend"]


@pytest.mark.parametrize("size", [(24, 80), (24, 120)])
def test_two_models_stay_blind_until_the_end(tmp_path: Path, size: tuple[int, int]) -> None:
    specs = [recorded(tmp_path, name, {"hello": f"answer {n}"}) for n, name in enumerate(["first", "second"])]
    with Terminal("chat", *specs, "--author", "ann", cwd=tmp_path, size=size) as terminal:
        terminal.wait("you: ", raw=False)
        shown = terminal.type("hello", "enter go on", clears=False)
        side_by_side = [line for line in shown.split("\n") if "answer 0" in line and "answer 1" in line]
        assert bool(side_by_side) == (size[1] >= 100)
        terminal.send("r")
        shown = terminal.wait("right is better")
        terminal.ask("\r", "\n\nyou: ")
        assert "first" not in shown
        assert "second" not in shown
        terminal.send("/reveal\r")
        code, told = terminal.end()
    assert code == 0
    with Store.open(tmp_path / ".prentice" / "store.db") as store:
        (won,) = [e.policy for e in store.episodes() if e.metric(PREFERRED) is True]
    assert f"{won}: preferred in 1 of 1 (100 %, 95 % interval 21 to 100 %)" in told.replace("recorded:", "").replace(
        ".jsonl", ""
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one text in, one label out."""
    rows = ["id,split,text,label", "1,train,my card is gone,card", "2,train,cash please,cash", "3,test,cash,cash"]
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "prentice.toml").write_text(
        '[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n'
        '[teacher]\nmodel = "task:most frequent label"\n',
        encoding="utf-8",
    )
    return tmp_path


async def test_in_a_project_a_message_is_put_as_the_task_puts_it_and_can_be_learnt_from(
    project: Path, tmp_path: Path
) -> None:
    opened = Project(project)
    with opened.store() as store:
        chat = talk(store, open_speaker("teacher", opened, Silent()))
        answer = (await chat.say("where is my card?")).answers[0]
        request = answer.words.episode.turns[0].request
        assert (request.function, request.inputs, request.choices) == (
            "classify",
            {"text": "where is my card?"},
            ("card", "cash"),
        )
        assert answer.words.episode.task == "classify"
        with pytest.raises(DataError, match="none of the 2 choices"):
            chat.correct(answer, "crd")
        chat.correct(answer, "card" if answer.message and answer.message.content == "cash" else "cash")
        curate(
            CurateConfig(val_share=0),
            store.episodes(run=RUN),
            render=lambda function, inputs: opened.task.render(function, inputs, "student"),
            out=tmp_path / "data",
        )
        (row,) = read_dataset(tmp_path / "data")[1]
        assert row.messages[-1].content == "where is my card?"
        free = await talk(store, open_speaker("teacher", opened, Silent(), free=True)).say("hello")
        assert free.answers[0].words.episode.turns[0].request.function == "chat"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("student", "'student' of which project"),
        ("recorded:none.jsonl", "no recorded episodes there"),
        ("gpt-5", "'gpt-5'"),
        ("local:nothing", "'nothing'"),
    ],
)
def test_what_cannot_be_talked_to_is_named(spec: str, problem: str) -> None:
    with pytest.raises(PrenticeError, match=problem):
        open_speaker(spec, None, Silent())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--project", "nowhere", "student"], "nowhere"),
        (["local:smollm2-135m", "--author", " "], "nobody is named as the author"),
        (["local:smollm2-135m", "--author", "ann"], "chat takes keys, and this is no terminal"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(arguments: list[str], problem: str) -> None:
    ended = CliRunner().invoke(app, ["chat", *arguments])
    assert ended.exit_code == 2
    assert problem in ended.stderr


def test_a_student_that_is_not_there_yet_is_named_with_the_next_step(project: Path) -> None:
    with pytest.raises(PrenticeError, match="no student has been exported") as caught:
        open_speaker("student", Project(project), Silent())
    assert "prentice run" in caught.value.hint
