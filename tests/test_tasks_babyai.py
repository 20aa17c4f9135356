"""BabyAI: the wording, the paths, the metrics of a turn, illegal replies, and policies that keep their secret."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.config import build
from prentice.errors import ConfigError, UnknownNameError
from prentice.models import ScriptedModel
from prentice.records import Episode, Message, Reply, Request, Sampling
from prentice.rollouts import play
from prentice.tasks.babyai import BabyAI, BabyAIConfig
from prentice.tasks.babyai.paths import STEP
from prentice.tasks.babyai.policies import MOVES, Expert, RandomWalk
from prentice.tasks.babyai.sight import View
from prentice.tasks.babyai.task import EXAMPLE, legal_action
from prentice.tasks.babyai.words import ACTIONS, blocked_ways, describe, focus, is_about, shorten
from prentice.tasks.babyai.world import World, level_ids, make_level

HERE = Path()
UNSEEN, EMPTY, WALL, DOOR, KEY, BALL, BOX = 0, 1, 2, 4, 5, 6, 7
LEVELS = ("GoToLocal", "GoToDoor", "UnlockPickup", "KeyCorridorS3R3", "BossLevel")


def make_task(**settings_: Any) -> BabyAI:
    """A task on a small level."""
    return BabyAI(BabyAIConfig.model_validate({"level": "GoToObj", **settings_}), HERE)


def view(*things: tuple[int, int, int, int, int]) -> View:
    """Empty cells with things in them: (x, y, type, colour, state)."""
    cells: View = [[(EMPTY, 0, 0)] * 7 for _ in range(7)]
    for x, y, kind, colour, state in things:
        cells[x][y] = (kind, colour, state)
    return cells


async def episode(task: BabyAI, policy: Any, number: int = 0, seed: int = 0) -> Episode:
    """One attempt at one training case."""
    case = task.cases("train")[number]
    return await play(policy, task.environment("student"), case, run="r", task="t", sampling=Sampling(seed=seed))


def test_the_wording_is_that_of_balrog() -> None:
    image = view((3, 2, WALL, 5, 0), (0, 6, WALL, 5, 0), (4, 6, DOOR, 2, 1), (2, 5, KEY, 5, 0), (3, 4, BALL, 0, 0))
    assert describe(image, ("blue", "box")) == "\n".join(
        [
            "You carry a blue box",
            "a wall 3 steps left",
            "a grey key 1 step left and 1 step forward",
            "a red ball 2 steps forward",
            "a closed blue door 1 step right",
        ]
    ), "the ball hides the wall ahead, the door the one to the right; columns come before rows"


@given(level=st.sampled_from(LEVELS), seed=st.integers(0, 10_000), dice=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_agent_sees_what_minigrid_says_it_sees(level: str, seed: int, dice: random.Random) -> None:
    world = World(level, seed, max_steps=100)
    theirs = make_level(level)
    seen, _ = theirs.reset(seed=seed)
    for _ in range(30):
        carrying = theirs.carrying and (theirs.carrying.color, theirs.carrying.type)
        assert world.observation == describe(seen["image"].tolist(), carrying)
        action = dice.choice((*ACTIONS, "go forward", "go forward"))
        seen, *_ = theirs.step(ACTIONS.index(action))
        world.act(action)


def test_a_look_ahead_goes_through_unseen_cells_and_the_own_cell_is_no_object() -> None:
    image = view((3, 5, UNSEEN, 0, 0), (3, 4, WALL, 5, 0), (3, 6, BALL, 0, 0))
    assert describe(image) == "a wall 2 steps forward"


def test_the_students_wording_keeps_every_fact_in_fewer_words() -> None:
    assert shorten("a red key 2 steps left and 1 step forward\na wall 5 steps right") == (
        "red key two left one forward\nwall five right"
    )


@pytest.mark.parametrize(
    ("line", "mission", "about"),
    [
        ("red key two left one forward", "go to the red key", True),
        ("red ball two forward", "go to a ball on your left", True),
        ("closed red door one left", "go to the red door", True),
        ("red ball two forward", "go to the blue ball", False),
        ("red ball two forward", "go to the red key", False),
        ("wall two left", "go to the wall", False),
        ("nothing", "go to the red key", False),
    ],
)
def test_what_the_instruction_names_is_found_in_what_is_seen(line: str, mission: str, about: bool) -> None:
    assert is_about(line, mission) is about


@pytest.mark.parametrize(
    ("line", "ways"),
    [
        ("grey key one forward", ["forward"]),
        ("wall one left", ["left"]),
        ("closed red door one right", ["right"]),
        ("red ball one right", []),
        ("grey key two right", []),
        ("grey key one left one forward", []),
    ],
)
def test_a_way_is_blocked_by_what_stands_beside_the_walker_and_is_no_goal(line: str, ways: list[str]) -> None:
    assert blocked_ways(line, "go to the red ball") == ways


def test_a_wall_that_blocks_a_way_is_told_once() -> None:
    seen = "wall one left\nwall three forward\ngreen key one forward\nblue box one right\nred ball two left"
    assert focus(seen, "go to the red ball").splitlines() == [
        *("wall three forward", "red ball two left", "blocked forward left right")
    ]


SEEN = "\n".join(
    [
        "You carry a blue box",
        "a red ball 2 steps forward",
        "a wall 3 steps left",
        "a red key 1 step right and 1 step forward",
        "a green key 1 step forward",
    ]
)


@pytest.mark.parametrize(
    ("view", "told"),
    [
        ("goal", ["You carry blue box", "wall three left", "red ball two forward", "blocked forward"]),
        (
            "all",
            [
                *("You carry blue box", "red ball two forward", "wall three left"),
                *("red key one right one forward", "green key one forward"),
            ],
        ),
    ],
)
def test_the_student_is_told_what_its_view_says_and_its_goal_last(view: str, told: list[str]) -> None:
    task = make_task(student_view=view)
    student = task.render("act", {**EXAMPLE, "observation": SEEN}, "student")
    assert student.messages[-1].content.splitlines() == ["blocked turn left", *told, "go to the red ball"]
    teacher = task.render("act", {**EXAMPLE, "observation": SEEN}, "teacher")
    assert SEEN in teacher.messages[-1].content


def test_levels_are_known_by_name_and_a_wrong_name_names_the_nearest() -> None:
    assert level_ids()["GoToRedBall"].startswith("BabyAI-GoToRedBall-v")
    with pytest.raises(UnknownNameError, match="GoToLokal"):
        make_task(level="GoToLokal")


@pytest.mark.parametrize("level", ["GoToObj", "GoToLocal", "GoTo", "Open", "PickupLoc", "PutNextLocal", "UnlockPickup"])
async def test_the_expert_solves_levels_of_every_kind(level: str) -> None:
    task = make_task(level=level, max_steps=200)
    assert [(await episode(task, Expert(), n)).metric("success") for n in range(5)] == [True] * 5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5000), st.lists(st.sampled_from(ACTIONS[:3]), max_size=12))
def test_the_path_left_is_the_fewest_actions_by_plain_search(seed: int, moves: list[str]) -> None:
    world = World("GoToLocal", seed, 1000)
    for move in moves:
        if world.act(move).done:
            return
    assert world.path_left() == _searched(world)


def _searched(world: World) -> int:
    """Breadth first over places by minigrid's own rules of movement: the path's length, found another way."""
    env, grid = world.env, world.env.grid
    aims = {tuple(map(int, pos)) for pos in env.instrs.desc.obj_poss}
    front = [(int(env.agent_pos[0]), int(env.agent_pos[1]), int(env.agent_dir))]
    seen, steps = set(front), 0
    while front:
        if any((x + STEP[d][0], y + STEP[d][1]) in aims for x, y, d in front):
            return steps
        reached = []
        for x, y, d in front:
            ahead = (x + STEP[d][0], y + STEP[d][1])
            cell = grid.get(*ahead)
            walked = (*ahead, d) if cell is None or cell.can_overlap() else (x, y, d)
            reached += [(x, y, (d + 1) % 4), (x, y, (d - 1) % 4), walked]
        front = [place for place in dict.fromkeys(reached) if place not in seen]
        seen |= set(front)
        steps += 1
    raise AssertionError("no way")


async def test_turn_metrics_are_those_of_the_state_before_and_after() -> None:
    task = make_task(max_steps=4)
    played = await episode(task, ScriptedModel(["turn left", "turn right", "drop", "go forward"]), number=1)
    assert not played.metric("success"), "the case was chosen so that these four steps do not end it"
    by_turn = [{m.name: m.value for m in played.metrics if m.turn == n} for n in range(4)]
    assert all(abs(float(t["path_after"]) - float(t["path_before"])) <= 1 for t in by_turn)
    assert [t["path_before"] for t in by_turn[1:]] == [t["path_after"] for t in by_turn[:-1]]
    assert by_turn[1]["path_after"] == by_turn[0]["path_before"], "left and right again"
    assert [t["nothing_changed"] for t in by_turn[:3]] == [False, False, True]
    assert [t["seen_before"] for t in by_turn[:3]] == [False, True, True]


async def test_an_episode_says_how_it_ended() -> None:
    task = make_task()
    won = await episode(task, Expert())
    assert won.metric("success") is True
    assert won.metric("steps") == len(won.turns)
    assert won.metric("return") == pytest.approx(1 - 0.9 * len(won.turns) / 20)
    lost = await episode(make_task(max_steps=2), ScriptedModel(["drop", "drop"]))
    assert [lost.metric(name) for name in ("success", "steps", "return")] == [False, 2.0, 0.0]


@pytest.mark.parametrize(
    ("illegal", "steps", "state_changes"), [("wait", 3, False), ("forward", 3, True), ("end", 1, False)]
)
async def test_illegal_replies_are_counted_and_handled_as_the_task_says(
    illegal: str, steps: int, state_changes: bool
) -> None:
    task = make_task(illegal=illegal, max_steps=3)
    played = await episode(task, ScriptedModel(lambda _: "fly"), number=3)
    assert played.metric("illegal_replies") == played.metric("steps") == steps
    changed = [m.value is False for m in played.metrics if m.name == "nothing_changed"]
    assert any(changed) is state_changes
    assert played.metric("success") is False


@pytest.mark.parametrize(
    ("text", "reasoning", "action"),
    [
        ("go forward", False, "go forward"),
        (" Go  Forward.\n", False, "go forward"),
        ("I go forward", False, None),
        ("The key is left of me.\nAction: turn left", True, "turn left"),
        ("Action: drop\nNo: Action: **pick up**", True, "pick up"),
        ("go forward", True, None),
        ("走 \u202eforward 🚶", False, None),
        ("x" * 500_000, False, None),
    ],
)
def test_what_counts_as_an_action(text: str, reasoning: bool, action: str | None) -> None:
    reply = Reply(message=Message(role="assistant", content=text), model="m")
    assert legal_action(reply, reasoning=reasoning) == action


async def test_the_prompt_shows_as_much_history_as_is_asked_for() -> None:
    for history, shown in ((0, 0), (2, 2)):
        task = make_task(level="GoToLocal", history=history)
        played = await episode(task, ScriptedModel(["drop"] * 20))
        student, inputs = played.turns[5].request, played.turns[5].request.inputs
        assert len(inputs["history"]) == shown  # type: ignore[arg-type]
        assert student.messages[-1].content.count("drop") == shown
        assert "drop" not in played.turns[0].request.messages[-1].content
        teacher = task.render("act", inputs, "teacher")
        assert teacher.messages[-1].content.count("You did: drop") == shown
        assert student.choices == teacher.choices == ACTIONS


def test_the_reasoning_prompt_asks_for_thoughts_and_leaves_the_reply_free() -> None:
    inputs = {"mission": "go", "observation": "", "history": [], "actions": [], "level": "GoToObj", "seed": 1}
    request = make_task(reasoning=True).render("act", inputs, "teacher")  # type: ignore[arg-type]
    assert request.choices == ()
    assert "Action:" in request.messages[0].content


async def test_whether_a_step_was_the_experts_or_random_is_never_recorded() -> None:
    """Everything but the action itself is equal in a record of an expert's step and of a random one."""
    task = make_task(level="GoToLocal")
    clumsy, expert = Expert(0.5), Expert(0.0)
    differences = steps = 0
    for number in range(10):
        played = await episode(task, clumsy, number, seed=number)
        for turn in played.turns:
            best = await expert.generate(turn.request, Sampling(seed=number))
            differences += best.text != turn.reply.text
            steps += 1
            plain = turn.reply.model_copy(update={"message": best.message, "model": best.model})
            assert plain == best, "no field but the text tells a random step from the expert's"
        assert {m.name for m in played.metrics} == {
            *("path_before", "path_after", "nothing_changed", "seen_before"),
            *("success", "steps", "return", "illegal_replies"),
        }
        assert not played.tags
    # half of the steps are one of three moves, of which one is mostly the expert's own: a third of all differ
    assert differences / steps == pytest.approx(1 / 3, abs=0.1)


