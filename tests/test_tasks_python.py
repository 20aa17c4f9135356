"""A Python class with reset and step as a task: the smallest contract, its prompts, and everything it may get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.config import build
from prentice.errors import ConfigError, DataError, PrenticeError
from prentice.models import ScriptedModel
from prentice.pipeline import Project
from prentice.records import Episode, Failure, Message, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play, rollout
from prentice.tasks import Ask
from prentice.tasks.python import PythonConfig, PythonTask

HERE = "test_tasks_python"


class Guess:
    """Find a number below ten; the seed says which."""

    def reset(self, seed: int) -> str:
        self.secret = seed % 10
        return "Which number?"

    def step(self, reply: str) -> tuple[str, float, bool]:
        if reply == str(self.secret):
            return "right", 1.0, True
        return ("higher" if int(reply) < self.secret else "lower"), 0.0, False


class AsyncGuess(Guess):
    """The same, async, with options, info and Gymnasium's five values."""

    closed = 0

    def __init__(self, tries: int) -> None:
        self.left = tries

    async def reset(self, word: str, expected: str) -> tuple[str, dict[str, Any]]:  # type: ignore[override]
        self.expected = expected
        return f"Translate {word}", {}

    async def step(self, reply: str) -> tuple[str, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        self.left -= 1
        info = {"left": self.left, "polite": "please" in reply, "note": "not a number"}
        return "again", 0.5, self.expected in reply, self.left == 0, info

    def close(self) -> None:
        AsyncGuess.closed += 1


class Broken:
    """Returns what the test told it to."""

    def __init__(self, reset: Any = "go", step: Any = ("on", 0.0, False)) -> None:
        self.values = reset, step

    def reset(self) -> Any:
        return self.values[0]

    def step(self, reply: str) -> Any:
        del reply
        if self.values[1] == "raise":
            raise ValueError("the dice fell off the table")
        return self.values[1]


class Nan(Broken):
    """Returns a reward, or a value in info, that is not a number."""

    def __init__(self, place: str) -> None:
        nan = float("nan")
        super().__init__(step=("on", nan, True) if place == "reward" else ("on", 0.0, True, {"score": nan}))


class Surrogate(Broken):
    """Returns half a character."""

    def __init__(self) -> None:
        super().__init__(reset="\ud83d")


class TwoFunctions:
    """Asks for a plan with one prompt, then for the act with another."""

    def reset(self, seed: int) -> Ask:
        return Ask("plan", goal=f"reach {seed}", steps=[1, 2])

    def step(self, reply: str) -> tuple[Any, float, bool]:
        if reply.startswith("plan:"):
            return "Now act.", 0.0, False
        if reply == "ask again":
            return Ask("plan", goal="another", steps=[]), 0.0, False
        return "", 1.0, True


def task(folder: Path, game: type, **settings: Any) -> PythonTask:
    """A task of one of the classes above."""
    section = {"kind": "python", "environment": f"{HERE}:{game.__name__}", **settings}
    return PythonTask(build(PythonConfig, section, "prentice.toml: [task]"), folder)


async def played(task: PythonTask, *replies: str, split: Any = "train") -> Episode:
    """The first case of a split, played with these replies."""
    case = task.cases(split)[0]
    return await play(ScriptedModel(list(replies)), task.environment("teacher"), case, run="r", task=task.name)


async def test_a_class_of_two_methods_is_an_environment(tmp_path: Path) -> None:
    episode = await played(task(tmp_path, Guess, seeds={"train": [17, 18]}), "3", "9", "7")
    assert [turn.request.messages[-1].content for turn in episode.turns] == ["Which number?", "higher", "lower"]
    assert {m.name: m.value for m in episode.metrics if m.turn is None} == {"success": True, "steps": 3, "return": 1}
    assert [m.value for m in episode.metrics if m.name == "reward" and m.turn is not None] == [0, 0, 1]


async def test_async_methods_the_answer_key_options_info_and_gymnasiums_five_values(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,split,word,expected,unused\n1,train,Haus,house,x\n", encoding="utf-8")
    game = task(tmp_path, AsyncGuess, cases="c.csv", options={"tries": 2})
    closed = AsyncGuess.closed
    episode = await played(game, "home please", "hut")
    assert AsyncGuess.closed == closed + 1
    assert episode.metric("success") is False, "it ran out of tries; nothing was won"
    assert (episode.metric("left"), episode.metric("polite"), episode.metric("return")) == (0, False, 1)
    assert [m.value for m in episode.metrics if m.name == "polite" and m.turn is not None] == [True, False]
    assert episode.metric("note") is None
    assert (await played(game, "house")).metric("success") is True
    assert "house" not in episode.model_dump_json(), "the answer key stays in the environment"


async def test_an_episode_ends_without_success_after_max_steps(tmp_path: Path) -> None:
    episode = await played(task(tmp_path, Guess, max_steps=2), "1", "2", "3")
    assert (episode.metric("success"), episode.metric("steps"), episode.failure) == (False, 2, None)


@pytest.mark.parametrize(("illegal", "steps", "asked"), [("stay", 2, 2), ("end", 1, 1), ("pass", 1, 1)])
async def test_illegal_replies_are_counted_and_handled_as_the_task_says(
    tmp_path: Path, illegal: str, steps: int, asked: int
) -> None:
    game = task(tmp_path, Guess, choices=[str(n) for n in range(10)], illegal=illegal)
    episode = await played(game, "dunno", " 0 ")
    assert len(episode.turns) == asked
    if illegal == "pass":
        assert episode.failure is not None, "the class itself gets the reply"
        assert episode.failure.message == "ValueError: invalid literal for int() with base 10: 'dunno'"
        return
    assert (episode.metric("illegal_replies"), episode.metric("steps")) == (1, steps)
    assert episode.metric("success") is (illegal == "stay")
    assert [m.value for m in episode.metrics if m.name == "illegal"] == [True, False][:steps]


async def test_the_prompt_shows_as_many_past_turns_as_the_task_says(tmp_path: Path) -> None:
    game = task(
        tmp_path, Guess, history=1, instructions="Guess.", student_instructions="", prompt="It says: {observation}"
    )
    episode = await played(game, "8", "7", "6", "0")
    assert [(m.role, m.content) for m in episode.turns[3].request.messages] == [
        ("system", "Guess."),
        ("user", "It says: lower"),
        ("assistant", "6"),
        ("user", "It says: lower"),
    ]
    student = game.render("play", episode.turns[3].request.inputs, "student")
    assert student.messages == episode.turns[3].request.messages[1:]


async def test_what_was_recorded_can_be_rendered_again(tmp_path: Path) -> None:
    game = task(tmp_path, TwoFunctions, functions={"plan": {"prompt": "{goal} by {steps}"}})
    episode = await played(game, "plan: a", "ask again", "plan: b", "go")
    for turn in episode.turns:
        assert game.render(turn.request.function, turn.request.inputs, "teacher") == turn.request


async def test_each_function_has_its_own_prompt_and_its_own_chat(tmp_path: Path) -> None:
    plan = {
        "instructions": "Plan well.",
        "student_instructions": "Plan.",
        "prompt": "{goal} by {steps}",
        "response_schema": {"type": "string"},
    }
    game = task(tmp_path, TwoFunctions, instructions="Act.", functions={"plan": plan})
    episode = await played(game, "plan: a", "ask again", "plan: b", "go")
    said = [(turn.request.function, [m.content for m in turn.request.messages]) for turn in episode.turns]
    assert said == [
        ("plan", ["Plan well.", "reach 0 by [1, 2]"]),
        ("play", ["Act.", "Now act."]),
        ("plan", ["Plan well.", "reach 0 by [1, 2]", "plan: a", "another by []"]),
        ("play", ["Act.", "Now act.", "ask again", "Now act."]),
    ]
    assert [turn.request.response_schema is None for turn in episode.turns] == [False, True, False, True]
    assert game.render("plan", episode.turns[0].request.inputs, "student").messages[0].content == "Plan."


async def test_an_environment_may_ask_with_messages(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    game = task(tmp_path, Broken, options={"reset": messages, "step": ["", 0, True]})
    episode = await played(game, "x")
    assert [m.content for m in episode.turns[0].request.messages] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": "raise"}, "ValueError: the dice fell off the table"),
        (
            {"reset": 5},
            "TypeError: Broken.reset returned 5 as its observation, not a text, a list of messages or an Ask",
        ),
        ({"reset": [{"role": "robot"}]}, "TypeError: Broken.reset returned an observation that cannot be kept: Input"),
        ({"step": "done"}, "TypeError: Broken.step returned 'done', not (observation, reward, done), the same with"),
        ({"step": ["x", 1.0]}, "TypeError: Broken.step returned ['x', 1.0], not (observation, reward, done)"),
        ({"step": ["x", "much", True]}, "TypeError: Broken.step: the reward is 'much', not a number"),
        ({"step": ["x", 1.0, "yes"]}, "TypeError: Broken.step: done is 'yes', not true or false"),
        ({"step": ["x", 1.0, True, 7]}, "TypeError: Broken.step: info is 7, not a dict"),
        ({"step": [None, 0, False]}, "TypeError: Broken.step returned None as its observation"),
        (
            {"step": ["x", 0, True, {"success": "sure"}]},
            "TypeError: Broken.step: info['success'] is 'sure', not true or",
        ),
    ],
)
async def test_what_breaks_the_contract_is_named_by_class_method_and_value(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    episode = await played(task(tmp_path, Broken, options=options), "x")
    assert episode.failure is not None
    assert episode.failure.where == "environment"
    assert episode.failure.message.startswith(message)
    assert episode.metric("success") is None


@pytest.mark.parametrize(("place", "what"), [("reward", "the reward"), ("info", "info['score']")])
async def test_a_reward_that_is_not_a_number_is_a_failure_of_the_metric_never_a_score(
    tmp_path: Path, place: str, what: str
) -> None:
    episode = await played(task(tmp_path, Nan, options={"place": place}), "x")
    assert episode.failure == Failure(where="metric", message=f"Nan.step: {what} is nan")
    assert episode.metrics == ()


async def test_half_a_character_is_refused_by_name(tmp_path: Path) -> None:
    episode = await played(task(tmp_path, Surrogate), "x")
    assert episode.failure is not None
    assert "Surrogate.reset returned an observation that cannot be kept" in episode.failure.message


async def test_a_function_that_is_not_configured_is_named(tmp_path: Path) -> None:
    episode = await played(task(tmp_path, TwoFunctions), "x")
    assert episode.failure is not None
    assert episode.failure.message == "TypeError: TwoFunctions asked the function 'plan'; there are: play"


async def test_an_input_that_the_prompt_shows_and_the_environment_forgot_is_named(tmp_path: Path) -> None:
    episode = await played(task(tmp_path, TwoFunctions, functions={"plan": {"prompt": "{aim}"}}), "x")
    assert episode.failure is not None
    assert (
        episode.failure.message == "TypeError: the prompt of 'plan' shows {aim}, and the environment gave goal, steps"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"environment": "Guess"}, 'environment = "Guess" is not of the form module:name'),
        ({"environment": "no_such_module:Guess"}, "no module named 'no_such_module'"),
        ({"environment": f"{HERE}:Gues"}, "has no 'Gues'"),
        ({"environment": f"{HERE}:HERE"}, "is not a class"),
        ({"environment": f"{HERE}:Path"}, "has no method `reset`"),
        ({"options": {"sides": 6}}, "cannot be made with .* unexpected keyword argument 'sides'"),
        ({"cases": "c.csv", "seeds": {"train": [0, 9]}}, "both `cases` and `seeds` are set"),
        ({"seeds": {"train": [0, 10], "test": [9, 20]}}, "train and test share 1 seeds, the first is 9"),
        ({"prompt": "{observation"}, "a brace that stands for itself is written twice"),
        ({"prompt": "{observation.__class__}"}, "is not the name of an input"),
        ({"functions": {"plan": {"tools": ["dig"]}}}, r"functions.plan\] tools: no tool 'dig' \(the class has: none"),
        ({"instruction": "x"}, "did you mean 'instructions'"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        task(tmp_path, Guess, **settings)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "split,word\ntrain,x\n", r"c\.csv:2: the case has no id"),
        ("c.csv", "id,split\n,train\n", r"c\.csv:2: the case has no id"),
        ("c.csv", "id,split\na,train\na,test\n", r"c\.csv:3: id 'a' occurred in line 2 before"),
        ("c.csv", "id,split\na,dev\n", r"c\.csv:2: split 'dev' is not one of train, val, test"),
        ("c.csv", "id,split\na\n", r"c\.csv:2: the row has not as many columns"),
        ("c.csv", "id,split\n", r"c\.csv: no cases"),
        ("c.jsonl", '{"split": "train"}\n', r"c\.jsonl:1: the case has no id"),
        (
            "c.jsonl",
            '{"id": 1, "split": "train"}\n\n{"id": "1", "split": "train"}\n',
            r"c\.jsonl:3: id '1' occurred in line 1",
        ),
        ("c.jsonl", '{"id": 1, "split": "train", "x": NaN}\n', r"c\.jsonl:1: .*finite"),
        ("c.jsonl", "[1]\n", r"c\.jsonl:1: not a JSON object"),
        ("c.jsonl", "{\n", r"c\.jsonl:1: not valid JSON"),
        ("c.txt", "", r"cases come as \.csv or \.jsonl"),
    ],
)
def test_cases_without_ids_or_with_duplicates_are_named_by_file_and_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        task(tmp_path, Guess, cases=name).cases("train")


