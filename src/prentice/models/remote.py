"""Remote models: any provider that any-llm-sdk knows, and any server that speaks like one.

Ours here, not the providers' SDKs': retries (counted and priced), the total time limit, the refusal of what would be
ignored, and one client kept per event loop (making a client costs more than a call).
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import json
import os
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from prentice.errors import ConfigError, MissingExtraError, ModelError, UnknownNameError
from prentice.models.capabilities import DEFAULT_TEMPERATURE, check, constraint, honoured_parts, is_own_endpoint
from prentice.models.faults import LONGEST_PAUSE_S, Fault, backoff_s, read_error
from prentice.models.prices import INSTALL, Price, cost, find_price
from prentice.records import Message, Reply, Request, Sampling, TokenLogprob, Tool, ToolCall, Usage

if TYPE_CHECKING:
    from any_llm import AnyLLM
    from any_llm.types.completion import ChatCompletion

SPEC = re.compile(
    r"(?P<provider>[a-z0-9_]+):(?P<model>[^\s#]+?)(@(?P<base_url>https?://[^\s#]+))?(#(?P<parts>[\w,]*))?"
)


@dataclass(frozen=True)
class Endpoint:
    """Where a model is: what a spec says."""

    provider: str
    model: str
    base_url: str | None = None
    stated: tuple[str, ...] = ()
    """Parts of a request that are honoured there beyond the table of `capabilities`."""


def parse_spec(spec: str) -> Endpoint:
    """Read `provider:model[@base_url][#part,part]`.

    Raises: ConfigError if it has another form.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise ConfigError(
            f"model {spec!r} is not of the form provider:model[@base_url][#part,part]",
            "for example openai:gpt-5-mini or llamacpp:my-model@http://127.0.0.1:8080/v1",
        )
    parts = tuple(part for part in (match["parts"] or "").split(",") if part)
    return Endpoint(match["provider"], match["model"], match["base_url"], parts)