async def test_random_steps_repeat_with_their_seed() -> None:
    task = make_task(level="GoToLocal", clumsiness=0.5)
    clumsy = task.baselines()["clumsy expert"]
    assert clumsy.name == "clumsy expert (50% random steps)"
    one, other, third = [await episode(task, clumsy, 1, seed=seed) for seed in (1, 1, 2)]
    assert [t.reply.text for t in one.turns] == [t.reply.text for t in other.turns]
    assert [t.reply.text for t in one.turns] != [t.reply.text for t in third.turns]
    walk = await episode(task, RandomWalk(), 2)
    assert {t.reply.text for t in walk.turns} == set(MOVES)


async def test_an_expert_that_lost_track_plans_from_what_is_left() -> None:
    task = make_task(level="GoToLocal")
    chaos, expert = random.Random(3), Expert()
    ends = []
    for case in task.cases("train")[:6]:
        walk = task.environment("student")
        request: Request | None = await walk.reset(case)
        steps = 0
        while request is not None:
            is_lost = steps < 15
            text = chaos.choice(ACTIONS) if is_lost else (await expert.generate(request, Sampling())).text
            step = await walk.step(Reply(message=Message(role="assistant", content=text), model="m"))
            request, steps = step.request, steps + 1
        success = next(metric.value for metric in step.metrics if metric.name == "success")
        ends.append((steps > 15, success))
    assert ends.count((True, True)) >= 4, "it takes over after fifteen steps of chaos, and gets there in time"