def test_json_cases_keep_their_values_and_splits(tmp_path: Path) -> None:
    rows = '{"id": "a", "split": "train", "n": [1, null], "expected": {"x": 1}}\n{"id": 2, "split": "test"}\n'
    (tmp_path / "c.jsonl").write_text(rows, encoding="utf-8")
    (case,) = task(tmp_path, Guess, cases="c.jsonl").cases("train")
    assert (case.id, case.inputs, case.expected) == ("a", {"n": [1, None]}, {"x": 1})


def test_the_fingerprint_changes_with_settings_and_cases_and_stays_otherwise(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,split\na,train\n", encoding="utf-8")
    same = [task(tmp_path, Guess, cases="c.csv").fingerprint() for _ in range(2)]
    other = task(tmp_path, Guess, cases="c.csv", history=2).fingerprint()
    (tmp_path / "c.csv").write_text("id,split\nb,train\n", encoding="utf-8")
    assert len({*same, other, task(tmp_path, Guess, cases="c.csv").fingerprint()}) == 3
    assert same[0] == same[1]


async def test_the_policy_to_beat_takes_a_choice_by_chance_and_repeats_with_its_seed(tmp_path: Path) -> None:
    game = task(tmp_path, Guess, choices=[str(n) for n in range(10)])
    (policy,) = game.baselines().values()
    request = await game.environment("teacher").reset(game.cases("train")[0])
    drawn = [(await policy.generate(request, Sampling(seed=n))).text for n in range(50)]
    assert drawn == [(await policy.generate(request, Sampling(seed=n))).text for n in range(50)]
    assert len(set(drawn)) > 5
    assert task(tmp_path, Guess).baselines() == {}


async def test_a_game_is_played_in_a_process_of_its_own_unless_it_holds_models(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        guess = task(tmp_path, Guess, seeds={"train": [7, 9]})
        config = RolloutConfig(processes=1, warm_up=False)
        run = await rollout(guess, ScriptedModel(lambda _: "7"), guess.cases("train"), store, config)
        assert sorted(str(e.metric("success")) for e in store.episodes(run=run)) == ["False", "True"]
        with_model = task(tmp_path, AsyncGuess, models={"tries": "local:none"})
        with pytest.raises(PrenticeError, match=r"cannot be sent to another process: the models .*processes = 0"):
            await rollout(with_model, ScriptedModel([]), with_model.cases("train"), store, config)


@settings(deadline=None, max_examples=50)  # the first example loads modules
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
async def test_text_of_all_scripts_passes_unchanged(observation: str, reply: str) -> None:
    game = task(
        Path(), Broken, options={"reset": observation, "step": [observation, 0, True]}, prompt="{{{observation}}}"
    )
    episode = await played(game, reply)
    assert episode.turns[0].request.messages == (Message(role="user", content="{" + observation + "}"),)
    assert episode.turns[0].reply.text == reply
    assert Episode.model_validate_json(episode.model_dump_json()) == episode


def test_a_class_beside_the_configuration_is_found_by_the_project(tmp_path: Path) -> None:
    (tmp_path / "my_little_game.py").write_text(
        "class Game:\n    def reset(self, seed): return 'hi'\n    def step(self, reply): return '', 1, True\n",
        encoding="utf-8",
    )
    toml = '[task]\nkind = "python"\nenvironment = "my_little_game:Game"\n[teacher]\nmodel = "local:none"\n'
    (tmp_path / "prentice.toml").write_text(toml, encoding="utf-8")
    assert len(Project(tmp_path).task.cases("test")) == 400
    other = tmp_path / "other"
    other.mkdir()
    for name in ("my_little_game.py", "prentice.toml"):
        (other / name).write_text((tmp_path / name).read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ConfigError, match="another module named 'my_little_game' is loaded already"):
        _ = Project(other).task
