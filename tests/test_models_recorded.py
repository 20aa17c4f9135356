"""Recorded and scripted policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from prentice.errors import DataError, ModelError
from prentice.models import RecordedModel, ScriptedModel
from prentice.models.specs import open_policy, read_recording
from prentice.records import Episode, Message, Reply, Request, Sampling, Turn, utc_now
from prentice.records.jsonl import write_episodes

HELLO = Request(function="f", messages=(Message(role="user", content="hello"),))
OTHER = Request(function="f", messages=(Message(role="user", content="other"),))


def episode(text: str, attempt: int = 0, **tags: str) -> Episode:
    """A recorded episode that answers HELLO."""
    reply = Reply(message=Message(role="assistant", content=text), model="m", latency_s=0.5)
    return Episode(
        id=f"{text}{attempt}",
        run="r",
        task="t",
        case="c",
        split="train",
        attempt=attempt,
        policy="local:m",
        turns=(Turn(request=HELLO, reply=reply),),
        started_at=utc_now(),
        tags=tags,
    )


async def test_a_try_is_answered_by_the_same_try_whatever_was_asked_before() -> None:
    model = RecordedModel([episode("second", 1), episode("first", 0)])
    assert (await model.generate(HELLO, Sampling(attempt=1))).text == "second"
    reply = await model.generate(HELLO, Sampling(attempt=0))
    assert (reply.text, reply.latency_s) == ("first", 0.5)
    assert model.name == "local:m"
    with pytest.raises(DataError, match="try 3 of this prompt was not recorded"):
        await model.generate(HELLO, Sampling(attempt=2))


async def test_what_was_not_recorded_is_not_answered() -> None:
    model = RecordedModel([episode("first")])
    with pytest.raises(DataError, match="was not recorded"):
        await model.generate(OTHER, Sampling())
    await model.generate(HELLO, Sampling())
    with pytest.raises(DataError, match="1 times"):
        await model.generate(HELLO, Sampling())


async def test_the_yardstick_of_a_recording_answers_nothing(tmp_path: Path) -> None:
    write_episodes(tmp_path / "a.jsonl.gz", [episode("teacher"), episode("base", role="base")])
    recording = read_recording("recorded:*.jsonl.gz", tmp_path)
    assert [e.turns[0].reply.text for e in recording.yardstick] == ["base"]
    policy = open_policy("recorded:*.jsonl.gz", tmp_path)
    assert (await policy.generate(HELLO, Sampling())).text == "teacher"
    assert recording.live == "local:m"


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none/\*: no recorded episodes"):
        open_policy("recorded:none/*", tmp_path)


async def test_a_script_answers_in_order_raises_and_ends() -> None:
    model = ScriptedModel(["left", ModelError("503"), Message(role="assistant", content="right")])
    assert (await model.generate(HELLO, Sampling())).text == "left"
    with pytest.raises(ModelError, match="503"):
        await model.generate(HELLO, Sampling())
    assert (await model.generate(HELLO, Sampling())).text == "right"
    with pytest.raises(ModelError, match="no more replies"):
        await model.generate(HELLO, Sampling())


async def test_a_script_may_be_a_function() -> None:
    model = ScriptedModel(lambda request: request.messages[-1].content.upper())
    assert (await model.generate(HELLO, Sampling())).text == "HELLO"
