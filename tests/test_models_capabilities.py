"""The table of capabilities against any-llm itself: what it calls honoured is in the body that goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from faulty_provider import GOOD, FaultyServer, serving
from prentice.errors import ConfigError, ModelError
from prentice.models.capabilities import DROPS_BASE_URL, HONOURED, OWN_HOSTS, SELF_HOSTED, constraint
from prentice.models.forms import arguments
from prentice.models.limits import ProviderConfig
from prentice.models.remote import RemoteModel
from prentice.records import Message, Request, Sampling, Tool, ToolCall

NO_SDK = frozenset({"together", "fireworks"})
"""Their SDKs hold libraries of ours back (rich, aiohttp), so only any-llm's conversion is tested."""
LONG = "Answer with yes or no. " * 200
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK = Request(
    function="f",
    messages=(Message(role="system", content=LONG), Message(role="user", content="Is Paris in France?")),
    tools=(Tool(name="look_up", description="Facts of a city", parameters=CITY),),
)
SAMPLING = Sampling(seed=4711, max_tokens=321, temperature=0.25)
ANSWER = {"type": "object", "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}}, "required": ["answer"]}


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving(FaultyServer()) as faulty:
        yield faulty


@pytest.fixture(autouse=True)
def _own_hosts_are_not_called(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # the two SDKs whose base URL any-llm drops read it from here
    monkeypatch.setenv("GROQ_BASE_URL", server.url)
    monkeypatch.setenv("CEREBRAS_BASE_URL", server.url)


def model_of(server: FaultyServer, provider: str) -> RemoteModel:
    spec = f"{provider}:tiny#{','.join(sorted(HONOURED[provider]))}"
    if provider in DROPS_BASE_URL:
        return RemoteModel(spec, api_key="sk-hush")
    suffix = "" if provider in ("anthropic", "gemini", "ollama") else "/v1"
    return server.model(spec=spec, base_url=server.url + suffix)


def wrapped(path: str, body: dict[str, Any]) -> dict[str, Any]:
    del path, body
    message = {"role": "assistant", "content": '{"answer": "yes"}'}
    return GOOD | {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


async def body_of(server: FaultyServer, provider: str, request: Request, sampling: Sampling = SAMPLING) -> str:
    if provider not in ("anthropic", "gemini", "ollama"):
        server.answer = wrapped
    model = model_of(server, provider)
    await model.generate(request, sampling)
    await model.close()
    return json.dumps(server.bodies[-1], ensure_ascii=False)


def plain(body: str) -> str:
    return body.lower().replace("_", "")


def test_every_row_says_where_its_provider_lives() -> None:
    assert set(HONOURED) == set(OWN_HOSTS) | SELF_HOSTED


@pytest.mark.parametrize("provider", sorted(set(HONOURED) - NO_SDK))
async def test_what_the_table_calls_honoured_reaches_the_wire(server: FaultyServer, provider: str) -> None:
    parts = HONOURED[provider]
    asked = ASK if "tools" in parts else ASK.model_copy(update={"tools": ()})
    sent = await body_of(server, provider, asked)
    assert ("lookup" in plain(sent) and '"city"' in sent) == ("tools" in parts)
    assert ("4711" in sent) == ("seed" in parts)
    assert "321" in sent
    assert "0.25" in sent
    assert ('"cache_control": {"type": "ephemeral"}' in sent) == ("cache" in parts)
    # and a schema, which not every provider takes beside tools
    schema = ASK.model_copy(update={"tools": (), "response_schema": ANSWER})
    sent = await body_of(server, provider, schema)
    assert '"enum": ["yes", "no"]' in sent


@pytest.mark.parametrize("provider", sorted(set(HONOURED) - NO_SDK))
async def test_log_probabilities_are_sent_for_or_refused_never_dropped(server: FaultyServer, provider: str) -> None:
    asked = ASK.model_copy(update={"tools": ()})
    sampling = SAMPLING.model_copy(update={"logprobs": True})
    if "logprobs" in HONOURED[provider]:
        assert '"logprobs": true' in await body_of(server, provider, asked, sampling)
    else:
        with pytest.raises(ModelError, match="logprobs asked for, but not known to be honoured"):
            await model_of(server, provider).generate(asked, sampling)
        assert server.bodies == []


@pytest.mark.parametrize("provider", sorted(HONOURED))
async def test_a_grammar_goes_only_to_llama_cpp_and_choices_elsewhere_are_a_schema(provider: str) -> None:
    request = ASK.model_copy(update={"choices": ("yes", "no")})
    asked = json.dumps(constraint(request, HONOURED[provider]))
    assert ("root ::=" in asked) == (provider == "llamacpp")
    assert ("json_schema" in asked) == (provider != "llamacpp")


@pytest.mark.parametrize("provider", sorted(NO_SDK))
def test_any_llms_conversion_keeps_what_the_table_says_where_the_sdk_is_not_here(provider: str) -> None:
    from any_llm import AnyLLM
    from any_llm.types.completion import CompletionParams

    request = ASK.model_copy(update={"response_schema": ANSWER})
    asked = arguments(request, SAMPLING, provider, HONOURED[provider])
    kind = AnyLLM.get_provider_class(provider)
    sent = json.dumps(kind._convert_completion_params(CompletionParams(model_id="tiny", **asked)))
    assert all(part in sent for part in ('"enum": ["yes", "no"]', "look_up", "4711", "321"))


@pytest.mark.parametrize("provider", sorted(DROPS_BASE_URL))
def test_a_base_url_that_any_llm_would_drop_is_refused_with_another_way(provider: str) -> None:
    place = "http://127.0.0.1:9/v1"
    for spec, settings in ((f"{provider}:m@{place}", None), (f"{provider}:m", ProviderConfig(base_url=place))):
        with pytest.raises(ConfigError, match=rf"own host instead .*openai:m@{place}"):
            RemoteModel(spec, settings, api_key="k")


async def test_openrouter_may_not_pass_a_call_to_a_host_that_ignores_a_parameter(server: FaultyServer) -> None:
    sent = json.loads(await body_of(server, "openrouter", ASK))
    assert sent["provider"] == {"require_parameters": True}


MALFORMED = Request(
    function="f",
    messages=(
        *ASK.messages,
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="look_up", arguments='{"city": "Par'),)),
        Message(role="tool", content="arguments are no JSON", tool_call_id="1"),
    ),
    tools=ASK.tools,
)


@pytest.mark.parametrize("provider", sorted(set(HONOURED) - NO_SDK - {"llamacpp"}))
async def test_a_tool_call_with_broken_arguments_can_be_sent_back_as_history(
    server: FaultyServer, provider: str
) -> None:
    # forms that carry an object would fail inside any-llm, with a JSON error that no user could read
    sent = await body_of(server, provider, MALFORMED)
    assert r"{\\\"city\\\": \\\"Par" in sent or r"{\"city\": \"Par" in sent
    assert ("malformed_arguments" in sent) == (provider in ("anthropic", "gemini", "ollama"))


async def test_broken_arguments_from_a_provider_are_kept_as_written(server: FaultyServer) -> None:
    function = {"name": "look_up", "arguments": '{"city": "Par'}
    calls = [{"id": str(n), "type": "function", "function": function} for n in range(2)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    server.tricks = [{"reply": GOOD | {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}}]
    model = server.model(spec="openai:tiny#tools")
    reply = await model.generate(ASK, SAMPLING)
    await model.close()
    assert [call.arguments for call in reply.message.tool_calls] == ['{"city": "Par'] * 2
    assert reply.attempts == 1