def test_splits_never_share_a_seed() -> None:
    with pytest.raises(ConfigError, match="train and test share 10 seeds, the first is 90"):
        build(BabyAIConfig, {"seeds": {"train": [0, 100], "test": [90, 200]}}, "prentice.toml: [task]")
    task = make_task(seeds={"train": [0, 5], "val": [5, 7], "test": [9, 9]})
    assert [len(task.cases(split)) for split in ("train", "val", "test")] == [5, 2, 0]
    assert _ids(task) == sorted(set(_ids(task)))


def _ids(task: BabyAI) -> Sequence[str]:
    return [case.id for split in ("train", "val") for case in task.cases(split)]


def test_seeds_take_several_levels_in_turns_and_held_out_cases_may_be_of_another() -> None:
    seeds = {"train": [0, 4], "test": [10, 12]}
    one = make_task(level=("GoToObj", "GoToRedBall"), test_level="GoToRedBlueBall", seeds=seeds)
    assert [case.id for case in one.cases("train")] == ["GoToObj-0", "GoToRedBall-1", "GoToObj-2", "GoToRedBall-3"]
    assert [case.inputs["level"] for case in one.cases("test")] == ["GoToRedBlueBall"] * 2
    elsewhere = make_task(level=("GoToObj", "GoToRedBall"), seeds=seeds)
    assert elsewhere.fingerprint() == one.fingerprint(), "what was played on training cases stays valid"
    assert [case.inputs["level"] for case in elsewhere.cases("test")] == ["GoToObj", "GoToRedBall"]
    with pytest.raises(UnknownNameError, match="GoToRedBlueBall"):
        make_task(test_level="GoToRedBlueBalls")


def test_another_prompt_or_level_is_another_task() -> None:
    one = make_task().fingerprint()
    assert make_task(clumsiness=0.1).fingerprint() == one, "who plays does not change the task"
    assert make_task(seeds={"train": [0, 2000]}).fingerprint() == one, "with more cases, those played stay played"
    assert len({one, make_task(history=9).fingerprint(), make_task(level="GoToLocal").fingerprint()}) == 3


def test_a_level_that_talks_while_it_is_made_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(30):
        World("GoToLocal", seed, 20)
        World("PutNextLocal", seed, 20)
    assert capsys.readouterr().out == ""


async def test_replies_in_other_scripts_are_illegal_steps_that_are_counted() -> None:
    texts = ["ไปข้างหน้า", "向前走", "تقدم", "🚶 go forward"]
    played = await episode(make_task(max_steps=4), ScriptedModel(texts))
    assert [turn.reply.text for turn in played.turns] == texts
    assert (played.failure, played.metric("illegal_replies"), played.metric("success")) == (None, 4, False)
