"""Pairs and thumbs from episodes, edits and a critic: what is held against what, and every reply accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError

from prentice.curation import PairsConfig, curate_pairs, curate_thumbs, pairs_summary
from prentice.curation.critic import (
    CriticConfig,
    Hearing,
    Question,
    answered,
    asked_of,
    hear,
    position_bias,
)
from prentice.curation.material import FOREIGN, Material, material
from prentice.curation.parting import from_critic, from_edits, from_episodes, undecided
from prentice.errors import ConfigError, DataError, ModelError
from prentice.models.scripted import ScriptedModel
from prentice.progress import Silent
from prentice.records import Episode, Ledger, Manifest, Message, Metric, Pair, Request, Thumb, Tool, ToolCall, Turn
from prentice.records.parquet import KEPT, PAIRS, THUMBS, LedgerRow, read_ledger, read_rows, rows_hash, write_rows
from test_curation_demonstrations import episode, failure_, said, shown, turn

CONFIG = PairsConfig(val_share=0)


def render(function: str, inputs: Mapping[str, JsonValue]) -> Request:
    return Request(function=function, messages=(Message(role="user", content=str(inputs["text"])),))


def tries(case: str, *replies: tuple[str, bool], text: str = "") -> list[Episode]:
    """Attempts of one turn at a case: reply and success of each."""
    return [
        episode(case, turn(text or case, reply), success=good, attempt=number)
        for number, (reply, good) in enumerate(replies)
    ]


def looked_at(*episodes: Episode, better: str = "success") -> Material:
    return material(episodes, better, render, Silent())


def made(out: Path, *episodes: Episode, config: PairsConfig = CONFIG) -> tuple[Manifest, list[Pair]]:
    """Pairs of episodes and edits, as they are read back."""
    found = looked_at(*episodes, better=config.better)
    candidates = [*from_edits(found, render), *from_episodes(found)]
    manifest = curate_pairs(config, found, candidates, out)
    assert read_rows(out, PAIRS)[0] == manifest
    return manifest, read_rows(out, PAIRS)[1]


def sides(pairs: Sequence[Pair]) -> list[tuple[str, str, str]]:
    return [(pair.case, pair.chosen.content, pair.rejected.content) for pair in pairs]


def test_the_right_reply_stands_over_the_wrong_ones_of_its_case(tmp_path: Path) -> None:
    manifest, pairs = made(
        tmp_path / "p",
        *tries("a", ("card", True), ("pin", False), ("loan", False), ("pin", False)),
        *tries("b", ("x", True)),
    )
    # the mistake that was made twice comes first
    assert sides(pairs) == [("a", "card", "pin"), ("a", "card", "loan")]
    assert {pair.source for pair in pairs} == {"episodes"}
    assert pairs[0].reason == "`success` is 1 against 0"
    assert pairs[0].messages == (Message(role="user", content="a"),)
    assert len(pairs[0].episodes) == 2
    assert (manifest.ledger.rows_in, manifest.ledger.kept) == (5, 3)
    assert manifest.ledger.dropped == {"the same pair again": 1, "its case was tried once": 1}
    assert pairs_summary(manifest, "pairs")[0] == "2 pairs of 3 among 5 replies (60 %): 2 train"


def test_attempts_of_several_turns_are_compared_where_they_part_ways(tmp_path: Path) -> None:
    good = episode("c", turn("start", "left"), turn("door", "open"), turn("in", "done"), success=True)
    bad = episode("c", turn("start", "left"), turn("door", "knock"), turn("out", "wait"), success=False, attempt=1)
    _, pairs = made(tmp_path / "p", good, bad)
    assert sides(pairs) == [("c", "open", "knock")]
    assert pairs[0].turn == 1
    fates = {(line.episode, line.turn): line.fate for line in read_ledger(tmp_path / "p")}
    assert fates[good.id, 1] == fates[bad.id, 1] == KEPT
    assert fates[good.id, 0] == fates[bad.id, 2] == "not where attempts part ways"


def test_attempts_whose_environment_went_another_way_are_not_compared(tmp_path: Path) -> None:
    good = episode("c", turn("start", "left"), turn("door", "open"), success=True)
    bad = episode("c", turn("start", "left"), turn("wall", "knock"), success=False, attempt=1)
    with pytest.raises(DataError, match="4: what came before was shown to one side alone"):
        made(tmp_path / "p", good, bad)


def test_a_case_with_only_successes_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    episodes = [*tries("a", ("card", True), ("card", True)), *tries("b", ("pin", True), ("pin!", True))]
    with pytest.raises(DataError) as caught:
        made(tmp_path / "p", *episodes)
    assert caught.value.problem == "no pairs to learn from in 4 replies (4: its case has successes only)"
    assert "rollout.tries = 4" in caught.value.hint
    assert "prentice train sft" in caught.value.hint
    assert not (tmp_path / "p").exists()


def test_pairs_with_equal_sides_are_dropped_and_counted(tmp_path: Path) -> None:
    """The environment may take the same reply once as right and once as wrong, and an edit may change nothing."""
    same = tries("a", ("card", True), ("card", False))
    unchanged = episode("b", turn("b", "pin"), demonstrations=[shown(0, "pin")])
    manifest, pairs = made(tmp_path / "p", *same, unchanged, *tries("c", ("x", True), ("y", False)))
    assert sides(pairs) == [("c", "x", "y")]
    assert manifest.ledger.dropped == {"both sides say the same": 3}


def test_a_pair_with_equal_sides_cannot_be_made(tmp_path: Path) -> None:
    _, (pair,) = made(tmp_path / "p", *tries("c", ("x", True), ("y", False)))
    with pytest.raises(ValidationError, match="both sides say the same, so nothing can be preferred"):
        Pair.model_validate({**dict(pair), "rejected": pair.chosen})


def test_an_edit_stands_over_the_reply_it_was_written_for(tmp_path: Path) -> None:
    edited = episode("a", turn("a", "crd"), turn("b", "y"), demonstrations=[shown(0, "first"), shown(0, "card")])
    broken = episode("b", turn("c", "?"), demonstrations=[shown(0, "pin")], failure=failure_())
    manifest, pairs = made(tmp_path / "p", edited, broken)
    assert sides(pairs) == [("a", "card", "crd"), ("b", "pin", "?")]
    assert {(pair.source, pair.reason) for pair in pairs} == {("edits", "edited by ann")}
    assert manifest.demonstrations == 2
    assert manifest.ledger.dropped == {"its case was tried once": 1}


def test_of_pairs_that_say_the_contrary_a_persons_stays_and_others_both_go(tmp_path: Path) -> None:
    one = tries("a", ("card", True), ("pin", False), text="same")
    other = tries("b", ("pin", True), ("card", False), text="same")
    with pytest.raises(DataError, match="4: another pair says the contrary"):
        made(tmp_path / "p", *one, *other)
    edited = episode("c", turn("same", "card"), demonstrations=[shown(0, "pin")], success=None)
    _, pairs = made(tmp_path / "q", *one, edited)
    assert sides(pairs) == [("c", "pin", "card")]


def test_a_case_gives_no_more_than_per_case(tmp_path: Path) -> None:
    wrong = [(f"wrong {n}", False) for n in range(6)]
    config = CONFIG.model_copy(update={"per_case": 2})
    manifest, pairs = made(tmp_path / "p", *tries("a", ("card", True), *wrong), config=config)
    assert len(pairs) == 2
    assert manifest.ledger.dropped == {"over per_case": 4}


def test_the_better_of_two_may_be_a_number(tmp_path: Path) -> None:
    scored = [
        episode("a", turn("a", f"r{n}"), attempt=n, success=None, words=[Metric(name="reward", value=value)])
        for n, value in enumerate((0.2, 0.9, 0.2))
    ]
    unknown = episode("a", turn("a", "r3"), attempt=3, success=None)
    _, pairs = made(tmp_path / "p", *scored, unknown, config=CONFIG.model_copy(update={"better": "reward"}))
    assert sides(pairs) == [("a", "r1", "r0"), ("a", "r1", "r2")]


def test_what_cannot_be_used_is_counted_under_its_reason(tmp_path: Path) -> None:
    foreign = episode("b", Turn(request=Request(function="f", messages=()), reply=turn("", "z").reply))
    cut = episode("a", turn("a", "endless", finish_reason="length"), success=False, attempt=1)
    gone = episode("a", turn("a", "pin"), success=False, attempt=2, failure=failure_())
    manifest, _ = made(
        tmp_path / "p", *tries("a", ("card", True)), cut, gone, foreign, *tries("c", ("x", True), ("y", False))
    )
    assert manifest.ledger.dropped == {
        "not where attempts part ways": 1,
        "reply cut at max_tokens": 1,
        "failed: model": 1,
        FOREIGN: 1,
    }


def test_no_case_is_in_both_splits_and_the_same_ones_as_in_curation_are_set_aside(tmp_path: Path) -> None:
    episodes = [e for n in range(40) for e in tries(f"c{n}", ("x", True), ("y", False), ("z", False))]
    manifest, pairs = made(tmp_path / "p", *episodes, config=PairsConfig(val_share=0.2))
    split = {pair.case: pair.split for pair in pairs}
    assert all(split[pair.case] == pair.split for pair in pairs)
    assert 0 < manifest.splits["val"] < manifest.splits["train"]


@settings(max_examples=40, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans(), st.sampled_from([None, "x", "edit"])),
        min_size=1,
        max_size=12,
    )
)
def test_every_reply_is_kept_or_counted_and_no_pair_contradicts_another(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[str, str, bool, str | None]]
) -> None:
    episodes = [
        episode(
            case,
            turn(case, reply),
            success=good,
            attempt=number,
            demonstrations=[shown(0, edit)] if edit else [],
        )
        for number, (case, reply, good, edit) in enumerate(data)
    ]
    out = tmp_path_factory.mktemp("pairs") / "p"
    try:
        manifest, pairs = made(out, *episodes)
    except DataError as error:
        assert "no pairs" in error.problem  # noqa: PT017 - one of the two must come out
        return
    assert manifest.ledger.rows_in == len(data)
    assert Counter(line.fate for line in read_ledger(out))[KEPT] == manifest.ledger.kept > 0
    known = {(pair.messages, pair.chosen.content, pair.rejected.content) for pair in pairs}
    assert len(known) == len(pairs)
    edits = {
        key
        for key, pair in zip([(p.messages, p.chosen.content, p.rejected.content) for p in pairs], pairs, strict=True)
        if pair.source == "edits"
    }
    assert not any((messages, rejected, chosen) in known for messages, chosen, rejected in known - edits)


def test_equal_episodes_in_any_order_give_equal_pairs(tmp_path: Path) -> None:
    episodes = [e for n in range(5) for e in tries(f"c{n}", ("x", True), ("y", False), ("z", False))]
    first, _ = made(tmp_path / "a", *episodes)
    second, _ = made(tmp_path / "b", *reversed(episodes))
    assert first == second
    assert (tmp_path / "a" / "rows.parquet").read_bytes() == (tmp_path / "b" / "rows.parquet").read_bytes()


def test_edits_need_no_metric_and_a_metric_that_nobody_has_is_named_where_it_is_needed(tmp_path: Path) -> None:
    plain = episode("a", turn("a", "crd"), success=None, demonstrations=[shown(0, "card")])
    found = looked_at(plain)
    edits = from_edits(found, render)
    assert [candidate.source for candidate in [*edits, *from_episodes(found, strict=not edits)]] == ["edits"]
    with pytest.raises(ConfigError, match=r"pairs\.better: `sucess`: no episode has a metric 'sucess'"):
        made(tmp_path / "p", *tries("a", ("card", True)), config=CONFIG.model_copy(update={"better": "sucess"}))


def thumbs(out: Path, *episodes: Episode) -> tuple[Manifest, list[Thumb]]:
    found = looked_at(*episodes)
    manifest = curate_thumbs(CONFIG, found, render, out)
    return manifest, read_rows(out, THUMBS)[1]


def test_a_thumb_is_the_last_word_on_a_reply(tmp_path: Path) -> None:
    overruled = episode("a", turn("a", "card"), success=True, words=[said("success", False)])
    by_turn = episode("b", turn("b", "x"), turn("c", "y"), success=True, words=[said("success", True, 1)])
    edited = episode("d", turn("d", "z"), success=None, demonstrations=[shown(0, "better")])
    manifest, found = thumbs(tmp_path / "t", overruled, by_turn, edited)
    assert [(t.case, t.reply.content, t.good) for t in found] == [
        ("a", "card", False),
        ("b", "y", True),
        ("d", "better", True),
    ]
    assert manifest.ledger.dropped == {"nobody said what it is worth": 1}
    assert manifest.notes == ("2 thumbs up, 1 down",)


def test_a_reply_that_was_judged_both_ways_is_dropped(tmp_path: Path) -> None:
    both = tries("a", ("card", True), ("card", False))
    manifest, found = thumbs(tmp_path / "t", *both, *tries("b", ("x", True)), *tries("c", ("y", False)))
    assert [(t.case, t.good) for t in found] == [("b", True), ("c", False)]
    assert manifest.ledger.dropped == {"judged both ways": 2}


def test_thumbs_of_one_kind_alone_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="thumbs to learn from: thumbs up only in 2 replies") as caught:
        thumbs(tmp_path / "t", *tries("a", ("card", True)), *tries("b", ("x", True)))
    assert "prentice label" in caught.value.hint


def questions(count: int) -> list[Question]:
    asked = (Message(role="user", content="Which?"),)
    return [
        Question(asked, Message(role="assistant", content=f"good {n}"), Message(role="assistant", content=f"bad {n}"))
        for n in range(count)
    ]


def critic(verdict: Callable[[str, str], str]) -> ScriptedModel:
    """A model that sees the two replies in their order and says which it takes."""

    def answer(request: Request) -> str:
        text = request.messages[-1].content
        first, second = text.partition("The first reply:\n")[2].split("\n\nThe second reply:\n")
        return json.dumps({"reason": f"since {first} is not {second}", "verdict": verdict(first, second)})

    return ScriptedModel(answer, name="judge", slots=4)


def by_content(first: str, second: str) -> str:
    return "first" if first.startswith("good") else "second"


def heard(policy: ScriptedModel, out: Path, count: int = 8, config: CriticConfig = CriticConfig()) -> Hearing:  # noqa: B008
    return hear(questions(count), policy, config, "judge", out, Silent())


def test_a_verdict_stands_only_if_it_is_the_same_with_the_replies_swapped(tmp_path: Path) -> None:
    def sometimes_first(first: str, second: str) -> str:
        return "first" if first.endswith(("1", "2", "3")) else by_content(first, second)

    found = heard(critic(sometimes_first), tmp_path)
    assert [judged.winner for judged in found.judged] == [0, None, None, None, 0, 0, 0, 0]
    assert found.judged[0].reason == "since good 0 is not bad 0"
    assert found.counts == {"agreed": 5, "took the first both times": 3}
    # 5 pairs with one answer each way, 3 with two for the first: (5 + 6) of 16
    assert found.bias.value == pytest.approx(11 / 16)
    assert found.bias.low < 11 / 16 < found.bias.high
    assert found.told("judge")[1].startswith("position bias: the first reply won in 69 % of its answers")


def test_position_bias_is_half_where_a_critic_has_none_and_its_interval_speaks_of_pairs() -> None:
    assert position_bias(20, 0, 0).value == 0.5
    assert position_bias(0, 7, 3).value == pytest.approx(0.7)
    # 100 pairs that agree say much less about a bias of one half than 100 independent answers would
    narrow = position_bias(100, 0, 0)
    assert narrow.high - narrow.low < 0.05


def test_a_critic_that_contradicts_itself_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        heard(critic(lambda *_: "first"), tmp_path)
    assert caught.value.problem == (
        "critic judge contradicts itself: asked again with the replies swapped, it took the same place in 8 of 8 pairs "
        "(8 the first, 0 the second) and the same reply in none"
    )
    assert "pairs.critic.model" in caught.value.hint


def test_a_call_that_fails_is_counted_and_asked_again_and_what_was_answered_is_not(tmp_path: Path) -> None:
    calls: list[int] = []

    def broken(first: str, second: str) -> str:
        calls.append(1)
        if "3" in first:
            raise AssertionError
        return by_content(first, second)

    def answer(request: Request) -> str | Exception:
        if "3" in request.messages[-1].content:
            calls.append(1)
            return ModelError("503 from provider")
        return asyncio_free(critic(broken), request)

    found = heard(ScriptedModel(answer, name="judge", slots=4), tmp_path)
    assert found.counts == {"agreed": 7, "calls failed": 1}
    assert found.judged[3].winner is None
    assert len(calls) == 16
    again = heard(critic(by_content), tmp_path)
    assert again.counts == {"agreed": 8}
    asked = asked_of(questions(8), CriticConfig(), "judge")
    assert len(answered(tmp_path, (key for key, _ in asked))) == 16
    assert len((tmp_path / "critic.jsonl").read_text().splitlines()) == 16


def asyncio_free(policy: ScriptedModel, request: Request) -> str:
    """A scripted model's text, without an event loop."""
    answer = policy._answer(request)
    assert isinstance(answer, str)
    return answer


