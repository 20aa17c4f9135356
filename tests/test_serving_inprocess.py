"""`prentice.record(client)`: every way through the SDK is on record, and the caller's own client is as it was."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import prentice
from openai_server import OpenAIServer, serving
from prentice.errors import ConfigError, DataError
from prentice.records import Episode
from prentice.records.store import Store


@dataclass
class Desk:
    """A server, and a folder that records."""

    url: str
    behind: OpenAIServer
    folder: Path

    def episodes(self) -> list[Episode]:
        """What is stored once recording has ended, in the order it began."""
        prentice.stop_recording()
        with Store.open(self.folder / ".prentice" / "store.db") as store:
            return sorted(store.episodes(), key=lambda episode: episode.started_at)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[OpenAIServer, str]]:
    """A server of OpenAI's form."""
    behind = OpenAIServer()
    with serving(behind.app) as url:
        yield behind, url


@pytest.fixture
def here(server: tuple[OpenAIServer, str], tmp_path: Path) -> Iterator[Desk]:
    """A folder that records, in front of a server that was asked nothing yet."""
    behind, url = server
    behind.asked.clear()
    behind.headers.clear()
    yield Desk(url, behind, tmp_path)
    prentice.stop_recording()


@pytest.fixture
def plain(here: Desk) -> Iterator[openai.OpenAI]:
    """The caller's own client."""
    with openai.OpenAI(base_url=here.url, api_key="sk-x", max_retries=0) as client:
        yield client


@pytest.fixture
def client(here: Desk, plain: openai.OpenAI) -> openai.OpenAI:
    """A client that records."""
    return prentice.record(plain, project=here.folder)


def said(text: str) -> Any:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def ask(client: openai.OpenAI, text: str = "hello", model: str = "echo", **options: Any) -> Any:
    """One call."""
    return client.chat.completions.create(model=model, messages=said(text), **options)


def test_a_call_is_answered_as_ever_and_is_a_turn_on_record(here: Desk, client: openai.OpenAI) -> None:
    assert ask(client, temperature=0.3).choices[0].message.content == "echo: hello"
    (episode,) = here.episodes()
    turn = episode.turns[0]
    assert [m.content for m in turn.request.messages] == ["hello"]
    assert (turn.reply.text, turn.reply.usage.output_tokens) == ("echo: hello", 3)
    assert (episode.run, episode.split, turn.request.function) == ("record", "train", "chat")
    assert episode.policy == f"{here.url.removeprefix('http://').removesuffix('/v1')}:echo"


def test_the_callers_own_client_records_nothing_and_is_closed_with_the_other_as_the_sdks_own_copies_are(
    here: Desk, plain: openai.OpenAI, client: openai.OpenAI
) -> None:
    assert type(client) is openai.OpenAI
    ask(plain, "not on record")
    ask(client, "on record")
    assert [e.turns[0].reply.text for e in here.episodes()] == ["echo: on record"]
    client.close()
    assert plain.is_closed()


def test_a_client_that_nobody_else_holds_stays_open_as_long_as_its_recorded_copy(here: Desk) -> None:
    client = prentice.record(openai.OpenAI(base_url=here.url, api_key="k"), project=here.folder)
    gc.collect()
    copy = client.with_options(timeout=20)
    ask(client)
    del client
    gc.collect()
    ask(copy)
    copy.close()
    assert len(here.episodes()) == 2


