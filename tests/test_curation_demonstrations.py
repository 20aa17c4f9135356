"""What people showed and rejected, in a dataset: demonstrations first, and the ledger still adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from prentice.curation import CurateConfig, curate, summary
from prentice.errors import ConfigError
from prentice.pipeline import Context, Project, run_stage, states
from prentice.progress import Silent
from prentice.records import (
    Demonstration,
    Episode,
    Example,
    Failure,
    Feedback,
    Manifest,
    Message,
    Metric,
    Reply,
    Request,
    Turn,
    Value,
    episode_id,
    utc_now,
)
from prentice.records.parquet import KEPT, read_dataset, read_ledger

NOW = utc_now()
LABELS = ("card", "loan", "pin")


def render(function: str, inputs: Mapping[str, JsonValue]) -> Request:
    return Request(function=function, messages=(Message(role="user", content=str(inputs["text"])),))


def turn(text: str, reply: str, choices: Sequence[str] = (), **of_reply: Any) -> Turn:
    request = Request(function="f", inputs={"text": text}, messages=(), choices=tuple(choices))
    return Turn(request=request, reply=Reply(message=Message(role="assistant", content=reply), model="m", **of_reply))


def shown(turn_: int, text: str) -> Demonstration:
    """What a person says the reply should have been."""
    return Demonstration(turn=turn_, message=Message(role="assistant", content=text), author="ann", at=NOW)


def said(name: str, value: Value, turn_: int | None = None) -> Metric:
    """A person's word."""
    return Metric(name=name, value=value, source="person", turn=turn_)


def episode(
    case: str,
    *turns: Turn,
    success: bool | None = True,
    words: Sequence[Metric] = (),
    demonstrations: Sequence[Demonstration] = (),
    attempt: int = 0,
    failure: Failure | None = None,
) -> Episode:
    graded = () if success is None else (Metric(name="success", value=success),)
    return Episode(
        id=episode_id("run", case, attempt),
        run="run",
        task="t",
        case=case,
        split="train",
        attempt=attempt,
        policy="p",
        turns=turns,
        metrics=(*graded, *words),
        failure=failure,
        started_at=NOW,
        demonstrations=tuple(demonstrations),
    )


def made(out: Path, *episodes: Episode, **config: Any) -> tuple[Manifest, dict[tuple[str, int], str]]:
    """The manifest, and (case, turn) → reply of every kept row."""
    manifest = curate(CurateConfig(val_share=0, **config), episodes, render=render, out=out / "d")
    rows: list[Example] = read_dataset(out / "d")[1]
    return manifest, {(row.case, row.turn): row.reply.content for row in rows}


def fates(out: Path) -> dict[str, str]:
    return {line.case: line.fate for line in read_ledger(out / "d")}


def test_a_demonstrated_turn_is_learnt_whatever_keep_said_and_the_rest_of_its_episode_is_not(tmp_path: Path) -> None:
    walk = [turn("a", "1"), turn("b", "2"), turn("c", "3")]
    bad = episode("bad", *walk, success=False, demonstrations=[shown(1, "better")])
    broken = episode("broken", turn("d", "4"), demonstrations=[shown(0, "shown")], failure=failure_())
    manifest, rows = made(tmp_path, bad, broken, keep="success")
    assert rows == {("bad", 1): "better", ("broken", 0): "shown"}
    assert [(line.turn, line.fate) for line in read_ledger(tmp_path / "d") if line.case == "bad"] == [
        (0, "`success` is false"),
        (1, KEPT),
        (2, "`success` is false"),
    ]
    assert (manifest.ledger.rows_in, manifest.ledger.kept, manifest.demonstrations) == (4, 2, 2)
    assert summary(manifest)[1] == "of these 2 with a reply that was demonstrated"


def failure_() -> Failure:
    return Failure(where="model", message="503")


def test_the_last_demonstration_of_a_turn_counts_and_keep_turns_has_no_say(tmp_path: Path) -> None:
    words = [Metric(name="left", value=9.0, turn=0), Metric(name="left", value=1.0, turn=1)]
    one = episode(
        "c", turn("a", "x"), turn("b", "y"), words=words, demonstrations=[shown(0, "first"), shown(0, "last")]
    )
    assert made(tmp_path, one, keep_turns="left < 2")[1] == {("c", 0): "last", ("c", 1): "y"}


def test_a_demonstration_is_never_second_best(tmp_path: Path) -> None:
    best = episode("c", turn("a", "model"), attempt=0)
    other = episode("c", turn("b", "x"), attempt=1, demonstrations=[shown(0, "person")])
    third = episode("c", turn("c", "y"), attempt=2)
    manifest, _ = made(tmp_path, best, other, third)
    replies = [row.reply.content for row in read_dataset(tmp_path / "d")[1]]
    assert replies == ["model", "person"]
    assert manifest.ledger.dropped == {"not among the best 1 of its case": 1}


