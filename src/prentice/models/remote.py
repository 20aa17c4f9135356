"""Remote models: any provider that any-llm-sdk knows, and any server that speaks like one.

Ours here, not the providers' SDKs': retries (counted and priced), the total time limit, limits and pauses per provider,
the budget, and the refusal of what would be ignored.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prentice.errors import ConfigError, ModelError, PrenticeError
from prentice.models.budget import Bill, current_budget
from prentice.models.capabilities import DEFAULT_TEMPERATURE, DROPS_BASE_URL, check, honoured_parts, is_own_endpoint
from prentice.models.clients import Clients
from prentice.models.faults import LONGEST_PAUSE_S, Fault, backoff_s, read_error
from prentice.models.forms import arguments, cache_written, reply_of, size_bytes, usage_of
from prentice.models.limits import Gate, ProviderConfig
from prentice.models.prices import cost, find_price, most
from prentice.records import Reply, Request, Sampling

if TYPE_CHECKING:
    from any_llm import AnyLLM
    from any_llm.types.completion import ChatCompletion

SPEC = re.compile(
    r"(?P<provider>[a-z0-9_]+):(?P<model>[^\s#]+?)(@(?P<base_url>https?://[^\s#]+))?(#(?P<parts>[\w,]*))?"
)
BYTES_PER_TOKEN = 4
"""About, for a rate limit; a budget reckons with one token a byte."""
MESSAGE_TOKENS, TOOLS_TOKENS = 16, 512
"""The most that providers add of their own: to each message, and once for tools or a schema."""


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
      beyond the table of `capabilities` (grammar, schema, logprobs, seed, tools, cache). It is believed.

    Keys come from the provider's environment variable (`OPENAI_API_KEY`, ...) or from `api_key`.

    Args:
        spec: provider, model and place, as above.
        settings: time limit, retries, price and the like; its base URL holds where the spec has none.
        api_key: stands in for the environment variable's; never shown.
        gate: what calls to this provider go through, shared with its other models; default: one of its own.

    Raises: ConfigError (spec, missing key), UnknownNameError (provider), MissingExtraError (its SDK).
    """

    def __init__(
        self, spec: str, settings: ProviderConfig | None = None, *, api_key: str | None = None, gate: Gate | None = None
    ) -> None:
        self.settings = settings = settings or ProviderConfig()
        endpoint = parse_spec(spec)
        place = endpoint.base_url or settings.base_url
        self.provider, self.model, self.slots = endpoint.provider, endpoint.model, settings.concurrency
        _check_place(self.provider, self.model, place)
        self.name = f"{self.provider}:{self.model}" + (f"@{place}" if place else "")
        self.gate = gate or Gate(settings)
        self.clients = Clients(self.name, self.provider, place, api_key)
        own = is_own_endpoint(self.provider, self.clients.base_url)
        self.honoured = honoured_parts(self.provider, self.clients.base_url, endpoint.stated)
        self.price = settings.price or (find_price(self.provider, self.model) if own else None)
        self._default_temperature = DEFAULT_TEMPERATURE.get(self.provider) if own else None

    def __repr__(self) -> str:
        return f"RemoteModel({self.name!r})"

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Ask the provider, again where that may help; raise `ModelError` if no reply could be had.

        `latency_s` holds the retries and the pauses between them, not the wait for a first turn. Attempts whose reply
        was lost on its way (timeout, half a reply) are priced like the one that came through, since providers bill
        them too.

        Raises: BudgetSpentError; PrenticeError if there is a budget and no price is known.
        """
        sent = self.arguments(request, sampling)
        tokens = size_bytes(request) // BYTES_PER_TOKEN + sampling.max_tokens
        call = _Call(Bill(self.most_usd(request, sampling)), tokens)
        dollars = None
        try:
            completion = await self._ask(sent, call)
            call.latency_s = time.perf_counter() - call.begun
            dollars = self.dollars(completion)
        finally:
            call.bill.pay(dollars)
        return reply_of(self.name, completion, request, self.honoured).model_copy(
            update={
                "latency_s": call.latency_s,
                "cost_usd": None if dollars is None else dollars * (1 + call.lost),
                "attempts": call.attempts,
            }
        )

    async def warm_up(self, request: Request) -> None:
        """Do nothing: a call may cost money."""

    async def close(self) -> None:
        """Close this event loop's connections; those of other loops close when their loop ends."""
        await self.clients.close()

    def arguments(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        """The arguments of a call, as any-llm takes them.

        Raises: ModelError if a part of the request would be ignored.
        """
        check(self.name, request, sampling, self.honoured)
        found = {"model": self.model, **arguments(request, sampling, self.provider, self.honoured)}
        if sampling.temperature != self._default_temperature:
            found["temperature"] = sampling.temperature
        return found

    def most_usd(self, request: Request, sampling: Sampling) -> float:
        """The most dollars that one attempt can cost: a token a byte, the longest reply; 0 where there is no price.

        Raises: PrenticeError if there is no price, but a budget to keep.
        """
        if self.price is None:
            if current_budget() is not None:
                raise PrenticeError(
                    f"{self.name}: its price is unknown, so a budget cannot be kept",
                    f'state it: [providers."{self.provider}:{self.model}"] '
                    "price = {input_usd = ..., output_usd = ...} (dollars per million tokens), or drop the budget",
                )
            return 0.0
        added = MESSAGE_TOKENS * len(request.messages)
        if request.tools or request.choices or request.response_schema is not None:
            added += TOOLS_TOKENS
        return most(size_bytes(request) + added, sampling.max_tokens, self.price)

    def dollars(self, completion: ChatCompletion) -> float | None:
        """What one completion cost; None where that is not known."""
        return cost(usage_of(completion), self.price, cache_written(completion))

    async def _ask(self, sent: dict[str, Any], call: _Call) -> ChatCompletion:
        client = await self.clients.here()
        while True:
            await call.bill.attempt()
            try:
                async with self.gate.passage(call.tokens):
                    call.begin()
                    completion = await self._once(client, sent)
            except Fault as fault:
                await self._after(fault, call)
            else:
                self._correct(call.tokens, completion)
                return completion

    async def _after(self, fault: Fault, call: _Call) -> None:
        """Wait for the next attempt, or give up."""
        if fault.was_lost:
            call.lost += 1
            call.bill.lose()
        else:
            call.bill.refund()
        pause_s = backoff_s(call.attempts) if fault.pause_s is None else fault.pause_s
        if call.attempts > self.settings.retries or not fault.is_retryable or pause_s > LONGEST_PAUSE_S:
            raise self._give_up(fault, call.attempts, pause_s) from fault.__cause__
        if fault.is_overload:
            self.gate.pause(pause_s)
        else:
            await asyncio.sleep(pause_s)

    async def _once(self, client: AnyLLM, sent: dict[str, Any]) -> ChatCompletion:
        from any_llm.exceptions import AnyLLMError
        from pydantic import ValidationError

        limit_s = self.settings.timeout_s
        if self.clients.takes_timeout:
            # the SDKs count from byte to byte; ours, a little shorter, counts the whole call
            sent = {**sent, "timeout": limit_s + 5}
        try:
            async with asyncio.timeout(limit_s):
                completion: ChatCompletion = await client.acompletion(**sent)
        except TimeoutError as error:
            raise Fault(f"no reply within {limit_s:g} s", is_retryable=True, was_lost=True) from error
        except AnyLLMError as error:
            raise read_error(error, self.clients.key_variable, self.clients.keys()) from error
        except ValidationError as error:
            # any-llm lets it pass as it is
            problem = f"the reply cannot be read: {error.error_count()} wrong fields"
            raise Fault(problem, is_retryable=True, was_lost=True) from error
        if not completion.choices:
            raise Fault("the reply holds no message", is_retryable=True, was_lost=True)
        return completion

    def _correct(self, estimated_tokens: int, completion: ChatCompletion) -> None:
        usage = usage_of(completion)
        if usage.input_tokens is not None and usage.output_tokens is not None:
            self.gate.correct(estimated_tokens - usage.input_tokens - usage.output_tokens)

    def _give_up(self, fault: Fault, attempts: int, pause_s: float) -> ModelError:
        hint = fault.hint
        if fault.is_retryable and pause_s > LONGEST_PAUSE_S:
            hint = f"it asks to wait {pause_s:.0f} s; resume after that"
        times = f" (after {attempts} attempts)" if attempts > 1 else ""
        return ModelError(f"{self.name}: {fault.problem}{times}", hint, retryable=fault.is_retryable)


@dataclass
class _Call:
    """How one call has gone so far."""

    bill: Bill
    tokens: int
    """An estimate, for the rate limit."""
    attempts: int = 0
    lost: int = 0
    """Attempts whose reply was lost on its way, though it may be billed."""
    begun: float = 0.0
    latency_s: float | None = None

    def begin(self) -> None:
        """Count an attempt; the clock runs from the first."""
        self.attempts += 1
        if self.attempts == 1:
            self.begun = time.perf_counter()


def _check_place(provider: str, model: str, place: str | None) -> None:
    if place and {"@", "?"} & set(place):
        raise ConfigError(f"model {model!r}: the base URL holds a key", "put it into the environment")
    if place and provider in DROPS_BASE_URL:
        raise ConfigError(
            f"{provider}:{model}@{place}: any-llm would call {provider}'s own host instead",
            f"if that server has the OpenAI form, name it openai:{model}@{place}",
        )
