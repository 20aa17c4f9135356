"""Remote models against a server of our own that misbehaves, over real HTTP."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from faulty_provider import GOOD, GOOD_BY_PATH, ONE_CALL_USD, FaultyServer, serving
from prentice.errors import ModelError
from prentice.models.limits import ProviderConfig
from prentice.models.remote import RemoteModel
from prentice.records import Message, Request, Sampling, Tool, ToolCall

ASK = Request(function="f", messages=(Message(role="user", content="Is Paris in France?"),))


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving(FaultyServer()) as faulty:
        yield faulty


async def test_a_good_reply_comes_with_tokens_cost_and_one_attempt(server: FaultyServer) -> None:
    reply = await server.model().generate(ASK, Sampling())
    assert (reply.text, reply.finish_reason, reply.model, reply.attempts) == ("yes", "stop", "tiny", 1)
    assert (reply.usage.input_tokens, reply.usage.cached_tokens, reply.usage.output_tokens) == (10, None, 2)
    assert reply.cost_usd == pytest.approx(ONE_CALL_USD)
    assert reply.latency_s is not None
    assert 0 < reply.latency_s < 5


async def test_429_is_tried_again_after_the_pause_it_asks_for(server: FaultyServer) -> None:
    server.tricks = [{"status": 429, "retry_after": "1.2", "text": "{}"}]
    reply = await server.model().generate(ASK, Sampling())
    assert reply.attempts == 2
    # a refused call costs nothing
    assert reply.cost_usd == pytest.approx(ONE_CALL_USD)
    # our own first pause would have been 0.5 s at most
    assert server.times[1] - server.times[0] >= 1.2


async def test_a_pause_may_be_a_date(server: FaultyServer) -> None:
    model = server.model()
    at = int(time.time()) + 3
    server.tricks = [{"status": 503, "retry_after": email.utils.formatdate(at, usegmt=True), "text": "{}"}]
    assert (await model.generate(ASK, Sampling())).attempts == 2
    assert time.time() >= at


async def test_a_pause_of_an_hour_is_not_waited_for(server: FaultyServer) -> None:
    server.tricks = [{"status": 429, "retry_after": "3600", "text": "{}"}]
    with pytest.raises(ModelError, match="asks to wait 3600 s") as caught:
        await server.model().generate(ASK, Sampling())
    assert caught.value.retryable


async def test_an_empty_account_is_not_tried_again(server: FaultyServer) -> None:
    server.tricks = [{"status": 429, "text": '{"error": {"code": "insufficient_quota", "message": "no credit"}}'}]
    with pytest.raises(ModelError, match="no credit") as caught:
        await server.model().generate(ASK, Sampling())
    assert not caught.value.retryable
    assert len(server.bodies) == 1


async def test_500_is_tried_again_as_often_as_allowed_and_then_says_so(server: FaultyServer) -> None:
    server.tricks = [{"status": 500, "text": "oops"}] * 2
    with pytest.raises(ModelError, match=r"HTTP 500.*after 2 attempts") as caught:
        await server.model(retries=1).generate(ASK, Sampling())
    assert caught.value.retryable
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "trick",
    [
        {"text": "\x00 garbage"},
        {"text": "<html>a login page</html>", "type": "text/html"},
        {"text": '{"a": 1}'},
        {"reply": GOOD | {"choices": []}},
        {"reply": GOOD | {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": {"a": 1}}}]}},
        {"text": json.dumps(GOOD)[:60]},
        {"text": json.dumps(GOOD)[:60], "length": 500},
    ],
    ids=["garbage", "a page", "other json", "no message", "no text", "half the json", "half the bytes"],
)
async def test_an_unreadable_reply_is_tried_again_and_priced(server: FaultyServer, trick: dict[str, Any]) -> None:
    server.tricks = [trick]
    reply = await server.model().generate(ASK, Sampling())
    assert (reply.text, reply.attempts) == ("yes", 2)
    assert reply.cost_usd == pytest.approx(2 * ONE_CALL_USD)


async def test_a_server_that_never_answers_is_given_up_on_in_time(server: FaultyServer) -> None:
    server.tricks = [{"never": True}] * 2
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"no reply within 0.3 s \(after 2 attempts\)") as caught:
        await server.model(timeout_s=0.3, retries=1).generate(ASK, Sampling())
    assert caught.value.retryable
    assert time.monotonic() - begun < 15


async def test_a_timeout_is_tried_again_and_priced(server: FaultyServer) -> None:
    server.tricks = [{"never": True}]
    reply = await server.model(timeout_s=1.5).generate(ASK, Sampling())
    assert reply.attempts == 2
    assert reply.cost_usd == pytest.approx(2 * ONE_CALL_USD)


async def test_a_server_that_is_not_there_is_named_with_a_hint() -> None:
    model = RemoteModel("llamacpp:tiny@http://127.0.0.1:9/v1", ProviderConfig(retries=0))
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9.*no connection.*base URL") as caught:
        await model.generate(ASK, Sampling())
    assert caught.value.retryable


@pytest.mark.parametrize("spec", ["llamacpp:tiny", "anthropic:tiny", "gemini:tiny"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refused_request_fails_at_once_and_never_shows_the_key(
    server: FaultyServer, spec: str, status: int
) -> None:
    server.tricks = [{"status": status, "text": '{"error": {"message": "bad temperature, key sk-hush"}}'}]
    with pytest.raises(ModelError) as caught:
        await server.model(spec=spec).generate(ASK, Sampling())
    assert not caught.value.retryable
    assert f"HTTP {status}" in caught.value.problem
    assert ("_API_KEY" if status in (401, 403) else "temperature 1") in caught.value.hint
    assert "hush" not in str(caught.value) + repr(caught.value)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("spec", ["anthropic:tiny", "gemini:tiny"])
async def test_other_forms_of_api_are_tried_again_alike(server: FaultyServer, spec: str) -> None:
    server.tricks = [{"status": 503, "text": "{}"}, {"text": "garbage"}]
    reply = await server.model(spec=spec, base_url=server.url).generate(ASK, Sampling())
    assert reply.attempts == 3
    assert reply.cost_usd == pytest.approx(2 * ONE_CALL_USD)
    assert reply.usage.input_tokens == 10


async def test_anthropics_cached_tokens_are_counted(server: FaultyServer) -> None:
    reply = await server.model(spec="anthropic:tiny").generate(ASK, Sampling())
    assert (reply.usage.input_tokens, reply.usage.cached_tokens) == (10, 6)


async def test_a_reply_outside_the_choices_is_an_error_that_names_it(server: FaultyServer) -> None:
    with pytest.raises(ModelError, match=r"replied 'yes', which is none of the 2 choices") as caught:
        await server.model().generate(ASK.model_copy(update={"choices": ("red", "blue")}), Sampling())
    assert not caught.value.retryable


async def test_a_cut_reply_where_json_was_asked_for_says_what_to_raise(server: FaultyServer) -> None:
    message = {"role": "assistant", "content": '{"answer": "ye'}
    server.tricks = [{"reply": GOOD | {"choices": [{"index": 0, "finish_reason": "length", "message": message}]}}]
    with pytest.raises(ModelError, match=r"which is no JSON \(raise max_tokens"):
        await server.model().generate(ASK.model_copy(update={"response_schema": {"type": "object"}}), Sampling())


async def test_log_probabilities_and_tool_calls_come_back(server: FaultyServer) -> None:
    function = {"name": "look_up", "arguments": '{"city": "Paris"}'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "7", "type": "function", "function": function}],
    }
    rows = [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}]
    choice = {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": message,
        "logprobs": {"content": rows, "refusal": None},
    }
    server.tricks = [{"reply": GOOD | {"choices": [choice]}}]
    request = ASK.model_copy(update={"tools": (Tool(name="look_up"),)})
    reply = await server.model(spec="llamacpp:tiny#tools").generate(request, Sampling(logprobs=True))
    call = ToolCall(id="7", name="look_up", arguments='{"city": "Paris"}')
    assert (reply.message.tool_calls, reply.finish_reason) == ((call,), "tool_calls")
    assert [(row.token, row.logprob) for row in reply.token_logprobs] == [("a", -0.5)]
    # and such a turn can be sent back as history
    history = (*request.messages, reply.message, Message(role="tool", content="12 °C", tool_call_id="7"))
    await server.model().generate(Request(function="f", messages=history), Sampling())
    sent = server.bodies[1]["messages"]
    assert sent[1]["tool_calls"] == [{"id": "7", "type": "function", "function": function}]
    assert (sent[2]["role"], sent[2]["tool_call_id"]) == ("tool", "7")


async def test_fifty_calls_share_the_connections_of_one_client(server: FaultyServer) -> None:
    model = server.model()
    turn = asyncio.Semaphore(model.slots)

    async def ask() -> int:
        async with turn:
            return (await model.generate(ASK, Sampling())).attempts

    assert await asyncio.gather(*(ask() for _ in range(50))) == [1] * 50
    assert server.connections <= model.slots
    assert len(model.clients._kept) == 1
    await model.close()
    await model.close()
    assert model.clients._kept == {}


async def test_a_reply_that_drips_is_given_up_on_in_time(server: FaultyServer) -> None:
    # each byte comes in time, the whole never does
    server.tricks = [{"drip": True}]
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"no reply within 0.5 s"):
        await server.model(timeout_s=0.5, retries=0).generate(ASK, Sampling())
    assert time.monotonic() - begun < 3


async def test_a_reply_of_100_000_tokens_comes_whole(server: FaultyServer) -> None:
    text = "word " * 100_000
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 100_000, "total_tokens": 100_010}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    server.tricks = [{"reply": GOOD | {"choices": [choice], "usage": usage}}]
    model = server.model()
    reply = await model.generate(ASK, Sampling(max_tokens=100_000))
    # and it can be a part of the next request
    history = (*ASK.messages, reply.message, Message(role="user", content="Go on."))
    await model.generate(Request(function="f", messages=history), Sampling())
    await model.close()
    assert (reply.text, reply.usage.output_tokens, reply.attempts) == (text, 100_000, 1)
    assert server.bodies[1]["messages"][1]["content"] == text


SCRIPTS = "Ünïcödé ελληνικά русский עברית العربية हिन्दी ไทย 漢字 かな 한글 ትግርኛ 🧑‍🚀 \u202e\u0000 𝔘𐍈"


@pytest.mark.parametrize("spec", ["openai:tiny#schema", "anthropic:tiny", "gemini:tiny", "ollama:tiny"])
async def test_unicode_of_all_scripts_goes_out_and_comes_back_unchanged(server: FaultyServer, spec: str) -> None:
    def echo(path: str, body: dict[str, Any]) -> dict[str, Any]:
        contents = body.get("contents")
        said = contents[0]["parts"][0]["text"] if contents else body["messages"][-1]["content"]
        reply = json.dumps(GOOD_BY_PATH.get(next((end for end in GOOD_BY_PATH if path.endswith(end)), ""), GOOD))
        old = json.dumps(json.dumps({"answer": "yes"})) if path.rstrip("/").split("/")[-1] != "completions" else '"yes"'
        whole: dict[str, Any] = json.loads(reply.replace(old, json.dumps(said)))
        return whole

    server.answer = echo
    model = server.model(spec=spec, base_url=server.url + ("/v1" if "openai" in spec else ""))
    reply = await model.generate(Request(function="f", messages=(Message(role="user", content=SCRIPTS),)), Sampling())
    await model.close()
    assert reply.text == SCRIPTS


def test_one_model_works_across_event_loops_and_leaves_no_connection_open(server: FaultyServer) -> None:
    # an open connection would be a ResourceWarning, which is an error here
    model = server.model()
    for _ in range(3):
        assert asyncio.run(model.generate(ASK, Sampling())).text == "yes"
    assert server.connections == 3


def test_pauses_grow_and_differ() -> None:
    from prentice.models.faults import LONGEST_PAUSE_S, backoff_s

    pauses: Sequence[float] = [backoff_s(attempt) for attempt in (1, 2, 3, 20)]
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1.0 <= pauses[2] <= 2.0
    assert pauses[3] <= LONGEST_PAUSE_S
    assert len({backoff_s(1) for _ in range(20)}) > 1
