"""What each provider honours of a request, so that nothing asked for is dropped in silence.

The table holds for any-llm-sdk 1.40 and for the providers' own endpoints; the comments name the modules that were read.
A server of somebody else behind the same form of API may ignore what the provider honours (llama.cpp's Anthropic form
ignores `output_config`), so there a user has to state what it honours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from prentice.errors import ConfigError, ModelError
from prentice.records import Request, Sampling

Part = Literal["grammar", "schema", "logprobs", "seed", "tools"]
"""A part of a request that some providers ignore. Choices need `grammar` or `schema`."""

PARTS: frozenset[str] = frozenset(get_args(Part))

HONOURED: Mapping[str, frozenset[Part]] = {
    # any_llm.providers.openai.base passes all parameters on, and OpenAI refuses those that a model lacks (HTTP 400);
    # a grammar in the extra body is not among them
    "openai": frozenset({"schema", "logprobs", "seed", "tools"}),
    # any_llm.providers.anthropic.utils._convert_params turns a JSON schema into `output_config` (releases before 1.40
    # dropped it), and hands logprobs and seed to an SDK method that has no such parameter; a grammar is nowhere read
    "anthropic": frozenset({"schema", "tools"}),
    # any_llm.providers.gemini.base._convert_completion_params copies seed, tools and the schema, never logprobs
    "gemini": frozenset({"schema", "seed", "tools"}),
    # rows of any_llm.providers.registry, which pass all on, as for OpenAI. llama.cpp renders tools only where the
    # model's chat template knows them, and says nothing where it does not: the user has to state it
    "llamacpp": frozenset({"grammar", "schema", "logprobs", "seed"}),
    # vLLM takes a grammar under another name than llama.cpp's
    "vllm": frozenset({"schema", "logprobs", "seed", "tools"}),
}

SELF_HOSTED = frozenset({"llamacpp", "vllm"})
"""Engines rather than companies: their row holds under any URL."""

OWN_HOSTS = {"openai": "openai.com", "anthropic": "anthropic.com", "gemini": "googleapis.com"}

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


def check(name: str, request: Request, sampling: Sampling, honoured: frozenset[str]) -> None:
    """Refuse a request of which a part would be ignored or come back in another form.

    A seed is never refused: hosted models promise no equal replies even where they take one.

    Raises: ModelError naming the part and how to state that it is honoured.
    """
    missing = {
        "tools": bool(request.tools) and "tools" not in honoured,
        "logprobs": sampling.logprobs and "logprobs" not in honoured,
        "schema": request.response_schema is not None and "schema" not in honoured,
        "grammar or #schema": bool(request.choices) and not honoured & {"grammar", "schema"},
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


def constraint(request: Request, honoured: frozenset[str]) -> dict[str, Any]:
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
