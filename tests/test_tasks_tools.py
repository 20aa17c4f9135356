"""Tools: schemas from type hints, several calls in one reply, and errors that go back as observations."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from prentice.config import build
from prentice.errors import ConfigError
from prentice.models import ScriptedModel
from prentice.models.local import LocalModel
from prentice.records import Episode, Message, Sampling, ToolCall
from prentice.rollouts import play
from prentice.tasks import Done
from prentice.tasks.python import PythonConfig, PythonTask
from prentice.tasks.tools import Toolbox, bind, describe

ALL_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def price(item: str, count: int = 1) -> dict[str, float]:
    """What an item costs."""
    if item not in {"pen", "cup"}:
        raise KeyError(item)
    return {"total": {"pen": 1.5, "cup": 4.0}[item] * count}


class Shop:
    """A shop with three tools; the customer wants a pen."""

    def __init__(self) -> None:
        self.sold: list[str] = []

    def reset(self, seed: int) -> str:
        return f"Customer {seed} wants a pen."

    def step(self, reply: str) -> tuple[str, float, bool]:
        return "Anything else?", 0.0, reply == "Good bye."

    async def sell(self, item: str) -> str:
        """Sell one item."""
        self.sold.append(item)
        return f"sold {item}"

    def end_of_day(self) -> Done:
        """Close the shop."""
        return Done(reward=float(self.sold == ["pen"]), info={"sold": len(self.sold)})

    tools = (price, sell, end_of_day)


def shop(folder: Path = Path(), **settings: Any) -> PythonTask:
    """The shop as a task."""
    section = {"kind": "python", "environment": "test_tasks_tools:Shop", **settings}
    return PythonTask(build(PythonConfig, section, "[task]"), folder)


def calls(*pairs: tuple[str, str]) -> Message:
    """A reply that calls these tools."""
    rows = tuple(ToolCall(id=f"c{n}", name=name, arguments=arguments) for n, (name, arguments) in enumerate(pairs))
    return Message(role="assistant", tool_calls=rows)


async def played(task: PythonTask, *replies: str | Message) -> Episode:
    """The first case, played with these replies."""
    policy = ScriptedModel(list(replies))
    return await play(policy, task.environment("teacher"), task.cases("train")[0], run="r", task="t")


def test_a_function_with_type_hints_is_a_tool_with_a_schema() -> None:
    tool = describe(price)
    assert (tool.name, tool.description) == ("price", "What an item costs.")
    assert tool.parameters == {
        "type": "object",
        "properties": {"item": {"type": "string"}, "count": {"type": "integer", "default": 1}},
        "required": ["item"],
        "additionalProperties": False,
    }
    assert describe(bind([Shop.sell], Shop)[0]).parameters["required"] == ["item"], "self is no argument"


def test_an_argument_that_has_no_schema_is_refused() -> None:
    def wait(until: asyncio.Event) -> None:
        """Wait."""

    with pytest.raises(ConfigError, match="tool wait: its arguments have no JSON schema"):
        describe(wait)


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("price", '{"item": "cup", "count": 2}', '{"total":8.0}'),
        ("prize", "{}", "error: there is no tool 'prize'; there are: price, sell, end_of_day"),
        ("price", '{"item": "cup"', "error: price: the arguments are not valid JSON: EOF while parsing an object"),
        ("price", "", "error: price: argument item: Missing required argument"),
        ("price", '{"item": 3}', "error: price: argument item: Input should be a valid string"),
        ("price", '{"item": "cup", "n": 2}', "error: price: argument n: Unexpected keyword argument"),
        ("price", '"cup"', "error: price: Arguments must be an array or an object"),
        ("price", '{"item": "hat"}', "error: price raised KeyError: 'hat'"),
    ],
)
async def test_a_tool_with_wrong_arguments_answers_with_the_error_and_the_episode_goes_on(
    name: str, arguments: str, answer: str
) -> None:
    episode = await played(shop(), calls((name, arguments)), "Good bye.")
    (message,) = [m for m in episode.turns[1].request.messages if m.role == "tool"]
    assert message.content.startswith(answer)
    assert message.tool_call_id == "c0"
    assert episode.failure is None
    wrong = float(answer.startswith("error"))
    assert (episode.metric("tool_calls"), episode.metric("tool_errors")) == (1, wrong)
    assert [m.value for m in episode.metrics if m.name == "tool_errors" and m.turn == 0] == [wrong]


async def test_the_whole_conversation_is_in_the_next_request_and_one_turn_is_one_row() -> None:
    task = shop(instructions="Sell.")
    both = calls(("price", '{"item": "pen"}'), ("sell", '{"item": "pen"}'))
    episode = await played(task, both, "Sold!", calls(("end_of_day", "{}")))
    assert [(m.role, m.content, m.tool_call_id) for m in episode.turns[2].request.messages] == [
        ("system", "Sell.", None),
        ("user", "Customer 0 wants a pen.", None),
        ("assistant", "", None),
        ("tool", '{"total":1.5}', "c0"),
        ("tool", "sold pen", "c1"),
        ("assistant", "Sold!", None),
        ("user", "Anything else?", None),
    ]
    assert episode.turns[2].request.messages[2] == both
    assert [t.name for t in episode.turns[0].request.tools] == ["price", "sell", "end_of_day"]
    for turn in episode.turns:
        assert task.render("play", turn.request.inputs, "teacher") == turn.request
    assert (episode.metric("success"), episode.metric("sold"), episode.metric("tool_calls")) == (True, 1, 3)


async def test_async_tools_of_one_reply_run_at_the_same_time_and_answer_in_the_order_of_the_calls() -> None:
    running = most = 0

    async def fetch(seconds: float) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(seconds)
        running -= 1
        return f"{seconds}"

    box = Toolbox([fetch])
    replies = await box.answer(calls(("fetch", '{"seconds": 0.02}'), ("fetch", '{"seconds": 0}')).tool_calls)
    assert [(m.tool_call_id, m.content) for m in replies] == [("c0", "0.02"), ("c1", "0.0")]
    assert most == 2


async def test_a_turn_is_never_cut_between_a_call_and_its_answer() -> None:
    one = calls(("price", '{"item": "pen"}'))
    episode = await played(shop(history=1), one, "It is 1.50.", one, "Thanks.", "Good bye.")
    roles = [m.role for m in episode.turns[4].request.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_function_may_call_its_own_tools_only() -> None:
    task = shop(functions={"play": {"tools": ["price"]}})
    episode = await played(task, calls(("sell", '{"item": "pen"}')), "Good bye.")
    assert [t.name for t in episode.turns[0].request.tools] == ["price"]
    assert episode.turns[1].request.messages[-1].content == "error: there is no tool 'sell'; there are: price"


async def test_an_endless_run_of_calls_ends_at_max_steps() -> None:
    episode = await played(shop(max_steps=2), *[calls(("price", '{"item": "pen"}'))] * 3)
    assert (episode.metric("success"), episode.metric("steps"), episode.failure) == (False, 2, None)


@settings(deadline=None, max_examples=50)
@given(ALL_TEXT, ALL_TEXT)
async def test_text_of_all_scripts_passes_through_arguments_and_results_and_junk_is_an_error(
    text: str, junk: str
) -> None:
    def echo(text: str) -> str:
        return text

    box = Toolbox([echo])
    good, bad = await box.answer(calls(("echo", json.dumps({"text": text})), ("echo", f"[{junk}")).tool_calls)
    assert good.content == text
    assert bad.content.startswith(("error: echo:", "error: echo raised")) or junk.strip().startswith('"')


async def test_what_no_file_can_hold_is_an_error_of_the_tool() -> None:
    def half() -> str:
        return "\ud83d"

    (message,) = await Toolbox([half]).answer(calls(("half", "{}")).tool_calls)
    assert message.content.startswith("error: half raised PydanticSerializationError")


class Weather:
    """Asks about the weather after three worked examples, so that a small model follows them."""

    def reset(self, seed: int) -> list[Message]:
        del seed
        chat: list[Message] = []
        for town in ("Rome", "Oslo", "Bonn"):
            call = ToolCall(id=town, name="weather", arguments=json.dumps({"town": town}))
            chat += [
                Message(role="user", content=f"How is the weather in {town}?"),
                Message(role="assistant", tool_calls=(call,)),
                Message(role="tool", content="sunny", tool_call_id=town),
            ]
        return [*chat, Message(role="user", content="How is the weather in Paris?")]

    def step(self, reply: str) -> tuple[str, float, bool]:
        return "", float("rain" in reply), True

    def weather(self, town: Annotated[str, Field(max_length=20)]) -> str:
        """The weather of a town. Always call it."""
        return f"rain in {town}"

    tools = (weather,)


@pytest.mark.models
async def test_a_local_model_calls_a_tool_and_its_answer_is_in_the_next_prompt(smollm2: Path) -> None:
    section = {"kind": "python", "environment": "test_tasks_tools:Weather", "max_steps": 2}
    task = PythonTask(build(PythonConfig, section, "[task]"), Path())
    model = LocalModel(smollm2, context=512, threads=1)
    try:
        case, sampling = task.cases("train")[0], Sampling(max_tokens=32)
        episode = await play(model, task.environment("teacher"), case, run="r", task="t", sampling=sampling)
    finally:
        await model.close()
    assert episode.failure is None
    (call,) = episode.turns[0].reply.message.tool_calls
    answer = episode.turns[1].request.messages[-1]
    assert (answer.role, answer.tool_call_id) == ("tool", call.id)
    assert answer.content == f"rain in {json.loads(call.arguments)['town']}"
    assert episode.metric("tool_calls") == sum(len(turn.reply.message.tool_calls) for turn in episode.turns)
    assert Episode.model_validate_json(episode.model_dump_json()) == episode
