"""Models inside an environment: a simulated user and a judge are policies like any other, and are counted apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.config import build
from prentice.errors import ConfigError, JudgeError, ModelError
from prentice.evaluation import EvaluateConfig, compare
from prentice.evaluation.wording import notes
from prentice.models import Policy, ScriptedModel
from prentice.records import Episode, Failure, Message, Metric, Reply, Request, Sampling, ToolCall, Usage
from prentice.rollouts import play
from prentice.tasks import Judge, Metered, transcript
from prentice.tasks.metered import spent_by_role
from prentice.tasks.python import PythonConfig, PythonTask

RUBRIC = "The answer is polite."


class Priced(ScriptedModel):
    """A script whose replies have tokens and a price."""

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        reply = await super().generate(request, sampling)
        usage = Usage(input_tokens=10, output_tokens=2)
        return reply.model_copy(update={"usage": usage, "cost_usd": 0.25, "latency_s": 0.5, "processing_s": None})


class Helpdesk:
    """A simulated user writes, the policy answers, and a judge says whether the answer was polite."""

    def __init__(self, user: Metered, judge: Metered) -> None:
        self.user, self.judge = user, Judge(judge, RUBRIC, name="polite")

    async def reset(self, seed: int) -> str:
        return await self.user.say(f"You are customer {seed}. Complain.", system="Play a customer.")

    async def step(self, reply: str) -> tuple[str, float, bool, dict[str, Any]]:
        verdict = await self.judge.grade(reply)
        if reply == "more":
            return await self.user.say([Message(role="user", content=reply)]), 0.0, False, {"polite": verdict}
        return "", float(verdict.value), True, {"polite": verdict}


def helpdesk(user: Policy, judge: Policy) -> PythonTask:
    """The helpdesk with these two models behind the specs of its configuration."""
    section = {
        "kind": "python",
        "environment": "test_tasks_metered:Helpdesk",
        "models": {"user": "the user's spec", "judge": "the judge's spec"},
    }
    task = PythonTask(build(PythonConfig, section, "[task]"), Path())
    task.open_model = {"the user's spec": user, "the judge's spec": judge}.__getitem__
    return task


async def played(task: PythonTask, *replies: str) -> Episode:
    """The first case, played with these replies."""
    case = task.cases("test")[0]
    return await play(ScriptedModel(list(replies)), task.environment("teacher"), case, run="r", task="t")


async def test_a_simulated_user_and_a_judge_are_policies_whose_cost_is_counted_apart() -> None:
    task = helpdesk(Priced(["It broke!", "Still broken!"]), ScriptedModel(["no", "yes"], name="j"))
    episode = await played(task, "more", "Sorry to hear that.")
    assert [t.request.messages[-1].content for t in episode.turns] == ["It broke!", "Still broken!"]
    values = {m.name: m.value for m in episode.metrics if m.turn is None}
    assert values["success"] is True
    assert {name: values[name] for name in values if name.startswith("user_")} == {
        "user_calls": 2,
        "user_input_tokens": 20,
        "user_output_tokens": 4,
        "user_cost_usd": 0.5,
        "user_latency_s": 1.0,
    }, "CPU-seconds that no reply told are absent, not 0"
    assert values["judge_calls"] == 2
    assert "judge_cost_usd" not in values
    assert [(m.value, m.source) for m in episode.metrics if m.name == "polite"] == [(False, "judge"), (True, "judge")]
    assert episode.total("cost_usd") is None, "the policy's own cost is its own"


async def test_what_was_spent_is_kept_when_the_episode_fails_midway() -> None:
    task = helpdesk(Priced(["It broke!", ModelError("503 from provider")]), ScriptedModel(lambda _: "no"))
    episode = await played(task, "more")
    assert episode.failure == Failure(where="environment", message="the user's model: 503 from provider")
    assert (episode.metric("user_calls"), episode.metric("user_cost_usd")) == (2, 0.25)
    assert episode.metric("success") is None


async def test_what_was_spent_is_kept_when_the_policy_fails() -> None:
    task = helpdesk(Priced(["It broke!"]), ScriptedModel(lambda _: "no"))
    episode = await played(task)
    assert episode.failure is not None
    assert (episode.failure.where, episode.metric("user_cost_usd"), episode.metric("judge_calls")) == ("model", 0.25, 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ModelError("429 from provider"), "polite: the judge's model: 429 from provider"),
        ("perhaps", "polite: the judge scripted said 'perhaps', not yes or no"),
        ("", "polite: the judge scripted said '', not yes or no"),
    ],
)
async def test_a_judge_that_breaks_is_a_failure_never_a_score_of_0(answer: str | Exception, message: str) -> None:
    episode = await played(helpdesk(Priced(["It broke!"]), ScriptedModel([answer])), "Go away.")
    assert episode.failure == Failure(where="judge", message=message)
    assert episode.metric("polite") is None
    assert episode.metric("success") is None
    assert episode.metric("judge_calls") == 1


async def test_a_judge_gives_a_number_on_its_scale_and_its_model_is_held_to_it() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return " 4 "

    metric = await Judge(ScriptedModel(answer), RUBRIC, name="tone", scale=(1, 5)).grade("Hello")
    assert (metric.name, metric.value, metric.source) == ("tone", 4.0, "judge")
    assert asked[0].choices == ("1", "2", "3", "4", "5")
    assert asked[0].messages[0].content == (
        "The answer is polite.\n\nHow well does the text satisfy the rubric? "
        "Answer with a whole number from 1 to 5 alone."
    )
    with pytest.raises(JudgeError, match="said '6', not a whole number from 1 to 5"):
        await Judge(ScriptedModel(["6"]), RUBRIC, scale=(1, 5)).grade("Hello")


def test_a_transcript_shows_what_was_said_and_called() -> None:
    call = ToolCall(id="1", name="pay", arguments="{}")
    chat = [
        Message(role="system", content="secret"),
        Message(role="user", content="Hi"),
        Message(role="assistant", tool_calls=(call,)),
    ]
    assert transcript(chat) == "user: Hi\n\nassistant: \n[calls pay({})]"


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"])))
async def test_text_of_all_scripts_reaches_the_judge_unchanged(text: str) -> None:
    seen: list[str] = []

    def answer(request: Request) -> str:
        seen.append(request.messages[-1].content)
        return "Yes."

    assert (await Judge(ScriptedModel(answer), "{braces} 100 %").grade(text)).value is True
    assert seen == [text]


def test_a_role_that_cannot_name_a_metric_is_refused() -> None:
    for role in ("tool", "the user"):
        with pytest.raises(ConfigError, match="cannot be the role of a model"):
            Metered(ScriptedModel([]), role)


async def test_the_report_says_what_the_environments_models_took_and_leaves_it_out_of_the_policys_cost() -> None:
    one = await played(helpdesk(Priced(lambda _: "It broke!"), ScriptedModel(lambda _: "yes")), "Sorry.")
    two = await played(helpdesk(Priced(lambda _: "It broke!"), ScriptedModel(lambda _: "yes")), "more", "Sorry.")
    episodes = [one, two.model_copy(update={"case": "another", "id": "2"})]
    assert spent_by_role(episodes)["user"] == {
        "calls": 1.5,
        "input_tokens": 15,
        "output_tokens": 3,
        "cost_usd": 0.375,
        "latency_s": 0.75,
    }
    report = compare({"teacher": episodes}, config=EvaluateConfig(), machine="m")
    (result,) = report.results
    assert result.cost_usd is None
    assert result.environment["user"]["cost_usd"] == 0.375
    assert (
        "teacher: the environment's own models took, an episode: judge 1.50 calls, 0 CPU-s; user 1.50 calls, $0.375"
        in notes(report)
    )


async def test_the_tools_of_the_policy_are_no_model_of_the_environment() -> None:
    episode = await played(helpdesk(Priced(["It broke!"]), ScriptedModel(lambda _: "yes")), "Sorry.")
    counts = tuple(Metric(name=name, value=3.0) for name in ("tool_calls", "phone_calls"))
    assert spent_by_role([episode.model_copy(update={"metrics": counts})]) == {}
