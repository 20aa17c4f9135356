"""Environments of the verifiers package, real ones, played as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prentice.config import build
from prentice.errors import ConfigError, ModelError
from prentice.models import ScriptedModel
from prentice.records import Episode, Failure, Message, ToolCall
from prentice.rollouts import play
from prentice.tasks.verifiers import VerifiersConfig, VerifiersTask

pytest.importorskip("verifiers", reason='needs the extra: pip install "prentice[verifiers]"')


def load_environment(form: str) -> Any:
    """What the package calls: the environment of that form below."""
    import verifiers
    from datasets import Dataset

    data = Dataset.from_list([{"question": f"1 + {n}?", "answer": str(1 + n)} for n in range(10)])
    forms = {"single": _single, "turns": _turns, "tools": _tools, "judge": _judged, "raises": _raises, "none": _none}
    return forms[form](verifiers, data)


def _right(completion: Any, answer: str) -> float:
    return float(completion[-1]["content"] == answer)


def _single(vf: Any, data: Any) -> Any:
    rubric = vf.Rubric(funcs=[_right], weights=[1.0])
    return vf.SingleTurnEnv(dataset=data, eval_dataset=data.select([0]), system_prompt="Add up.", rubric=rubric)


def _turns(vf: Any, data: Any) -> Any:
    class Again(vf.MultiTurnEnv):  # type: ignore[misc]
        async def env_response(self, messages: Any, state: Any, **kwargs: Any) -> Any:
            if messages[-1]["content"] == state["answer"]:
                state["final_env_response"] = [{"role": "user", "content": "right"}]
                return state["final_env_response"]
            return [{"role": "user", "content": "Try again."}]

    async def right_at_last(state: Any) -> float:
        return float(state["final_env_response"] is not None)

    return Again(dataset=data, rubric=vf.Rubric(funcs=[right_at_last]), max_turns=3)


def _tools(vf: Any, data: Any) -> Any:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return vf.ToolEnv(dataset=data, tools=[add], rubric=vf.Rubric(funcs=[_right]))


def _judged(vf: Any, data: Any) -> Any:
    rubric = vf.JudgeRubric(judge_client=object())  # what it would ask, had the task not put ours in its place

    async def judged(judge: Any, prompt: Any, completion: Any, answer: str, state: Any) -> float:
        return float("yes" in await judge(prompt, completion, answer, state))

    rubric.add_reward_func(judged)
    return vf.SingleTurnEnv(dataset=data, rubric=rubric)


def _raises(vf: Any, data: Any) -> Any:
    def score(completion: Any) -> float:
        return float(completion[-1]["content"])

    return vf.SingleTurnEnv(dataset=data, rubric=vf.Rubric(funcs=[score]))


def _none(vf: Any, data: Any) -> Any:
    del vf, data
    raise ValueError("no such form")


def task(form: str, **settings: Any) -> VerifiersTask:
    """One of the environments above as a task."""
    section = {"kind": "verifiers", "id": "test_tasks_verifiers", "options": {"form": form}, **settings}
    return VerifiersTask(build(VerifiersConfig, section, "prentice.toml: [task]"), Path(__file__).parent)


async def played(task: VerifiersTask, *replies: str | Message) -> Episode:
    """The first training case, played with these replies: 1 + 0."""
    policy = ScriptedModel(list(replies))
    return await play(policy, task.environment("teacher"), task.cases("train")[0], run="r", task="t")


async def test_a_single_turn_is_played_and_scored_by_its_rubric() -> None:
    episode = await played(task("single"), "1")
    assert [(m.role, m.content) for m in episode.turns[0].request.messages] == [
        ("system", "Add up."),
        ("user", "1 + 0?"),
    ]
    assert {name: episode.metric(name) for name in ("success", "reward", "_right", "num_turns")} == {
        "success": True,
        "reward": 1,
        "_right": 1,
        "num_turns": 1,
    }
    assert (await played(task("single"), "2")).metric("success") is False
    assert (await played(task("single"), "")).metric("success") is False, "an empty reply is a wrong one, no failure"


async def test_many_turns_go_on_until_the_environment_ends_them() -> None:
    episode = await played(task("turns"), "5", "1")
    assert [m.content for m in episode.turns[1].request.messages] == ["1 + 0?", "5", "Try again."]
    assert (episode.metric("success"), episode.metric("num_turns")) == (True, 2)
    lost = await played(task("turns"), "5", "6", "7", "1")
    assert (len(lost.turns), lost.metric("success"), lost.failure) == (3, False, None)


async def test_tools_are_called_and_what_was_recorded_can_be_rendered_again() -> None:
    verifiers = task("tools")
    call = ToolCall(id="c1", name="add", arguments=json.dumps({"a": 1, "b": 0}))
    episode = await played(verifiers, Message(role="assistant", tool_calls=(call,)), "1")
    assert episode.turns[0].request.tools[0].name == "add"
    assert [(m.role, m.content, m.tool_call_id) for m in episode.turns[1].request.messages[1:]] == [
        ("assistant", "", None),
        ("tool", "1", "c1"),
    ]
    assert episode.turns[1].request.messages[1].tool_calls == (call,)
    assert (episode.metric("success"), episode.metric("total_tool_calls")) == (True, 1)
    for turn in episode.turns:
        assert verifiers.render("play", turn.request.inputs, "teacher") == turn.request


async def test_its_judge_is_a_policy_of_ours_whose_calls_are_counted_apart() -> None:
    verifiers = task("judge", judge="spec")
    verifiers.open_model = {
        "spec": ScriptedModel(lambda request: "yes" if "1 + 0?" in str(request) else "no")
    }.__getitem__
    episode = await played(verifiers, "one")
    assert (episode.metric("success"), episode.metric("judge_calls")) == (True, 1)


async def test_a_judge_that_breaks_is_a_failure_where_the_package_itself_scores_0() -> None:
    verifiers = task("judge", judge="spec")
    verifiers.open_model = {"spec": ScriptedModel([ModelError("429 from provider")])}.__getitem__
    episode = await played(verifiers, "one")
    assert episode.failure == Failure(where="judge", message="the judge's model: 429 from provider")
    assert (episode.metric("reward"), episode.metric("judge_calls")) == (None, 1)


async def test_a_reward_function_that_raises_is_a_failure_where_the_package_itself_scores_0() -> None:
    episode = await played(task("raises"), "four")
    message = "reward function 'score' raised ValueError: could not convert string to float: 'four'"
    assert episode.failure == Failure(where="metric", message=message)
    assert (await played(task("raises"), "4")).metric("reward") == 4
    nan = await played(task("raises"), "nan")
    assert nan.failure == Failure(where="metric", message="metric 'reward' is nan")


async def test_a_policy_that_fails_leaves_no_loop_behind() -> None:
    policy = ScriptedModel([ModelError("503 from provider")])
    verifiers = task("single")
    environment = verifiers.environment("teacher")
    episode = await play(policy, environment, verifiers.cases("train")[0], run="r", task="t")
    assert episode.failure == Failure(where="model", message="503 from provider")
    assert environment._loop.done()  # type: ignore[attr-defined]


def test_held_out_rows_are_its_evaluation_set_else_cut_from_its_rows() -> None:
    own, cut = task("single"), task("turns")
    assert (len(own.cases("train")), len(own.cases("test"))) == (10, 1)
    assert (len(cut.cases("train")), len(cut.cases("test"))) == (8, 2)
    assert [row["answer"] for row in cut.rows["test"]] == ["9", "10"]


async def test_the_student_may_get_instructions_of_its_own() -> None:
    verifiers = task("single", student_instructions="Sum.")
    episode = await played(verifiers, "1")
    student = verifiers.render("play", episode.turns[0].request.inputs, "student")
    assert [m.content for m in student.messages] == ["Sum.", "1 + 0?"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("none", r'id = "test_tasks_verifiers" cannot be loaded: .*no such form'),
        ("judge", r"it has a judge \(name its model in \[task\] judge\)"),
    ],
)
def test_what_cannot_be_loaded_is_named_before_anything_is_played(form: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(form)


@pytest.fixture(scope="module")
def single() -> VerifiersTask:
    """Loaded once for all examples."""
    return task("single")


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"])))
async def test_text_of_all_scripts_passes_unchanged(single: VerifiersTask, reply: str) -> None:
    episode = await played(single, reply)
    assert (episode.turns[0].reply.text, episode.failure) == (reply, None)
    assert episode.metric("success") is (reply == "1")