def test_an_answer_cut_off_by_a_kill_is_asked_again(tmp_path: Path) -> None:
    heard(critic(by_content), tmp_path)
    path = tmp_path / "critic.jsonl"
    path.write_text(path.read_text()[:-20])
    asked = asked_of(questions(8), CriticConfig(), "judge")
    assert len(answered(tmp_path, (key for key, _ in asked))) == 15
    assert heard(critic(by_content), tmp_path).counts == {"agreed": 8}
    assert heard(critic(lambda *_: "first"), tmp_path).counts == {"agreed": 8}


@pytest.mark.parametrize("text", ["the first one", '{"verdict": "first"}', '{"reason": "x", "verdict": "both"}', "[]"])
def test_a_critic_that_gives_no_verdict_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="critic judge answered nothing: 16 calls failed, the first: it said"):
        heard(ScriptedModel(lambda _: text, name="judge"), tmp_path)


def test_a_critic_makes_pairs_of_replies_that_nobody_else_judged(tmp_path: Path) -> None:
    plain = [episode("a", turn("a", r), attempt=n, success=None) for n, r in enumerate(("good", "bad", "good"))]
    judged = tries("b", ("x", True), ("y", False))
    found = looked_at(*plain, *judged)
    both = undecided(found, 4)
    assert [(one.example.reply.content, other.example.reply.content) for one, other in both] == [("good", "bad")]
    asked = [Question(found.asked(one), one.example.reply, other.example.reply) for one, other in both]
    hearing = hear(asked, critic(by_content), CriticConfig(), "j", tmp_path, Silent())
    curate_pairs(CONFIG, found, from_critic(found, both, hearing.judged), tmp_path / "p", hearing.told("judge"))
    manifest, pairs = read_rows(tmp_path / "p", PAIRS)
    assert sides(pairs) == [("a", "good", "bad")]
    assert (pairs[0].source, pairs[0].reason) == ("critic", "since good is not bad")
    assert "asked twice with the replies swapped: 1 agreed" in manifest.notes[0]