def test_a_stream_is_passed_on_as_it_comes_and_recorded_whole_with_its_tokens(
    here: Desk, client: openai.OpenAI
) -> None:
    chunks = list(ask(client, "a longer message", stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "echo: a longer message"
    assert here.behind.asked[0]["stream_options"] == {"include_usage": True}
    (episode,) = here.episodes()
    assert episode.turns[0].reply.text == "echo: a longer message"
    assert episode.turns[0].reply.usage.output_tokens == 3


def test_the_stream_helper_and_parse_are_recorded(here: Desk, client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="echo", messages=said("one")) as stream:
        assert stream.get_final_completion().choices[0].message.content == "echo: one"

    class Form(BaseModel):
        order: str

    tool = openai.pydantic_function_tool(Form, name="look_up")
    parsed = client.chat.completions.parse(model="tools", messages=said("two"), tools=[tool], max_tokens=9)
    assert parsed.choices[0].message.tool_calls
    one, two = here.episodes()
    assert one.turns[0].reply.text == "echo: one"
    assert [(c.name, c.arguments) for c in two.turns[0].reply.message.tool_calls] == [("look_up", '{"order": "two"}')]
    assert [t.name for t in two.turns[0].request.tools] == ["look_up"]


def test_raw_and_streamed_responses_are_recorded_and_name_their_episode(here: Desk, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="echo", messages=said("one"))
    parsed: Any = raw.parse()
    assert parsed.choices[0].message.content == "echo: one"
    with client.chat.completions.with_streaming_response.create(model="echo", messages=said("two")) as streamed:
        assert b"echo: two" in streamed.read()
    one, two = here.episodes()
    assert [e.turns[0].reply.text for e in (one, two)] == ["echo: one", "echo: two"]
    assert [one.tags["episode"], two.tags["episode"]] == [
        answer.headers["x-prentice-episode"] for answer in (raw, streamed)
    ]


async def test_async_clients_are_recorded_each_call_in_the_episode_of_its_task(here: Desk) -> None:
    async with openai.AsyncOpenAI(base_url=here.url, api_key="k", max_retries=0) as plain:
        client = prentice.record(plain, project=here.folder)

        async def talk(name: str) -> None:
            with prentice.episode(name):
                await client.chat.completions.create(model="slow", messages=said(name))
                stream = await client.chat.completions.create(model="echo", messages=said("more"), stream=True)
                assert len([chunk async for chunk in stream]) > 2

        await asyncio.gather(*(talk(f"t{n}") for n in range(4)))
    stored = await asyncio.to_thread(here.episodes)
    assert {e.tags["episode"]: [t.reply.text for t in e.turns] for e in stored} == {
        f"t{n}": [f"echo: t{n}", "echo: more"] for n in range(4)
    }


def test_azure_is_recorded(here: Desk) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=here.url.removesuffix("/v1"), api_version="2025-01-01", api_key="k", max_retries=0
    ) as plain:
        client = prentice.record(plain, project=here.folder)
        assert type(client) is openai.AzureOpenAI
        with pytest.raises(openai.NotFoundError):  # this server has no such path, and was asked for it
            ask(client)
    assert here.episodes()[0].failure is not None


def test_a_client_on_the_older_http_library_is_recorded(here: Desk) -> None:
    with httpx.Client() as http:
        plain: Any = openai.OpenAI(base_url=here.url, api_key="k", http_client=http)  # type: ignore[arg-type,unused-ignore]
        client = prentice.record(plain, project=here.folder)
        ask(client)
        list(ask(client, stream=True))
    assert len(here.episodes()) == 2


def test_the_episode_around_a_call_names_it_and_the_calls_own_words_come_first(
    here: Desk, plain: openai.OpenAI
) -> None:
    client = prentice.record(plain, project=here.folder, function="answer", split="val")
    with prentice.episode("t-17", case="ticket 17", tags={"channel": "mail"}) as name:
        ask(client)
        with prentice.episode(function="sort"):
            ask(client)
        asyncio.run(asyncio.to_thread(ask, client, "from a thread"))
        ask(client, extra_headers={"X-Prentice-Function": "by header"})
        ask(client, extra_body={"prentice": {"episode": "other", "split": "test"}})
        with prentice.episode("t-18"):
            ask(client)
    assert name == "t-17"
    stored = {e.tags["episode"]: e for e in here.episodes()}
    assert [t.request.function for t in stored["t-17"].turns] == ["answer", "sort", "answer", "by header"]
    assert (stored["t-17"].case, stored["t-17"].split, stored["t-17"].tags["channel"]) == ("ticket 17", "val", "mail")
    assert (stored["other"].split, stored["other"].case) == ("test", "ticket 17")
    assert (stored["t-18"].case, "channel" in stored["t-18"].tags) == ("t-18", False)
    assert not [body for body in here.behind.asked if "prentice" in body]
    assert not [name for headers in here.behind.headers for name in headers if name.startswith("x-prentice")]


def test_a_word_on_an_episode_that_is_wrong_is_refused_and_on_a_call_left_out(
    here: Desk, client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match=r"prentice\.episode"), prentice.episode("x" * 300):
        pass
    with pytest.raises(ConfigError, match=r"prentice\.split"), prentice.episode("x", split="holdout"):  # type: ignore[arg-type]
        pass
    ask(client, extra_body={"prentice": {"split": "holdout"}})
    assert "prentice" not in here.behind.asked[0]
    assert "left out" in caplog.text
    assert here.episodes()[0].split == "train"


def test_calls_that_go_on_with_a_conversation_are_one_episode(here: Desk, client: openai.OpenAI) -> None:
    first = ask(client, "one")
    said_so_far = [*said("one"), first.choices[0].message.model_dump(exclude_none=True), *said("two")]
    client.chat.completions.create(model="echo", messages=said_so_far)
    assert [len(e.turns) for e in here.episodes()] == [2]


def test_failures_reach_the_caller_as_they_were_and_are_on_record(here: Desk, client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        ask(client, model="limited")
    with pytest.raises(openai.APIError):
        list(ask(client, model="breaks", stream=True))
    with pytest.raises(openai.APIConnectionError):
        ask(client.with_options(base_url="http://127.0.0.1:9/v1"))
    assert [e.failure and e.failure.message.partition(":")[0] for e in here.episodes()] == [
        "429",
        "broke off",
        "ConnectError",
    ]


def test_each_try_of_a_call_that_the_sdk_repeats_is_on_record(here: Desk, client: openai.OpenAI) -> None:
    with prentice.episode("again"), pytest.raises(openai.InternalServerError):
        ask(client.with_options(max_retries=1), model="fails")
    (episode,) = here.episodes()
    assert (len(here.behind.asked), episode.turns, episode.failure is not None) == (2, (), True)


def test_a_stream_that_the_caller_leaves_is_on_record_as_cut(here: Desk, client: openai.OpenAI) -> None:
    stream = ask(client, "a message of some length", "slow", stream=True)
    next(stream)
    stream.close()
    assert here.episodes()[0].turns[0].reply.finish_reason == "disconnected"


def test_a_call_that_is_under_way_when_recording_is_stopped_is_recorded_all_the_same(
    here: Desk, client: openai.OpenAI
) -> None:
    stream = ask(client, stream=True)
    next(stream)
    prentice.stop_recording()
    list(stream)
    assert here.episodes()[0].turns[0].reply.text == "echo: hello"


def test_a_compressed_stream_is_read_by_the_caller_and_by_the_record(here: Desk, tmp_path: Path) -> None:
    async def answer(request: Request) -> Response:
        asked = await request.json()
        events = b'data: {"choices":[{"index":0,"delta":{"content":"packed"}}],"model":"m"}\n\ndata: [DONE]\n\n'
        packed = gzip.compress(events if asked.get("stream") else b'{"choices":[{"message":{"content":"packed"}}]}')

        async def parts() -> AsyncIterator[bytes]:
            for start in range(0, len(packed), 7):
                yield packed[start : start + 7]

        kind = "text/event-stream" if asked.get("stream") else "application/json"
        return StreamingResponse(parts(), media_type=kind, headers={"content-encoding": "gzip"})

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    with serving(app) as url, openai.OpenAI(base_url=url, api_key="k", max_retries=0) as plain:
        client = prentice.record(plain, project=here.folder)
        assert [chunk.choices[0].delta.content for chunk in ask(client, stream=True)] == ["packed"]
        with client.chat.completions.with_streaming_response.create(model="m", messages=said("x")) as streamed:
            assert b"packed" in b"".join(streamed.iter_bytes())
    assert [e.turns[0].reply.text for e in here.episodes()] == ["packed", "packed"]


def test_what_is_no_chat_is_not_recorded(here: Desk, client: openai.OpenAI) -> None:
    assert "echo" in [model.id for model in client.models.list()]
    ask(client)
    assert len(here.episodes()) == 1


@pytest.mark.parametrize("wrong", [object(), "client", None, openai])
def test_what_is_no_client_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="is not a client of the openai package"):
        prentice.record(wrong, project=tmp_path)


def test_calls_go_on_where_nothing_can_be_recorded_and_it_is_said_once(
    here: Desk, plain: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    client = prentice.record(plain, project=here.folder)
    (here.folder / ".prentice" / "spool").write_text("in the way", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "prentice.record"):
        for _ in range(3):
            with prentice.episode("t-1"):
                assert ask(client, extra_body={"prentice": {"case": "c"}}).choices[0].message.content == "echo: hello"
    assert caplog.text.count("not recorded") == 1
    assert "prentice" not in here.behind.asked[0]


PROGRAM = """
import os, sys, openai, prentice
# no connection is kept: a fork would leave parent and child writing into the same one
here = openai.OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0, default_headers={"Connection": "close"})
client = prentice.record(here, project=sys.argv[2])
def ask(text):
    client.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}])
"""


def program(here: Desk, code: str) -> int:
    """Run a program that records; return its exit code."""
    return subprocess.run([sys.executable, "-c", PROGRAM + code, here.url, str(here.folder)], check=False).returncode


def test_a_program_that_is_killed_right_after_an_answer_has_recorded_it(here: Desk) -> None:
    assert program(here, "ask('last words')\nos.kill(os.getpid(), 9)") == -9
    prentice.record(openai.OpenAI(base_url=here.url, api_key="k"), project=here.folder)
    with pytest.raises(DataError, match="no episode"):
        prentice.feedback("unknown", success=True, project=here.folder)  # it takes over what waits
    assert [e.turns[0].reply.text for e in here.episodes()] == ["echo: last words"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_records_beside_its_parent_and_exit_stores_all(here: Desk) -> None:
    code = """
ask("before")
child = os.fork()
for n in range(3):
    ask(f"{'parent' if child else 'child'} {n}")
if child:
    sys.exit(os.waitpid(child, 0)[1])
prentice.stop_recording()
"""
    assert program(here, code) == 0
    texts = sorted(e.turns[0].reply.text for e in here.episodes())
    assert texts == sorted(["echo: before", *(f"echo: {who} {n}" for who in ("parent", "child") for n in range(3))])


def test_feedback_from_python_at_once_and_again_is_stored_once(here: Desk, client: openai.OpenAI) -> None:
    with prentice.episode("t-17") as name:
        ask(client)
    ids = {prentice.feedback(name, success=True, author="ann", project=here.folder) for _ in range(2)}
    assert len(ids) == 1
    prentice.feedback(name, comment="too curt", turn=0, project=here.folder)
    prentice.feedback(name, demonstration="better", turn=0, project=here.folder)
    prentice.feedback(name, name="rating", value=4.5, project=here.folder)
    (episode,) = here.episodes()
    assert [(m.name, m.value, m.turn) for m in episode.metrics] == [
        ("success", True, None),
        ("comment", "too curt", 0),
        ("rating", 4.5, None),
    ]
    assert [d.message.content for d in episode.demonstrations] == ["better"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({}, "exactly one of value, comment"),
        ({"success": True, "comment": "x"}, "exactly one of value, comment"),
        ({"success": True, "name": "x"}, "success stands for a name"),
        ({"value": 3}, "a value needs a name"),
        ({"name": "x", "value": "good"}, "value"),
        ({"success": True, "turn": -1}, "turn"),
        ({"success": True, "user": "x"}, "user"),
        ({"success": True}, "no episode 't-99' is known"),
    ],
    ids=str,
)
def test_feedback_that_is_wrong_is_refused(tmp_path: Path, what: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prentice.feedback("t-99", project=tmp_path, **what)
    prentice.stop_recording()


def test_importing_prentice_loads_nothing_of_it() -> None:
    code = "import sys, prentice; print(sorted(m for m in sys.modules if m.startswith(('prentice.', 'pydantic'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