class RemoteModel:
    """A policy behind an API.

    One line says which, in `prentice.toml` as here:

    - `openai:gpt-5-mini`, `anthropic:claude-haiku-4-5`, `gemini:gemini-2.5-flash`: a provider and its model.
    - `llamacpp:my-model@http://127.0.0.1:8080/v1`: after `@`, the base URL of a server that speaks the provider's form
      of API (with `/v1` for the OpenAI form, without it for Anthropic's).
    - `openai:my-model@https://gateway.example/v1#schema,tools`: after `#`, what a server of somebody else honours
      beyond the table of `capabilities` (grammar, schema, logprobs, seed, tools). It is believed.

    Keys come from the provider's environment variable (`OPENAI_API_KEY`, ...) or from `api_key`.

    Args:
        spec: provider, model and place, as above.
        base_url: stands in for the spec's.
        api_key: stands in for the environment variable's; never shown.
        slots: how many calls callers keep in flight.
        timeout_s: seconds a call may take until its whole reply is there; each retry has as many again.
        retries: further calls after one that failed by 429, 5xx, timeout, connection or an unreadable reply.
        price: stands in for the price list's.

    Raises: ConfigError (spec, missing key), UnknownNameError (provider), MissingExtraError (its SDK).
    """

    def __init__(
        self,
        spec: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        slots: int = 8,
        timeout_s: float = 60.0,
        retries: int = 4,
        price: Price | None = None,
    ) -> None:
        endpoint = parse_spec(spec)
        place = base_url or endpoint.base_url
        if place and {"@", "?"} & set(place):
            raise ConfigError(f"model {endpoint.model!r}: the base URL holds a key", "put it into the environment")
        self.provider, self.model = endpoint.provider, endpoint.model
        self.name = f"{self.provider}:{self.model}" + (f"@{place}" if place else "")
        self.slots, self.timeout_s, self.retries = slots, timeout_s, retries
        kind = _provider_class(self.provider)
        self._key_variable = str(kind.ENV_API_KEY_NAME)
        self._takes_timeout = kind.TIMEOUT_SUPPORT != "unsupported"
        # any-llm reads this variable too, and what it names is another endpoint than the provider's own
        self._base_url = place or os.environ.get(kind.ENV_API_BASE_NAME or "")
        self._api_key = SecretStr(api_key) if api_key else None
        own = is_own_endpoint(self.provider, self._base_url)
        self.honoured = honoured_parts(self.provider, self._base_url, endpoint.stated)
        self.price = price or (find_price(self.provider, self.model) if own else None)
        self._default_temperature = DEFAULT_TEMPERATURE.get(self.provider) if own else None
        self._clients: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[AnyLLM], AnyLLM]] = {}
        # made and dropped, so that a missing key or SDK shows now and not in each of a thousand episodes
        self._new_client()

    def __repr__(self) -> str:
        return f"RemoteModel({self.name!r})"

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Ask the provider, again where that may help; raise `ModelError` if no reply could be had.

        `latency_s` holds the retries and the pauses between them. Attempts whose reply was lost on its way (timeout,
        half a reply) are priced like the one that came through, since providers bill them too.
        """
        check(self.name, request, sampling, self.honoured)
        arguments = self._arguments(request, sampling)
        client = await self._client()
        begun = time.perf_counter()
        completion, attempts, lost = await self._ask(client, arguments)
        latency_s = time.perf_counter() - begun
        usage = _usage(completion)
        dollars = cost(usage, self.price)
        return Reply(
            message=_message(self.name, completion, request, self.honoured),
            model=completion.model or self.model,
            finish_reason=completion.choices[0].finish_reason or "stop",
            usage=usage,
            latency_s=latency_s,
            cost_usd=None if dollars is None else dollars * (1 + lost),
            attempts=attempts,
            token_logprobs=_logprobs(completion) if sampling.logprobs else (),
        )

    async def warm_up(self, request: Request) -> None:
        """Do nothing: a call may cost money."""

    async def close(self) -> None:
        """Close this event loop's connections; those of other loops close when their loop ends."""
        kept = self._clients.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept[0].aclose()

    async def _client(self) -> AnyLLM:
        # a client's connections belong to one event loop, and a script may run several, one after the other
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for ended in [other for other in self._clients if other.is_closed()]:
                del self._clients[ended]
            keeper = _keep(self._new_client())
            self._clients[loop] = (keeper, await anext(keeper))
        return self._clients[loop][1]

    def _new_client(self) -> AnyLLM:
        from any_llm import AnyLLM
        from any_llm.exceptions import MissingApiKeyError

        key = self._api_key.get_secret_value() if self._api_key else None
        try:
            return AnyLLM.create(self.provider, key, self._base_url, unified_exceptions=True, max_retries=0)
        except MissingApiKeyError as error:
            raise ConfigError(f"{self.name}: no API key", f"set {self._key_variable} in the environment") from error
        except ImportError as error:
            raise _missing(self.provider) from error

    def _arguments(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.model,
            "messages": [_message_form(message) for message in request.messages],
            "max_tokens": sampling.max_tokens,
            **constraint(request, self.honoured),
        }
        if sampling.temperature != self._default_temperature:
            arguments["temperature"] = sampling.temperature
        if "seed" in self.honoured:
            arguments["seed"] = sampling.seed
        if request.tools:
            arguments["tools"] = [_tool_form(tool) for tool in request.tools]
        if sampling.logprobs:
            arguments["logprobs"] = True
        if self._takes_timeout:
            # the SDKs count from byte to byte; ours, a little shorter, counts the whole call
            arguments["timeout"] = self.timeout_s + 5
        return arguments

    async def _ask(self, client: AnyLLM, arguments: dict[str, Any]) -> tuple[ChatCompletion, int, int]:
        """The reply, the number of calls it took, and how many of those were lost though they may be billed."""
        lost = 0
        for attempt in range(1, self.retries + 2):
            try:
                return await self._call(client, arguments), attempt, lost
            except Fault as fault:
                lost += fault.was_lost
                pause_s = backoff_s(attempt) if fault.pause_s is None else fault.pause_s
                if attempt > self.retries or not fault.is_retryable or pause_s > LONGEST_PAUSE_S:
                    raise self._give_up(fault, attempt, pause_s) from fault.__cause__
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _call(self, client: AnyLLM, arguments: dict[str, Any]) -> ChatCompletion:
        from any_llm.exceptions import AnyLLMError

        try:
            async with asyncio.timeout(self.timeout_s):
                completion: ChatCompletion = await client.acompletion(**arguments)
        except TimeoutError as error:
            raise Fault(f"no reply within {self.timeout_s:g} s", is_retryable=True, was_lost=True) from error
        except AnyLLMError as error:
            raise read_error(error, self._key_variable, self._keys()) from error
        if not completion.choices:
            raise Fault("the reply holds no message", is_retryable=True, was_lost=True)
        return completion

    def _give_up(self, fault: Fault, attempts: int, pause_s: float) -> ModelError:
        hint = fault.hint
        if fault.is_retryable and pause_s > LONGEST_PAUSE_S:
            hint = f"it asks to wait {pause_s:.0f} s; resume after that"
        times = f" (after {attempts} attempts)" if attempts > 1 else ""
        return ModelError(f"{self.name}: {fault.problem}{times}", hint, retryable=fault.is_retryable)

    def _keys(self) -> list[str]:
        names = self._key_variable.split("/")
        given = self._api_key.get_secret_value() if self._api_key else ""
        return [key for key in (given, *(os.environ.get(name, "") for name in names)) if key]