def test_a_damaged_set_of_pairs_names_the_command_that_makes_it_again(tmp_path: Path) -> None:
    made(tmp_path / "p", *tries("c", ("x", True), ("y", False)))
    path = tmp_path / "p" / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"rows\.parquet: damaged") as caught:
        read_rows(tmp_path / "p", PAIRS)
    assert "prentice curate pairs" in caught.value.hint


def test_pairs_read_back_with_their_tools_and_calls(tmp_path: Path) -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(id="1", name="look", arguments="{}"),))
    pair = Pair(
        id="p",
        episodes=("a", "b"),
        case="c",
        messages=(Message(role="user", content="Where?"),),
        tools=(Tool(name="look", parameters={"type": "object"}),),
        chosen=call,
        rejected=Message(role="assistant", content="There."),
        weight=0.5,
        source="critic",
        reason="it looks first",
    )
    ledger = [LedgerRow(episode=name, turn=0, case="c", fate=KEPT) for name in ("a", "b")]
    manifest = Manifest(hash=rows_hash([pair]), ledger=Ledger(rows_in=2, kept=2), splits={"train": 1}, config={})
    write_rows(tmp_path / "p", PAIRS, [pair], ledger, manifest)
    assert read_rows(tmp_path / "p", PAIRS) == (manifest, [pair])
    again = call.model_copy(update={"tool_calls": (call.tool_calls[0].model_copy(update={"id": "2"}),)})
    with pytest.raises(ValidationError, match="both sides say the same"):
        Pair.model_validate({**dict(pair), "rejected": again})
