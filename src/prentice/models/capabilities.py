"""What each provider honours of a request, so that nothing asked for is dropped in silence.

The table holds for any-llm-sdk 1.40 and for the providers' own endpoints; the comments name the modules that were read.
A server of somebody else behind the same form of API may ignore what the provider honours (llama.cpp's Anthropic form
ignores `output_config`), so there a user has to state what it honours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from prentice.errors import ConfigError, ModelError
from prentice.records import Request, Sampling

Part = Literal["grammar", "schema", "logprobs", "seed", "tools", "cache"]
"""A part of a request that some providers ignore. Choices need `grammar` or `schema`; `cache` stands for the marks of
Anthropic's prompt cache (other providers' caches need none)."""

PARTS: frozenset[str] = frozenset(get_args(Part))

HONOURED: Mapping[str, frozenset[Part]] = {
    # any_llm.providers.openai.base passes all parameters on, and OpenAI refuses those that a model lacks (HTTP 400);
    # a grammar in the extra body is not among them
    "openai": frozenset({"schema", "logprobs", "seed", "tools"}),
    # any_llm.providers.anthropic.utils._convert_params turns a JSON schema into `output_config` (releases before 1.40
    # dropped it), and hands logprobs and seed to an SDK method that has no such parameter; a grammar is nowhere read.
    # Content blocks and keywords that it does not know reach the SDK, and so do the marks of the cache
    "anthropic": frozenset({"schema", "tools", "cache"}),
    # any_llm.providers.gemini.base._convert_completion_params copies seed, tools and the schema, never logprobs
    "gemini": frozenset({"schema", "seed", "tools"}),
    # rows of any_llm.providers.registry, which pass all on, as for OpenAI. llama.cpp renders tools only where the
    # model's chat template knows them, and says nothing where it does not: the user has to state it
    "llamacpp": frozenset({"grammar", "schema", "logprobs", "seed"}),
    # vLLM takes a grammar under another name than llama.cpp's
    "vllm": frozenset({"schema", "logprobs", "seed", "tools"}),
    # any_llm.providers.ollama.ollama._convert_response_format hands on the schema; whatever else is no argument of its
    # SDK becomes an option of the model, and Ollama ignores options it does not know (logprobs, a grammar)
    "ollama": frozenset({"schema", "seed", "tools"}),
    # hosts of Meta's models. any_llm.providers.{groq,together,cerebras,fireworks} ask for log-probabilities, and drop
    # them from the reply (their `utils`)
    "groq": frozenset({"schema", "seed", "tools"}),
    "together": frozenset({"schema", "seed", "tools"}),
    "cerebras": frozenset({"schema", "seed", "tools"}),
    "fireworks": frozenset({"schema", "seed", "tools"}),
    # any_llm.providers.llama.llama and .meta.meta pass all on, as for OpenAI; of a seed and of log-probabilities Meta's
    # pages do not speak
    "llama": frozenset({"schema", "tools"}),
    "meta": frozenset({"schema", "tools"}),
    # any_llm.providers.openrouter passes all on; see ALWAYS_SENT. A seed would shut out the hosts that take none
    "openrouter": frozenset({"schema", "logprobs", "tools"}),
}

ALWAYS_SENT: Mapping[str, Mapping[str, Any]] = {
    # or the host behind it may ignore a parameter
    "openrouter": {"extra_body": {"provider": {"require_parameters": True}}},
}
"""What goes with every call of a provider, so that its row holds."""

SELF_HOSTED = frozenset({"llamacpp", "vllm", "ollama"})
"""Engines rather than companies: their row holds under any URL."""

OWN_HOSTS = {
    "openai": "openai.com",
    "anthropic": "anthropic.com",
    "gemini": "googleapis.com",
    "groq": "groq.com",
    "together": "together.xyz",
    "cerebras": "cerebras.ai",
    "fireworks": "fireworks.ai",
    "llama": "llama.com",
    "meta": "meta.ai",
    "openrouter": "openrouter.ai",
}

DROPS_BASE_URL = frozenset({"groq", "cerebras"})
"""any-llm takes a base URL for them and calls their own host all the same (`_init_client` of both)."""

PARSED_ARGUMENTS = frozenset({"anthropic", "gemini", "ollama"})
"""Forms of API in which the arguments of a tool call are an object, not its text."""

DEFAULT_TEMPERATURE = {"openai": 1.0, "anthropic": 1.0, "gemini": 1.0}
"""Not sent when asked for: it changes nothing, and reasoning models refuse the parameter itself."""


def is_own_endpoint(provider: str, base_url: str | None) -> bool:
    """Whether calls go to the provider itself, so that its row of the table and its prices hold."""
    if not base_url:
        return True
    host, own = urlsplit(base_url).hostname or "", OWN_HOSTS.get(provider)
    return own is not None and (host == own or host.endswith(f".{own}"))


def honoured_parts(provider: str, base_url: str | None, stated: Sequence[str] = ()) -> frozenset[str]:
    """The parts honoured at an endpoint: those of the table, and those the user states.

    Raises: ConfigError if a stated part is none of `PARTS`.
    """
    if wrong := sorted(set(stated) - PARTS):
        raise ConfigError(
            f"{provider}: {wrong[0]!r} after # is no part of a request", f"known: {', '.join(sorted(PARTS))}"
        )
    if provider in SELF_HOSTED or is_own_endpoint(provider, base_url):
        return HONOURED.get(provider, frozenset()) | frozenset(stated)
    return frozenset(stated)


def check(name: str, request: Request, sampling: Sampling, honoured: Collection[str]) -> None:
    """Refuse a request of which a part would be ignored or come back in another form.

    A seed is never refused: hosted models promise no equal replies even where they take one.

    Raises: ModelError naming the part and how to state that it is honoured.
    """
    missing = {
        "tools": bool(request.tools) and "tools" not in honoured,
        "logprobs": sampling.logprobs and "logprobs" not in honoured,
        "schema": request.response_schema is not None and "schema" not in honoured,
        "grammar or #schema": bool(request.choices) and not {"grammar", "schema"} & set(honoured),
    }
    for part, is_missing in missing.items():
        if is_missing:
            asked = "choices" if " or " in part else part
            raise ModelError(
                f"{name}: {asked} asked for, but not known to be honoured there: it might be ignored",
                f"ask without it, use another model, or, if it is honoured, end the model's name with #{part}",
            )
    if request.choices and sampling.logprobs and "grammar" not in honoured:
        raise ModelError(
            f"{name}: choices come wrapped in JSON there, so log-probabilities would not be those of the reply",
            "ask without log-probabilities",
        )


def constraint(request: Request, honoured: Collection[str]) -> dict[str, Any]:
    """The arguments of the call that hold the reply to the request's choices or schema; empty if it has neither."""
    if request.choices and "grammar" in honoured:
        return {"extra_body": {"grammar": "root ::= " + " | ".join(_literal(choice) for choice in request.choices)}}
    if request.choices:
        answer = {"type": "string", "enum": list(request.choices)}
        return _json_schema(
            {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}
        )
    return {} if request.response_schema is None else _json_schema(request.response_schema)


def _json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    # not strict, OpenAI takes a schema as advice
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": dict(schema)},
        }
    }


def _literal(text: str) -> str:
    # only \xHH is read alike by every release of the grammar parser
    return '"' + "".join(f"\\x{ord(c):02X}" if ord(c) < 32 or c in '"\\' else c for c in text) + '"'
