"""`prentice record`: the official OpenAI SDK talks to it as to OpenAI, and every call is on record."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from openai_server import OpenAIServer, serving
from prentice.pipeline.recording import Recording
from prentice.records import Episode
from prentice.records.store import Store
from prentice.serving.access import Access
from prentice.serving.endpoint import make_app
from prentice.serving.keys import add_key
from prentice.serving.recorder import Recorder


@dataclass
class Desk:
    """An endpoint in front of a server, with what it recorded."""

    url: str
    behind: OpenAIServer
    recorder: Recorder
    home: Path
    clients: ExitStack

    def client(self, key: str = "sk-of-the-user", **options: Any) -> openai.OpenAI:
        """The official SDK, with nothing changed but the base URL."""
        made = openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, **options)
        return self.clients.enter_context(made)

    def episodes(self) -> list[Episode]:
        """What is stored, in the order it began."""
        assert self.recorder.flush(20)
        with Store.open(self.home / "store.db") as store:
            return sorted(store.episodes(), key=lambda episode: episode.started_at)


@dataclass
class Behind:
    """The server that all tests share, as if it were new for each."""

    server: OpenAIServer
    url: str


@pytest.fixture(scope="module")
def running() -> Iterator[Behind]:
    """The server."""
    server = OpenAIServer()
    with serving(server.app) as url:
        yield Behind(server, url)


@pytest.fixture
def behind(running: Behind) -> Behind:
    """The server, which was asked nothing yet."""
    running.server.asked, running.server.headers, running.server.delay_s = [], [], 0.0
    return running


@contextmanager
def desk(behind: Behind, folder: Path, *overrides: str) -> Iterator[Desk]:
    """A recording endpoint in front of the server."""
    recording = Recording.of(folder, [f'record.upstream="{behind.url}"', *overrides])
    access = Access(recording.home, "127.0.0.1")
    upstream = recording.upstream(own_key=access.by_key)
    recorder = recording.recorder("openai")
    with serving(make_app(upstream, recorder, access, recording.config)) as url, ExitStack() as clients:
        yield Desk(url, behind.server, recorder, recording.home, clients)


@pytest.fixture
def here(behind: Behind, tmp_path: Path) -> Iterator[Desk]:
    """An endpoint without keys."""
    with desk(behind, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def lasting(running: Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """An endpoint for all tests."""
    with desk(running, tmp_path_factory.mktemp("desk")) as opened:
        yield opened


@pytest.fixture
def shared(behind: Behind, lasting: Desk) -> Desk:
    """An endpoint for tests that leave nothing on record."""
    assert behind.server is lasting.behind
    return lasting


def ask(client: openai.OpenAI, text: str = "hello", model: str = "echo", **options: Any) -> Any:
    """One call."""
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def test_a_call_is_answered_as_by_the_server_itself_and_is_a_turn_on_record(here: Desk) -> None:
    said = ask(here.client(), temperature=0.3)
    assert said.choices[0].message.content == "echo: hello"
    assert here.behind.headers[0]["authorization"] == "Bearer sk-of-the-user"
    (episode,) = here.episodes()
    turn = episode.turns[0]
    assert [m.content for m in turn.request.messages] == ["hello"]
    assert turn.reply.text == "echo: hello"
    assert (turn.reply.usage.input_tokens, turn.reply.usage.output_tokens) == (7, 3)
    assert turn.reply.latency_s is not None
    assert (episode.policy, episode.run, episode.split) == ("openai:echo", "record", "train")
    assert "0.3" in str(turn.extra)


def test_the_sdk_streams_and_the_whole_reply_is_recorded_with_its_tokens(here: Desk) -> None:
    chunks = list(ask(here.client(), "a longer message", stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "echo: a longer message"
    assert all(chunk.choices for chunk in chunks)  # the count of tokens, which this client did not ask for, stays here
    (episode,) = here.episodes()
    assert episode.turns[0].reply.text == "echo: a longer message"
    assert episode.turns[0].reply.usage.output_tokens == 3


def test_a_client_that_asks_for_the_tokens_of_a_stream_gets_them(here: Desk) -> None:
    chunks = list(ask(here.client(), stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_recorded_with_their_tools(here: Desk, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    said = ask(here.client(), "W1", "tools", tools=[tool], stream=stream)
    if stream:
        list(said)
    turn = here.episodes()[0].turns[0]
    assert [(call.name, call.arguments) for call in turn.reply.message.tool_calls] == [("look_up", '{"order": "W1"}')]
    assert [t.name for t in turn.request.tools] == ["look_up"]
    assert turn.reply.finish_reason == "tool_calls"


def test_a_json_schema_is_recorded(here: Desk) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    ask(here.client(), response_format=form)
    assert here.behind.asked[0]["response_format"] == form
    assert here.episodes()[0].turns[0].request.response_schema == schema


def test_calls_that_go_on_with_a_conversation_are_one_episode_without_a_word_from_the_client(here: Desk) -> None:
    client, messages = here.client(), [{"role": "user", "content": "one"}]
    for text in ("two", "three"):
        said: Any = client.chat.completions.create(model="echo", messages=messages)  # type: ignore[arg-type]
        messages += [said.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": text}]
    ask(client, "one")
    assert sorted(len(episode.turns) for episode in here.episodes()) == [1, 2]


def test_ids_come_from_headers_or_from_a_field_of_the_body_that_goes_no_further(here: Desk) -> None:
    headers = {"X-Prentice-Episode": "t-17", "X-Prentice-Case": "ticket 17", "X-Prentice-Tag-Channel": "mail"}
    ask(here.client(), extra_headers=headers)
    said = {"episode": "t-17", "function": "answer", "split": "test"}
    raw = here.client().chat.completions.with_raw_response.create(
        model="echo", messages=[{"role": "user", "content": "again"}], extra_body={"prentice": said}
    )
    assert raw.headers["x-prentice-episode"] == "t-17"
    assert "prentice" not in here.behind.asked[1]
    assert not [name for name in here.behind.headers[0] if name.startswith("x-prentice")]
    (episode,) = here.episodes()
    assert [turn.request.function for turn in episode.turns] == ["chat", "answer"]
    assert (episode.case, episode.tags) == ("ticket 17", {"episode": "t-17", "channel": "mail"})


def test_what_is_not_a_chat_is_passed_through_and_not_recorded(here: Desk) -> None:
    client = here.client()
    assert "echo" in [model.id for model in client.models.list()]
    assert client.embeddings.create(model="e", input="x", encoding_format="float").data[0].embedding == [0.0]
    assert here.episodes() == []


@pytest.mark.parametrize(
    ("model", "kind"),
    [("fails", openai.InternalServerError), ("limited", openai.RateLimitError), ("nope", openai.NotFoundError)],
)
def test_a_failed_call_reaches_the_client_as_it_was_and_is_a_failure_on_record(
    here: Desk, model: str, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        ask(here.client(), model=model)
    if model == "limited":
        assert caught.value.response.headers["retry-after"] == "7"
    (episode,) = here.episodes()
    assert (episode.turns, episode.failure and episode.failure.where) == ((), "model")


def test_an_unknown_model_lists_the_known_ones(here: Desk) -> None:
    with pytest.raises(openai.NotFoundError, match="known: echo, tools, slow"):
        ask(here.client(), model="gpt-77")


def test_an_upstream_that_says_nonsense_is_a_failure_and_passed_on(here: Desk) -> None:
    answer = httpx.post(f"{here.url}/chat/completions", json={"model": "garbage", "messages": [{"role": "user"}]})
    assert answer.content == b"<html>not json</html>"
    assert here.episodes()[0].failure is not None


def test_a_stream_that_breaks_off_ends_with_an_error_and_is_a_failure(here: Desk) -> None:
    with pytest.raises(openai.APIError, match="cannot be reached"):
        list(ask(here.client(), model="breaks", stream=True))
    (episode,) = here.episodes()
    assert episode.failure is not None
    assert "broke off" in episode.failure.message


def test_a_client_that_leaves_in_mid_stream_leaves_what_it_got_on_record_as_cut(here: Desk) -> None:
    stream = ask(here.client(), "a message of some length that goes on and on", "slow", stream=True)
    next(iter(stream))
    stream.close()
    (episode,) = wait_for(here)
    assert episode.turns[0].reply.finish_reason == "disconnected"


def test_an_upstream_that_stalls_is_let_go_as_soon_as_its_client_leaves(here: Desk) -> None:
    begun = time.monotonic()
    stream = ask(here.client(), model="stalls", stream=True)
    next(iter(stream))
    stream.close()
    (episode,) = wait_for(here)
    assert episode.turns[0].reply.finish_reason == "disconnected"
    assert time.monotonic() - begun < 30


def wait_for(desk: Desk) -> list[Episode]:
    """What is stored, once there is something."""
    for _ in range(100):
        if found := desk.episodes():
            return found
        httpx.get(desk.url.replace("/v1", "/health"))
    raise AssertionError("nothing was recorded")


def test_an_upstream_that_is_not_there_is_an_error_in_openais_form(behind: Behind, tmp_path: Path) -> None:
    with desk(behind, tmp_path, 'record.upstream="http://127.0.0.1:9/v1"') as opened:
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
            ask(opened.client())
        assert caught.value.code == "upstream_unreachable"
        assert opened.episodes()[0].failure is not None


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_does_not_answer_in_time_is_a_failure_and_said(
    behind: Behind, tmp_path: Path, stream: bool
) -> None:
    with desk(behind, tmp_path, "record.timeout_s=0.3") as opened:
        body = {"model": "slow", "stream": stream, "messages": [{"role": "user", "content": "x" * 99}]}
        if not stream:
            opened.behind.delay_s = 2.0
        answer = httpx.post(f"{opened.url}/chat/completions", json=body)
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "timeout"
        (episode,) = opened.episodes()
        assert episode.failure is not None
        assert "504" in episode.failure.message


def test_keys_that_cannot_be_read_let_nobody_in(behind: Behind, tmp_path: Path) -> None:
    key = add_key(tmp_path / ".prentice", "app", ["chat"])
    with desk(behind, tmp_path, 'record.upstream="http://127.0.0.1:9/v1"') as opened:
        (tmp_path / ".prentice" / "keys.json").write_text("{", encoding="utf-8")
        time.sleep(1.1)
        answer = httpx.post(f"{opened.url}/chat/completions", json={}, headers={"authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "keys_unreadable")


BAD = [
    (b"{", "not valid JSON"),
    (b"[]", "not a JSON object"),
    (b'{"model": "echo"}', "messages is no list"),
    (b'{"model": 5, "messages": [{}]}', "model is missing"),
    (b'{"model": "echo", "messages": ["hi"]}', r"messages[0] is not an object"),
    (b'{"model": "echo", "messages": [{"role": "user", "content": NaN}]}', "not valid JSON"),
    (b'{"model": "echo", "messages": [{"content": "\xff\xfe"}]}', "not valid JSON"),
    (b'{"model": "echo", "stream": "yes", "messages": [{}]}', "stream is not"),
    (b'{"model": "echo", "messages": [{}], "prentice": 5}', "'prentice' is not an object"),
    (b'{"model": "echo", "messages": [{}], "prentice": {"episode": ""}}', "prentice.episode"),
    (b'{"model": "echo", "messages": [{}], "prentice": {"split": "all"}}', "prentice.split"),
    (b'{"model": "echo", "messages": [{}], "prentice": {"user": "x"}}', "prentice.user"),
]


@pytest.mark.parametrize(("body", "message"), BAD, ids=[message for _, message in BAD])
def test_a_request_that_is_wrong_is_refused_in_openais_form_and_asks_nobody(
    shared: Desk, body: bytes, message: str
) -> None:
    answer = httpx.post(f"{shared.url}/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert shared.behind.asked == []


def test_a_tool_result_without_a_call_goes_on_and_is_kept_with_the_reason(here: Desk) -> None:
    messages: Any = [{"role": "tool", "content": "42", "tool_call_id": "c9"}]
    said = here.client().chat.completions.create(model="echo", messages=messages)
    assert said.choices[0].message.content == "echo: 42"
    assert here.episodes() == []
    kept = (here.home / "spool" / "refused.jsonl").read_text(encoding="utf-8")
    assert "tool result without a call" in kept
    assert "echo: 42" in kept
    assert httpx.get(here.url.replace("/v1", "/health")).json()["refused"] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"host": "evil.example"}, 403),
        ({"host": ""}, 403),
        ({"x-prentice-episode": "x" * 300}, 400),
        ({"x-prentice-split": "holdout"}, 400),
        ({"x-prentice-episode": "a\tb"}, 400),
    ],
)
def test_tricks_with_headers_are_refused(shared: Desk, headers: dict[str, str], status: int) -> None:
    body = b'{"model": "echo", "messages": [{"role": "user", "content": "x"}]}'
    answer = httpx.post(
        f"{shared.url}/chat/completions", content=body, headers={"content-type": "application/json"} | headers
    )
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert shared.behind.asked == []


@pytest.mark.parametrize("path", ["../admin", "%2e%2e/admin", "a//b", "models/%2e%2e/x", "a%3fb", ".hidden"])
def test_tricks_with_paths_reach_nobody(shared: Desk, path: str) -> None:
    host = shared.url.removeprefix("http://").removesuffix("/v1")
    with closing(http.client.HTTPConnection(host)) as raw:  # it sends a path as it is
        raw.request("GET", f"/v1/{path}")
        answer = raw.getresponse()
        assert answer.status == 404
        assert "error" in json.loads(answer.read())


def test_a_request_that_is_too_long_or_too_slow_is_refused(behind: Behind, tmp_path: Path) -> None:
    with desk(behind, tmp_path, "record.max_body_mb=0.001", "record.client_timeout_s=0.2") as opened:
        url = f"{opened.url}/chat/completions"
        answer = httpx.post(url, json={"model": "echo", "messages": [{"role": "user", "content": "x" * 2000}]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")

        def slowly() -> Iterator[bytes]:
            yield b"{"
            time.sleep(0.6)
            yield b"}"

        answer = httpx.post(url, content=slowly(), headers={"content-type": "application/json"})
        assert answer.status_code == 408


def test_keys_open_only_what_they_are_for_and_never_reach_the_upstream(
    behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRENTICE_UPSTREAM_KEY", "sk-of-the-company")
    chat, feedback = (add_key(tmp_path / ".prentice", scope, [scope]) for scope in ("chat", "feedback"))
    with desk(behind, tmp_path) as opened:
        ask(opened.client(chat))
        assert opened.behind.headers[0]["authorization"] == "Bearer sk-of-the-company"
        with pytest.raises(openai.PermissionDeniedError):
            ask(opened.client(feedback))
        for wrong in ("sk-of-the-company", "prentice-guess"):
            with pytest.raises(openai.AuthenticationError):
                ask(opened.client(wrong))
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [key for key in (chat, feedback, "sk-of-the-company") if key.encode() in everything]


def test_it_is_bound_beyond_this_machine_with_keys_only(tmp_path: Path) -> None:
    from prentice.errors import ConfigError

    with pytest.raises(ConfigError, match="there is no key"):
        Access(tmp_path, "0.0.0.0")
    add_key(tmp_path, "app", ["chat"])
    assert Access(tmp_path, "0.0.0.0").by_key


def test_personal_data_is_on_no_disk_when_it_is_redacted(behind: Behind, tmp_path: Path) -> None:
    with desk(behind, tmp_path, 'privacy.mode="redact"') as opened:
        said = ask(opened.client(), "I am jane.roe@example.com, call me")
        assert "jane.roe@example.com" in said.choices[0].message.content
        (episode,) = opened.episodes()
        assert "[EMAIL_1]" in episode.turns[0].reply.text
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"jane.roe" not in everything
