"""Curation: what is kept and why not, one case in one split, a ledger that adds up, and no sight of the answer key."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from prentice.config import build
from prentice.curation import CurateConfig, curate, summary
from prentice.errors import ConfigError, DataError
from prentice.records import (
    Episode,
    Failure,
    Manifest,
    Message,
    Metric,
    Reply,
    Request,
    Split,
    Turn,
    Usage,
    Value,
    episode_id,
    utc_now,
)
from prentice.records.parquet import KEPT, read_dataset, read_ledger
from prentice.tasks.contract import Case

NOW = utc_now()
LABELS = ("card", "loan", "pin")


def render(function: str, inputs: Mapping[str, JsonValue]) -> Request:
    """The student's prompt: shorter than the teacher's, which has instructions."""
    return Request(function=function, messages=(Message(role="user", content=str(inputs["text"])),))


def turn(text: str, reply: str, choices: Sequence[str] = LABELS, **of_reply: Any) -> Turn:
    messages = (Message(role="system", content="Long instructions."), Message(role="user", content=text))
    request = Request(function="classify", inputs={"text": text}, messages=messages, choices=tuple(choices))
    return Turn(request=request, reply=Reply(message=Message(role="assistant", content=reply), model="m", **of_reply))


def episode(
    case: str,
    *turns: Turn,
    attempt: int = 0,
    run: str = "run",
    split: Split = "train",
    failure: Failure | None = None,
    **metrics: Value,
) -> Episode:
    return Episode(
        id=episode_id(run, case, attempt),
        run=run,
        task="t",
        case=case,
        split=split,
        attempt=attempt,
        policy="p",
        turns=turns,
        metrics=tuple(Metric(name=name, value=value) for name, value in metrics.items()),
        failure=failure,
        started_at=NOW,
    )


def fates(out: Path) -> dict[str, str]:
    """Case → fate, for cases with one row."""
    return {line.case: line.fate for line in read_ledger(out)}


def run_curate(out: Path, episodes: Sequence[Episode], **config: Any) -> Manifest:
    return curate(CurateConfig(**config), episodes, render=render, out=out)


def test_a_row_shows_the_students_prompt_and_the_policys_own_reply(tmp_path: Path) -> None:
    manifest = run_curate(tmp_path / "d", [episode("c", turn("lost it", "card"), success=True)])
    read, (row,) = read_dataset(tmp_path / "d")
    assert read == manifest
    assert row.messages == (Message(role="user", content="lost it"),)
    assert row.reply == Message(role="assistant", content="card")
    assert (row.case, row.turn, row.split) == ("c", 0, "train")
    assert row.episode == episode_id("run", "c", 0)


def test_every_reason_to_drop_a_row_is_named_and_counted(tmp_path: Path) -> None:
    episodes = [
        episode("kept", turn("a", "card"), success=True),
        episode("wrong", turn("b", "card"), success=False),
        episode("broken", failure=Failure(where="model", message="503"), success=True),
        episode("silent", success=True),
        episode("ungraded", turn("c", "card")),
        episode("copy", turn("a", "card"), success=True),
        episode("empty", turn("d", ""), success=True),
        episode("cut", turn("e", "card is wh", finish_reason="length"), success=True),
        episode("left", turn("g", "card is wh", finish_reason="disconnected"), success=True),
        episode("whole", turn("f", "loan", finish_reason="length"), success=True),
    ]
    manifest = run_curate(tmp_path / "d", episodes)
    assert fates(tmp_path / "d") == {
        "kept": "duplicate",
        "copy": KEPT,
        "wrong": "`success` is false",
        "broken": "failed: model",
        "silent": "no turns",
        "ungraded": "no metric `success`",
        "empty": "empty reply",
        "cut": "reply cut at max_tokens",
        "left": "reply cut: its client left",
        "whole": KEPT,
    }
    assert manifest.ledger.rows_in == 10
    assert manifest.ledger.kept == 2
    assert manifest.replies_without_rows == ("pin",)
    assert manifest.runs == ("run",)
    assert summary(manifest)[0] == "kept 2 of 10 rows (20 %): 2 train"
    assert summary(manifest)[-1] == "no kept row for 1 of the choices: pin"
    assert "dropped 1 (10 %): no metric `success`" in summary(manifest)


def test_agreement_keeps_rows_without_any_label(tmp_path: Path) -> None:
    replies = {"same": ["card"] * 3, "split": ["card", "card", "pin"], "few": ["loan"] * 2}
    episodes = [
        episode(case, turn(case, reply), attempt=n) for case, given in replies.items() for n, reply in enumerate(given)
    ]
    manifest = run_curate(tmp_path / "d", episodes, keep="agreement == 1 and tries >= 3")
    assert [row.case for row in read_dataset(tmp_path / "d")[1]] == ["same"]
    assert manifest.ledger.dropped == {
        "`agreement == 1 and tries >= 3` is false": 5,
        "not among the best 1 of its case": 2,
    }


def test_attempts_of_another_run_are_no_agreement(tmp_path: Path) -> None:
    episodes = [episode("c", turn("t", "card"), run=run) for run in ("a", "b")]
    with pytest.raises(DataError, match="0 of 2 episodes satisfied `tries == 2`"):
        run_curate(tmp_path / "d", episodes, keep="tries == 2")


def test_tokens_are_summed_over_turns_and_unknown_ones_are_no_zero(tmp_path: Path) -> None:
    episodes = [
        episode("c", *(turn(t, "card", usage=Usage(output_tokens=4)) for t in "ab")),
        episode("d", turn("e", "card", usage=Usage(output_tokens=4)), turn("f", "card")),
    ]
    run_curate(tmp_path / "d", episodes, keep="output_tokens == 8 and turns == 2", val_share=0)
    assert fates(tmp_path / "d") == {"c": KEPT, "d": "no metric `output_tokens`"}


@pytest.mark.parametrize(("rank_by", "best"), [(None, "card"), ("score", "loan"), ("-score", "card")])
def test_the_best_attempt_is_the_highest_ranked_then_the_earliest(
    tmp_path: Path, rank_by: str | None, best: str
) -> None:
    episodes = [
        episode("c", turn("t", "card"), attempt=0, score=0.1),
        episode("c", turn("t", "loan"), attempt=1, score=0.9),
        episode("c", turn("t", "pin"), attempt=2, score=0.9),
        episode("c", turn("t", "pin"), attempt=3),
    ]
    run_curate(tmp_path / "d", episodes, keep="not failed", rank_by=rank_by)
    assert [row.reply.content for row in read_dataset(tmp_path / "d")[1]] == [best]


def test_near_duplicates_go_only_where_the_reply_is_the_same(tmp_path: Path) -> None:
    text = "I have lost my card somewhere in the city, please send me a new one"
    other = "How high may the monthly rate of a loan be for a student?"
    episodes = [
        episode("a", turn(text, "card"), success=True),
        episode("b", turn(text + "!", "card"), success=True),
        episode("c", turn(text + "?", "pin"), success=True),
        episode("d", turn(other, "card"), success=True),
    ]
    run_curate(tmp_path / "d", episodes, dedupe="near")
    assert fates(tmp_path / "d") == {"a": KEPT, "b": "near duplicate", "c": KEPT, "d": KEPT}
    run_curate(tmp_path / "d", episodes, dedupe="exact")
    assert set(fates(tmp_path / "d").values()) == {KEPT}


def test_a_prompt_with_several_replies_keeps_the_majority_and_without_one_nothing(tmp_path: Path) -> None:
    given = [("x", "card"), ("x", "pin"), ("x", "pin"), ("y", "card"), ("y", "pin"), ("z", "pin")]
    episodes = [episode(f"{n}", turn(text, reply), success=True) for n, (text, reply) in enumerate(given)]
    run_curate(tmp_path / "d", episodes)
    tie, lost = "conflict: same prompt, no majority among its replies", "conflict: same prompt, most replies differ"
    assert fates(tmp_path / "d") == {"0": lost, "1": KEPT, "2": "duplicate", "3": tie, "4": tie, "5": KEPT}


def test_free_text_may_answer_one_prompt_in_several_ways(tmp_path: Path) -> None:
    episodes = [episode("c", turn("t", reply, ()), attempt=n, success=True) for n, reply in enumerate(["a", "b"])]
    assert run_curate(tmp_path / "d", episodes, best_per_case=0).ledger.kept == 2


def about_turns(made: Episode, **values: Sequence[Value]) -> Episode:
    """The episode with metrics of its turns: name → one value a turn."""
    metrics = [Metric(name=name, value=v, turn=n) for name, each in values.items() for n, v in enumerate(each)]
    return made.model_copy(update={"metrics": (*made.metrics, *metrics)})


def test_turns_are_kept_by_their_own_metrics_and_those_of_their_episode(tmp_path: Path) -> None:
    walk = [turn("a", "card"), turn("b", "loan"), turn("c", "pin")]
    won = about_turns(episode("won", *walk, success=True), left=[3.0, 4.0, 2.0])
    lost = about_turns(episode("lost", turn("d", "card"), turn("e", "loan"), success=False), left=[1.0, 9.0])
    blind = episode("blind", turn("f", "card"), success=True)
    run_curate(tmp_path, [won, lost, blind], keep="success or turns < 3", keep_turns="left < 4 or not success")
    assert {(line.case, line.turn): line.fate for line in read_ledger(tmp_path)} == {
        ("won", 0): KEPT,
        ("won", 1): "`left < 4 or not success` is false",
        ("won", 2): KEPT,
        ("lost", 0): KEPT,
        ("lost", 1): KEPT,
        ("blind", 0): "no metric `left`",
    }


def test_a_turn_metric_no_turn_has_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    walk = about_turns(episode("c", turn("a", "card"), success=True), path_after=[1.0])
    with pytest.raises(ConfigError, match="`path_aftr < 2`: no episode has a metric 'path_aftr'") as caught:
        run_curate(tmp_path, [walk], keep_turns="path_aftr < 2")
    assert "path_after" in caught.value.hint


def test_turn_metrics_are_no_metrics_of_the_episode(tmp_path: Path) -> None:
    walk = about_turns(episode("c", turn("a", "card"), success=True), left=[1.0])
    with pytest.raises(ConfigError, match="no episode has a metric 'left'"):
        run_curate(tmp_path, [walk], keep="left < 2")


def test_contradicting_replies_can_be_left_in(tmp_path: Path) -> None:
    rows = [episode(f"c{n}", turn("same", reply), success=True) for n, reply in enumerate(["card", "card", "pin"])]
    assert run_curate(tmp_path / "all", rows, conflicts="off", dedupe="off").ledger.kept == 3
    assert run_curate(tmp_path / "most", rows, dedupe="off").ledger.kept == 2


def test_caps_hold_and_are_counted(tmp_path: Path) -> None:
    episodes = [
        episode(f"{n:02}", turn(f"text {n}", "card" if n < 20 else LABELS[n % 3]), success=True) for n in range(26)
    ]
    manifest = run_curate(tmp_path / "d", episodes, max_per_reply=5, max_rows=8)
    per_reply = Counter(row.reply.content for row in read_dataset(tmp_path / "d")[1])
    assert manifest.ledger.kept == 8
    assert max(per_reply.values()) <= 5
    assert manifest.ledger.dropped == {"over max_per_reply": 17, "over max_rows": 1}


@pytest.mark.parametrize(("cases", "val"), [(1, 0), (9, 0), (10, 1), (12, 1)])
def test_small_sets_get_a_validation_row_from_ten_rows_on(tmp_path: Path, cases: int, val: int) -> None:
    episodes = [episode(f"{n}", turn(f"text {n}", "card"), success=True) for n in range(cases)]
    manifest = run_curate(tmp_path / "d", episodes, val_share=0.0001)
    assert manifest.splits.get("val", 0) == val
    assert run_curate(tmp_path / "d", episodes, val_share=0).splits == {"train": cases}


def test_a_case_stays_in_its_split_when_more_cases_come_in(tmp_path: Path) -> None:
    episodes = [episode(f"{n}", turn(f"text {n}", "card"), success=True) for n in range(200)]
    run_curate(tmp_path / "few", episodes[:100], val_share=0.2)
    manifest = run_curate(tmp_path / "all", episodes, val_share=0.2)
    before = {row.case: row.split for row in read_dataset(tmp_path / "few")[1]}
    after = {row.case: row.split for row in read_dataset(tmp_path / "all")[1]}
    assert before == {case: after[case] for case in before}
    assert 20 <= manifest.splits["val"] <= 60


def test_the_tasks_own_validation_cases_are_the_validation_split(tmp_path: Path) -> None:
    episodes = [episode(f"{n}", turn(f"text {n}", "card"), success=True) for n in range(30)]
    own = episode("v", turn("text v", "card"), split="val", success=True)
    run_curate(tmp_path / "d", [*episodes, own])
    assert [row.case for row in read_dataset(tmp_path / "d")[1] if row.split == "val"] == ["v"]
    with pytest.raises(DataError, match="nothing kept to train on"):
        run_curate(tmp_path / "d", [own])
    both = episode("v", turn("text v", "card"), split="train", run="other", success=True)
    with pytest.raises(DataError, match="case 'v' came in twice"):
        run_curate(tmp_path / "d", [own, both])


def test_an_episode_of_the_test_split_is_refused_by_name(tmp_path: Path) -> None:
    episodes = [episode("a", turn("t", "card"), success=True), episode("b", turn("u", "pin"), split="test")]
    with pytest.raises(DataError, match=rf"episode {episodes[1].id} of case 'b' is of the split 'test'"):
        run_curate(tmp_path / "d", episodes)
    assert not (tmp_path / "d").exists()


def test_nothing_kept_says_why_and_leaves_no_dataset(tmp_path: Path) -> None:
    episodes = [episode(f"{n}", turn("t", "card"), success=False) for n in range(3)]
    episodes.append(episode("x", failure=Failure(where="model", message="503")))
    with pytest.raises(DataError) as caught:
        run_curate(tmp_path / "d", episodes)
    assert caught.value.problem == (
        "nothing kept: 0 of 4 episodes satisfied `success`; 3 rows: `success` is false, 1 rows: failed: model"
    )
    assert "loosen" in caught.value.hint
    with pytest.raises(DataError, match="nothing kept: no episodes came in"):
        run_curate(tmp_path / "d", [])
    assert list(tmp_path.iterdir()) == []


def test_when_all_failed_the_failure_is_named_and_not_the_missing_metric(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 of 1 episodes satisfied `success`; 1 rows: failed: model"):
        run_curate(tmp_path / "d", [episode("x", failure=Failure(where="model", message="503"))])


def test_a_metric_no_episode_has_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    episodes = [episode("c", turn("t", "card"), success=True)]
    with pytest.raises(ConfigError, match=r"keep: `sucess`: no episode has a metric 'sucess' \(did you mean 'success'"):
        run_curate(tmp_path / "d", episodes, keep="sucess")
    with pytest.raises(ConfigError, match=r"rank_by: `zzz`.*known: agreement, attempt, .*success"):
        run_curate(tmp_path / "d", episodes, rank_by="zzz")


def test_a_keep_that_cannot_be_read_is_refused_with_file_and_place() -> None:
    with pytest.raises(ConfigError) as caught:
        build(CurateConfig, {"keep": "success and"}, "prentice.toml [curate]")
    assert str(caught.value).startswith(
        'prentice.toml [curate]: keep = "success and": expression: invalid syntax, at ^'
    )


def test_a_division_by_zero_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    episodes = [episode("a", turn("t", "card"), score=1.0), episode("b", turn("u", "card"), score=0.0)]
    run_curate(tmp_path / "d", episodes, keep="1 / score == 1")
    assert fates(tmp_path / "d")["b"] == "`1 / score == 1` cannot be calculated: float division by zero"


def test_an_episode_that_comes_in_twice_is_kept_once(tmp_path: Path) -> None:
    one = episode("a", turn("t", "card"), success=True)
    manifest = run_curate(tmp_path / "d", [one, one], keep="success and tries == 1")
    assert manifest.ledger.dropped == {"same episode twice": 1}


def test_no_answer_key_reaches_an_episode_or_the_dataset(tmp_path: Path) -> None:
    def play(case: Case) -> Episode:
        return episode(case.id, turn(str(case.inputs["text"]), "guess", ()), success=case.expected == "guess")

    keys = ["guess", "SECRET", "SECRET", "guess"]
    cases = [Case(id=f"case {n}", split="train", inputs={"text": f"text {n}"}, expected=k) for n, k in enumerate(keys)]
    episodes = [play(case) for case in cases]
    manifest = run_curate(tmp_path / "d", episodes)
    assert manifest.ledger.dropped == {"`success` is false": 2}
    records = [*episodes, manifest, *read_dataset(tmp_path / "d")[1], *read_ledger(tmp_path / "d")]
    assert not any("SECRET" in record.model_dump_json() for record in records)
    assert not any(b"SECRET" in file.read_bytes() for file in (tmp_path / "d").iterdir())


def test_curation_does_not_even_load_the_tasks() -> None:
    code = "import sys, prentice.curation; print([m for m in sys.modules if m.startswith('prentice.tasks')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


some_turn = st.builds(
    turn,
    st.sampled_from(["a", "b", "lost my card today", "lost my card today!"]),
    st.sampled_from(["card", "pin", ""]),
    st.sampled_from([LABELS, ()]),
    finish_reason=st.sampled_from(["stop", "length"]),
)
some_episode = st.builds(
    lambda case, turns, attempt, run, failure, metrics: episode(
        case, *turns, attempt=attempt, run=run, failure=failure, **metrics
    ),
    st.sampled_from([f"case {n}" for n in range(8)]),
    st.lists(some_turn, max_size=3),
    st.integers(0, 3),
    st.sampled_from(["r", "s"]),
    st.sampled_from([None, None, None, Failure(where="model", message="m")]),
    st.dictionaries(st.sampled_from(["success", "score"]), st.sampled_from([True, False, 1.0, 0.0])),
)
some_config = st.builds(
    CurateConfig,
    keep=st.sampled_from(["not failed", "tries > 0", "agreement > 0.3 or attempt == 0"]),
    best_per_case=st.integers(0, 3),
    rank_by=st.sampled_from([None, "agreement", "1 / attempt"]),
    dedupe=st.sampled_from(["exact", "near", "off"]),
    max_per_reply=st.sampled_from([None, 1, 4]),
    max_rows=st.sampled_from([None, 1, 5]),
    val_share=st.sampled_from([0.0, 0.1, 0.9]),
    seed=st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), episodes=st.lists(some_episode, max_size=14), config=some_config)
def test_the_ledger_adds_up_no_case_is_in_two_splits_and_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, episodes: list[Episode], config: CurateConfig
) -> None:
    out = tmp_path_factory.mktemp("curate") / "d"
    episodes = [*episodes, episode("always kept", turn("only here", "loan"))]
    manifest = curate(config, episodes, render=render, out=out)
    _, rows = read_dataset(out)
    lines = read_ledger(out)
    assert len(lines) == sum(max(1, len(e.turns)) for e in episodes)
    assert Counter(line.fate for line in lines) == Counter({KEPT: len(rows), **manifest.ledger.dropped})
    kept = {(line.episode, line.turn) for line in lines if line.fate == KEPT}
    assert kept == {(row.episode, row.turn) for row in rows}
    splits = defaultdict(set)
    for row in rows:
        splits[row.case].add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert manifest.splits["train"] + manifest.splits.get("val", 0) == len(rows)
    if len({e.id for e in episodes}) == len(episodes):
        shuffled = data.draw(st.permutations(episodes))
        assert curate(config, shuffled, render=render, out=out) == manifest


def test_weight_by_says_how_much_a_row_counts(tmp_path: Path) -> None:
    played = [episode(f"c{n}", turn(f"t{n}", "card"), success=True, quality=0.25 * (n + 1)) for n in range(4)]
    config = CurateConfig(weight_by="2 * quality", val_share=0.0)
    curate(config, played, render=render, out=tmp_path / "out")
    weights = {row.case: row.weight for row in read_dataset(tmp_path / "out")[1]}
    assert weights == {"c0": 0.5, "c1": 1.0, "c2": 1.5, "c3": 2.0}


@pytest.mark.parametrize(
    ("quality", "reason"), [(0.0, "gives it the weight 0"), (-1.0, "gives it the weight -1"), (None, "no metric")]
)
def test_a_row_without_a_weight_above_0_is_named(tmp_path: Path, quality: float | None, reason: str) -> None:
    first, text = episode("c0", turn("t0", "card"), success=True, quality=1.0), turn("t1", "card")
    odd = episode("c1", text, success=True) if quality is None else episode("c1", text, success=True, quality=quality)
    played = [first, odd]
    with pytest.raises(DataError, match=f"turn 0: `quality` .*{reason}"):
        curate(CurateConfig(weight_by="quality"), played, render=render, out=tmp_path / "out")
