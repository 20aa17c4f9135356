"""Remote models without a network: what a spec says, what is refused before a call, what never shows."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.errors import ConfigError, MissingExtraError, ModelError, UnknownNameError
from prentice.models.capabilities import PARTS, constraint, honoured_parts, is_own_endpoint
from prentice.models.limits import ProviderConfig
from prentice.models.policy import Policy
from prentice.models.remote import Endpoint, RemoteModel, parse_spec
from prentice.records import Message, Request, Sampling, Tool

ASK = (Message(role="user", content="Is Paris in France?"),)
TEXT = Request(function="f", messages=ASK)
CHOICES = Request(function="f", messages=ASK, choices=("yes", "no"))
SCHEMA = Request(function="f", messages=ASK, response_schema={"type": "object"})
TOOLS = Request(function="f", messages=ASK, tools=(Tool(name="look_up"),))
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_endpoint_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("spec", "endpoint"),
    [
        ("openai:gpt-5-mini", Endpoint("openai", "gpt-5-mini")),
        ("llamacpp:m@http://127.0.0.1:8080/v1", Endpoint("llamacpp", "m", "http://127.0.0.1:8080/v1")),
        (
            "openai:org/m@https://a.example/v1#schema,tools",
            Endpoint("openai", "org/m", "https://a.example/v1", ("schema", "tools")),
        ),
        ("vertexai:claude@20250101", Endpoint("vertexai", "claude@20250101")),
        ("ollama:qwen3:8b#schema", Endpoint("ollama", "qwen3:8b", None, ("schema",))),
    ],
)
def test_a_spec_names_provider_model_place_and_parts(spec: str, endpoint: Endpoint) -> None:
    assert parse_spec(spec) == endpoint


@pytest.mark.parametrize("spec", ["", "gpt-5", "openai:", ":gpt-5", "openai:a b", "openai:m#a b", "OpenAI:m"])
def test_a_spec_of_another_form_is_refused_with_the_right_one(spec: str) -> None:
    with pytest.raises(ConfigError, match="provider:model"):
        parse_spec(spec)


@settings(deadline=None)
@given(
    st.from_regex(r"[a-z0-9_]+", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._/:-]+", fullmatch=True),
    st.none() | st.from_regex(r"https?://[a-z0-9.:/-]+", fullmatch=True),
    st.lists(st.sampled_from(sorted(PARTS)), unique=True),
)
def test_every_well_formed_spec_reads_back(provider: str, model: str, url: str | None, parts: list[str]) -> None:
    spec = f"{provider}:{model}" + (f"@{url}" if url else "") + (f"#{','.join(parts)}" if parts else "")
    assert parse_spec(spec) == Endpoint(provider, model, url, tuple(parts))


def test_an_unknown_provider_gets_the_nearest_right_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'anthropic'"):
        RemoteModel("antropic:claude", api_key="k")


def test_a_missing_key_is_named_by_its_variable_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        RemoteModel("openai:gpt-5-mini")


@pytest.mark.parametrize(
    ("spec", "base_url"), [("llamacpp:m@http://me:hush@h/v1", None), ("llamacpp:m", "http://h?key=hush")]
)
def test_a_key_in_the_base_url_is_refused_and_not_repeated(spec: str, base_url: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteModel(spec, ProviderConfig(base_url=base_url))
    assert "hush" not in str(caught.value)


def test_the_key_shows_neither_in_repr_nor_in_the_attributes() -> None:
    model = RemoteModel("openai:gpt-5-mini", api_key="sk-very-secret")
    assert "very-secret" not in repr(model) + repr(vars(model)) + model.name


def test_a_provider_whose_sdk_is_missing_names_its_install_line() -> None:
    hidden = "import sys; sys.modules['any_llm'] = None"
    code = f"{hidden}\nfrom prentice.models.remote import RemoteModel\nRemoteModel('openai:m')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        'MissingExtraError: remote models need any-llm-sdk, which is not installed (pip install "prentice[remote]")'
        in done.stderr
    )


def test_a_provider_outside_our_extra_names_the_extra_of_any_llm() -> None:
    pytest.importorskip("any_llm")
    try:
        __import__("cohere")
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"any-llm-sdk\[cohere\]"):
            RemoteModel("cohere:command", api_key="k")
    else:
        pytest.skip("cohere's SDK is installed here")


@pytest.mark.parametrize(
    ("spec", "request_", "sampling", "part"),
    [
        ("anthropic:claude-haiku-4-5", CHOICES.model_copy(update={"choices": ()}), Sampling(logprobs=True), "logprobs"),
        ("gemini:gemini-2.5-flash", CHOICES.model_copy(update={"choices": ()}), Sampling(logprobs=True), "logprobs"),
        ("openai:gpt-4.1-mini", CHOICES, Sampling(logprobs=True), "wrapped in JSON"),
        ("llamacpp:m", TOOLS, Sampling(), "tools"),
        # another server behind Anthropic's or OpenAI's form may ignore what they honour
        (f"anthropic:m@{NOWHERE}", CHOICES, Sampling(), "choices"),
        (f"anthropic:m@{NOWHERE}", SCHEMA, Sampling(), "schema"),
        (f"openai:m@{NOWHERE}", SCHEMA, Sampling(), "schema"),
        ("mzai:some-model", TOOLS, Sampling(), "tools"),
    ],
)
async def test_what_would_be_ignored_is_refused_before_the_call(
    spec: str, request_: Request, sampling: Sampling, part: str
) -> None:
    # a call would fail at once on the network, with another message and retryable
    model = RemoteModel(spec, ProviderConfig(retries=0), api_key="k")
    with pytest.raises(ModelError, match=part) as caught:
        await model.generate(request_, sampling)
    assert not caught.value.retryable
    assert model.clients._kept == {}


def test_the_refusal_says_how_to_state_the_part() -> None:
    assert honoured_parts("mzai", None) == frozenset()
    assert honoured_parts("mzai", None, ["schema"]) == {"schema"}
    assert honoured_parts("openai", "https://gateway.example/v1", ["tools"]) == {"tools"}
    assert "grammar" in honoured_parts("llamacpp", "http://any.example/v1")
    with pytest.raises(ConfigError, match="'shema' after #"):
        RemoteModel("mzai:m#shema", api_key="k")


def test_a_look_alike_host_is_not_the_providers_own() -> None:
    assert is_own_endpoint("openai", "https://eu.api.openai.com/v1")
    assert not is_own_endpoint("openai", "https://api.openai.com.evil.example/v1")
    assert not is_own_endpoint("openai", "https://notopenai.com/v1")


def test_a_foreign_endpoint_has_no_listed_price() -> None:
    assert RemoteModel("openai:gpt-4.1-mini", api_key="k").price is not None
    assert RemoteModel(f"openai:gpt-4.1-mini@{NOWHERE}", api_key="k").price is None


@pytest.mark.parametrize(("spec", "is_sent"), [("openai:gpt-5-mini", False), (f"openai:gpt-5-mini@{NOWHERE}", True)])
def test_a_providers_own_default_temperature_is_not_sent_to_it(spec: str, is_sent: bool) -> None:
    # its reasoning models refuse the parameter, whatever its value
    arguments = RemoteModel(spec, api_key="k").arguments(TEXT, Sampling(temperature=1.0))
    assert ("temperature" in arguments) == is_sent


def test_an_endpoint_from_the_environment_counts_as_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", NOWHERE)
    model = RemoteModel("openai:gpt-4.1-mini", api_key="k")
    assert (model.honoured, model.price) == (frozenset(), None)


def test_choices_with_quotes_and_lines_are_escaped_in_the_grammar() -> None:
    request = Request(function="f", messages=ASK, choices=('say "no"\n', "a\\b", "ü"))
    grammar = constraint(request, frozenset({"grammar"}))["extra_body"]["grammar"]
    assert grammar == r'root ::= "say \x22no\x22\x0A" | "a\x5Cb" | "ü"'


def test_a_remote_model_is_a_policy() -> None:
    policy: Policy = RemoteModel("llamacpp:m")
    assert (policy.name, policy.slots) == ("llamacpp:m", 8)
