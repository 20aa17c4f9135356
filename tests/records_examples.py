"""Episodes for the records' tests: one that is easy to read, and a hypothesis strategy for all that are allowed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from prentice.records import (
    Demonstration,
    Episode,
    Failure,
    Message,
    Metric,
    Reply,
    Request,
    TokenLogprob,
    Tool,
    ToolCall,
    Turn,
    Usage,
    episode_id,
)

SYSTEM = Message(role="system", content="Which intent has this message of a bank customer?" * 40)
LABELS = tuple(f"some_intent_label_{number:02d}" for number in range(77))


def example(case: str = "case-1", *, run: str = "run-1", attempt: int = 0, **fields: Any) -> Episode:
    """A one-turn episode as a routing task makes it."""
    asked = Message(role="user", content=f"{case}: my card has not arrived")
    reply = Reply(
        message=Message(role="assistant", content="card_arrival"),
        model="teacher",
        usage=Usage(input_tokens=412, output_tokens=3),
        latency_s=0.54,
        processing_s=0.9,
    )
    request = Request(function="route", inputs={"text": case}, messages=(SYSTEM, asked), choices=LABELS)
    defaults: dict[str, Any] = {
        "id": episode_id(run, case, attempt),
        "task": "routing",
        "split": "train",
        "policy": "teacher",
        "turns": (Turn(request=request, reply=reply),),
        "metrics": (Metric(name="success", value=True),),
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Episode(run=run, case=case, attempt=attempt, **(defaults | fields))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.none() | st.integers(0, 2**40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=texts,
    tool_calls=st.lists(st.builds(ToolCall, id=texts, name=texts, arguments=texts), max_size=2).map(tuple),
    tool_call_id=st.none() | texts,
)
requests = st.builds(
    Request,
    function=texts,
    inputs=json_objects,
    messages=st.lists(messages, max_size=3).map(tuple),
    tools=st.lists(st.builds(Tool, name=texts, description=texts, parameters=json_objects), max_size=2).map(tuple),
    choices=st.lists(texts, max_size=3).map(tuple),
    response_schema=st.none() | json_objects,
)
replies = st.builds(
    Reply,
    message=messages,
    model=texts,
    finish_reason=texts,
    usage=st.builds(Usage, input_tokens=counts, cached_tokens=counts, output_tokens=counts),
    latency_s=st.none() | finite,
    processing_s=st.none() | finite,
    cost_usd=st.none() | finite,
    attempts=st.integers(1, 9),
    token_logprobs=st.lists(st.builds(TokenLogprob, token=texts, logprob=finite), max_size=3).map(tuple),
)
metrics = st.builds(
    Metric,
    name=texts,
    value=st.booleans() | finite | texts | st.sampled_from(["True", "1", "1.0", "nan", "", 0.0, 1.0]),
    source=st.sampled_from(["environment", "judge", "program", "person"]),
    turn=st.none() | st.integers(0, 9),
)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),
    max_value=datetime(9998, 1, 1),
    timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
demonstrations = st.builds(
    Demonstration,
    turn=st.integers(0, 9),
    message=messages,
    source=st.sampled_from(["judge", "program", "person"]),
    author=texts,
    at=moments,
)
failures = st.builds(Failure, where=st.sampled_from(["model", "environment", "metric", "judge"]), message=texts)
episodes = st.builds(
    Episode,
    id=texts,
    run=texts,
    task=texts,
    case=texts,
    split=st.sampled_from(["train", "val", "test"]),
    attempt=st.integers(0, 2**63 - 1),
    policy=texts,
    turns=st.lists(st.builds(Turn, request=requests, reply=replies, extra=json_objects), max_size=3).map(tuple),
    metrics=st.lists(metrics, max_size=4).map(tuple),
    failure=st.none() | failures,
    started_at=moments,
    tags=st.dictionaries(texts, texts, max_size=3),
    demonstrations=st.lists(demonstrations, max_size=2).map(tuple),
    extra=json_objects,
)


def exact(episode: Episode) -> str:
    """The episode as text in which 1, 1.0, True and "1" differ, as `==` does not see."""
    moment = episode.started_at.astimezone(UTC).replace(fold=0)
    shown = tuple(d.model_copy(update={"at": d.at.astimezone(UTC).replace(fold=0)}) for d in episode.demonstrations)
    return repr(episode.model_copy(update={"started_at": moment, "demonstrations": shown}))