@pytest.mark.parametrize("dedupe", ["exact", "near"])
def test_of_equal_rows_the_demonstrated_one_stays(tmp_path: Path, dedupe: str) -> None:
    text = "I have lost my card somewhere in the city, please send me a new one"
    own = episode("a", turn(text, "card"))
    again = episode("b", turn(text if dedupe == "exact" else text + "!", "wrong"), demonstrations=[shown(0, "card")])
    made(tmp_path, own, again, dedupe=dedupe)
    assert fates(tmp_path) == {"a": "duplicate" if dedupe == "exact" else "near duplicate", "b": KEPT}


@pytest.mark.parametrize("choices", [(), LABELS])
def test_where_a_person_showed_the_reply_models_that_say_otherwise_go(tmp_path: Path, choices: Sequence[str]) -> None:
    own = [episode(f"own {n}", turn("same", "card", choices)) for n in range(3)]
    alone = episode("other", turn("else", "card", choices))
    showed = episode("shown", turn("same", "card", choices), demonstrations=[shown(0, "pin")])
    made(tmp_path, *own, alone, showed)
    overruled = "conflict: same prompt, another reply was demonstrated"
    assert fates(tmp_path) == {
        "own 0": overruled,
        "own 1": "duplicate",
        "own 2": "duplicate",
        "other": KEPT,
        "shown": KEPT,
    }
    assert made(tmp_path, *own, alone, showed, conflicts="off")[0].ledger.kept == 3


def test_demonstrations_that_exclude_each_other_are_settled_by_their_own_majority(tmp_path: Path) -> None:
    def case(name: str, reply: str) -> Episode:
        return episode(name, turn("same", "card", LABELS), demonstrations=[shown(0, reply)])

    made(tmp_path, case("a", "pin"), case("b", "pin"), case("c", "loan"))
    assert list(fates(tmp_path).values()) == [KEPT, "duplicate", "conflict: same prompt, most replies differ"]
    made(tmp_path, case("a", "pin"), case("c", "loan"), episode("o", turn("x", "card", LABELS)))
    tie = "conflict: same prompt, no majority among its replies"
    assert fates(tmp_path) == {"a": tie, "c": tie, "o": KEPT}


def test_a_demonstration_that_the_student_could_not_say_is_not_learnt(tmp_path: Path) -> None:
    off = episode("off", turn("a", "card", LABELS), demonstrations=[shown(0, "crad")])
    empty = episode("empty", turn("b", "x"), demonstrations=[shown(0, "")])
    cut = episode("cut", turn("c", "x", finish_reason="length"), demonstrations=[shown(0, "whole")])
    made(tmp_path, off, empty, cut)
    assert fates(tmp_path) == {"off": "demonstration is none of the choices", "empty": "empty reply", "cut": KEPT}


def test_what_a_person_rejected_is_not_learnt_unless_asked_for(tmp_path: Path) -> None:
    walk = [turn("a", "1"), turn("b", "2"), turn("c", "3")]
    turns = episode(
        "turns",
        *walk,
        words=[said("success", False, 0), said("success", False, 1), said("success", True, 1)],
    )
    whole = episode("whole", turn("d", "4"), words=[said("success", False)])
    back = episode("back", turn("e", "5"), words=[said("success", False), said("success", True)])
    by_judge = episode("judge", turn("f", "6"), words=[Metric(name="success", value=False, source="judge", turn=0)])
    everything = (turns, whole, back, by_judge)
    manifest, rows = made(tmp_path, *everything, keep="not failed")
    assert set(rows) == {("turns", 1), ("turns", 2), ("back", 0), ("judge", 0)}
    assert manifest.ledger.dropped == {"rejected by a person": 2}
    assert made(tmp_path, *everything, keep="not failed", rejected="keep")[0].ledger.kept == 6


def test_a_rejected_turn_with_a_demonstration_is_learnt_from_the_demonstration(tmp_path: Path) -> None:
    one = episode("c", turn("a", "1"), words=[said("success", False)], demonstrations=[shown(0, "better")])
    two = episode(
        "d", turn("b", "1"), turn("c", "2"), words=[said("success", False, 0)], demonstrations=[shown(0, "x")]
    )
    assert made(tmp_path, one, two)[1] == {("c", 0): "better", ("d", 0): "x", ("d", 1): "2"}


def test_keep_may_ask_for_what_people_said(tmp_path: Path) -> None:
    given = [
        episode("good", turn("a", "1"), words=[said("rating", 2.0), said("rating", 5.0), said("comment", "nice")]),
        episode("poor", turn("b", "2"), words=[said("rating", 1.0), said("success", True)]),
        episode("none", turn("c", "3")),
    ]
    assert set(made(tmp_path, *given, keep="rating >= 4 and comment == 'nice'")[1]) == {("good", 0)}
    assert fates(tmp_path)["none"] == "no metric `rating`"
    assert set(made(tmp_path, *given, keep="success and judged")[1]) == {("poor", 0)}
    with pytest.raises(ConfigError, match="no episode has a metric 'ratng'"):
        made(tmp_path, *given, keep="ratng >= 4")