async def _keep(client: AnyLLM) -> AsyncGenerator[AnyLLM]:
    # asyncio finishes open generators when a loop ends, so connections close there even if nobody calls `close`
    try:
        yield client
    finally:
        sdk: Any = getattr(client, "client", None)
        sdk = getattr(sdk, "aio", sdk)
        close = getattr(sdk, "aclose", None) or getattr(sdk, "close", None)
        if close is not None and inspect.isawaitable(closing := close()):
            await closing


def _provider_class(provider: str) -> type[AnyLLM]:
    try:
        from any_llm import AnyLLM
        from any_llm.exceptions import UnsupportedProviderError
    except ImportError as error:
        raise MissingExtraError("remote models need any-llm-sdk, which is not installed", INSTALL) from error
    try:
        return AnyLLM.get_provider_class(provider)
    except UnsupportedProviderError as error:
        known = AnyLLM.get_supported_providers()
        near = difflib.get_close_matches(provider, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise UnknownNameError(f"no provider named {provider!r}", hint) from error
    except ImportError as error:
        raise _missing(provider) from error


def _missing(provider: str) -> MissingExtraError:
    ours = provider in ("openai", "anthropic", "gemini")
    install = INSTALL if ours else f'{INSTALL} "any-llm-sdk[{provider}]"'
    return MissingExtraError(f"provider {provider!r} needs an SDK that is not installed", install)


def _message_form(message: Message) -> dict[str, Any]:
    form: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        form["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        # Anthropic refuses an empty text beside a tool call
        form["content"] = message.content or None
    if message.tool_call_id is not None:
        form["tool_call_id"] = message.tool_call_id
    return form


def _tool_form(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _usage(completion: ChatCompletion) -> Usage:
    usage = completion.usage
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        cached_tokens=details.cached_tokens if details else None,
        output_tokens=usage.completion_tokens,
    )


def _logprobs(completion: ChatCompletion) -> tuple[TokenLogprob, ...]:
    rows = completion.choices[0].logprobs
    return tuple(TokenLogprob(token=row.token, logprob=row.logprob) for row in (rows and rows.content) or ())


def _message(name: str, completion: ChatCompletion, request: Request, honoured: frozenset[str]) -> Message:
    """The reply's message, its choice unwrapped.

    Raises: ModelError if the text is none of the choices, or no JSON where a schema was asked for.
    """
    said = completion.choices[0].message
    calls = tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in said.tool_calls or ()
        if call.type == "function"
    )
    text = said.content or said.refusal or ""
    if not calls and (request.choices or request.response_schema is not None):
        cut = completion.choices[0].finish_reason == "length"
        text = _held(name, text, request, honoured, "raise max_tokens: the reply was cut" if cut else "")
    return Message(role="assistant", content=text, tool_calls=calls)


def _held(name: str, text: str, request: Request, honoured: frozenset[str], hint: str) -> str:
    answer: Any = text
    if not request.choices or "grammar" not in honoured:
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{name}: replied {text[:80]!r}, which is no JSON", hint) from error
    if not request.choices:
        return text
    if isinstance(answer, dict):
        answer = answer.get("answer")
    if answer not in request.choices:
        raise ModelError(f"{name}: replied {text[:80]!r}, which is none of the {len(request.choices)} choices", hint)
    return str(answer)