def test_caps_take_models_replies_before_demonstrations(tmp_path: Path) -> None:
    own = [episode(f"o{n}", turn(f"o{n}", "card")) for n in range(20)]
    showed = [episode(f"s{n}", turn(f"s{n}", "x"), demonstrations=[shown(0, "card")]) for n in range(4)]
    manifest, rows = made(tmp_path, *own, *showed, max_per_reply=6, max_rows=5)
    assert {case for case, _ in rows} >= {f"s{n}" for n in range(4)}
    assert manifest.ledger.dropped == {"over max_per_reply": 18, "over max_rows": 1}


def test_an_episode_that_comes_in_twice_gives_its_demonstration_once(tmp_path: Path) -> None:
    one = episode("c", turn("a", "1"), success=False, demonstrations=[shown(0, "better")])
    manifest, _ = made(tmp_path, one, one)
    assert (manifest.ledger.kept, manifest.ledger.dropped) == (1, {"same episode twice": 1})


def test_a_dataset_written_before_there_were_demonstrations_still_reads() -> None:
    old = {"hash": "h", "ledger": {"rows_in": 1, "kept": 1}, "splits": {"train": 1}, "config": {}}
    assert Manifest.model_validate(old).demonstrations == 0


def test_new_feedback_on_the_teachers_episodes_makes_the_dataset_anew(tmp_path: Path) -> None:
    rows = ["id,split,text,label", "1,train,gone,card", "2,train,cash please,cash", "3,test,cash,cash"]
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "prentice.toml").write_text(
        '[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n'
        '[teacher]\nmodel = "task:most frequent label"\n',
        encoding="utf-8",
    )
    context = Context(Project(tmp_path), Silent())
    for stage in ("rollout", "curate"):
        run_stage(context, stage)
    assert dict(states(context))["curate"]
    with context.project.store() as store:
        wrong = next(e for e in store.episodes() if not e.metric("success"))
        right = Message(role="assistant", content="cash" if wrong.turns[0].reply.text == "card" else "card")
        store.add_feedback([Feedback(id="f", episode=wrong.id, name="demonstration", demonstration=right, at=NOW)])
    assert not dict(states(context))["curate"]
    run_stage(context, "curate")
    manifest, examples = read_dataset(context.folder("curate"))
    assert (manifest.ledger.kept, manifest.demonstrations) == (2, 1)
    assert {row.reply.content for row in examples} == {"card", "cash"}


some_turn = st.builds(turn, st.sampled_from("abc"), st.sampled_from(["card", "pin", ""]), st.sampled_from([LABELS, ()]))
some_episode = st.builds(
    lambda case, turns, attempt, success, words, demos: episode(
        case, *turns, attempt=attempt, success=success, words=words, demonstrations=demos
    ),
    st.sampled_from([f"case {n}" for n in range(5)]),
    st.lists(some_turn, max_size=3),
    st.integers(0, 2),
    st.sampled_from([True, False, None]),
    st.lists(st.builds(said, st.just("success"), st.booleans(), st.sampled_from([None, 0, 1])), max_size=2),
    st.lists(st.builds(shown, st.integers(0, 4), st.sampled_from(["card", "loan", "new", ""])), max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(
    episodes=st.lists(some_episode, max_size=10, unique_by=lambda e: e.id),
    dedupe=st.sampled_from(["exact", "near", "off"]),
    conflicts=st.sampled_from(["majority", "off"]),
    most=st.sampled_from([None, 1, 4]),
)
def test_every_row_is_accounted_for_once_and_no_prompt_that_a_person_answered_has_a_models_reply(
    tmp_path_factory: pytest.TempPathFactory, episodes: list[Episode], dedupe: str, conflicts: str, most: int | None
) -> None:
    out = tmp_path_factory.mktemp("curate")
    manifest, _ = made(
        out,
        *episodes,
        episode("always", turn("only here", "loan")),
        dedupe=dedupe,
        conflicts=conflicts,
        max_rows=most and most + 5,
    )
    lines, rows = read_ledger(out / "d"), read_dataset(out / "d")[1]
    assert len(lines) == sum(max(1, len(e.turns)) for e in episodes) + 1
    assert Counter(line.fate for line in lines) == Counter({KEPT: len(rows), **manifest.ledger.dropped})
    # by hand: which kept rows hold a demonstration, and which prompts those answer
    shown_turns = {(e.case, e.attempt, d.turn) for e in episodes for d in e.demonstrations}
    by_id = {e.id: (e.case, e.attempt) for e in episodes}
    demonstrated = [row for row in rows if (*by_id.get(row.episode, ("", 0)), row.turn) in shown_turns]
    assert manifest.demonstrations == len(demonstrated)
    if conflicts == "majority":
        answered = {row.messages: set[str]() for row in demonstrated}
        for row in demonstrated:
            answered[row.messages].add(row.reply.content)
        assert all(row.reply.content in answered[row.messages] for row in rows if row.messages in answered)
