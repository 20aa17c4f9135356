"""What one provider may be asked: calls at once, calls and tokens a minute, and the pauses it asks for.

One gate stands before each provider, and every policy of it in this process goes through it: teacher, judge, simulated
user. Time is read from a clock that never jumps, whatever happens to the wall clock.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from pydantic import Field

from prentice.config import StageConfig
from prentice.models.prices import Price

SLOTS = 8
"""Calls in flight where nobody says otherwise."""


class ProviderConfig(StageConfig):
    """What a provider, or one model of it, may be asked and what it costs."""

    concurrency: int = Field(SLOTS, ge=1)
    """Calls in flight."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Calls begun in a minute, evenly spread."""
    tokens_per_minute: float | None = Field(None, gt=0)
    """Tokens read and written in a minute; estimated before a call, corrected by its reply."""
    timeout_s: float = Field(60.0, gt=0)
    """Seconds a call may take until its whole reply is there; each retry has as many again."""
    retries: int = Field(4, ge=0)
    """Further calls after one that failed by 429, 5xx, timeout, connection or an unreadable reply."""
    base_url: str | None = None
    """Where its server is, if not at the provider's own address."""
    price: Price | None = None
    """Stands in for the price list's, in dollars per million tokens."""
    batch: bool = False
    """Gather calls into jobs of the provider's batch endpoint: cheaper, but a reply may take a day."""
    batch_discount: float = Field(0.5, ge=0, lt=1)
    """Share of the price that a batch saves; OpenAI and Anthropic both say half."""


LIMITS = {"concurrency", "requests_per_minute", "tokens_per_minute"}


def settings_for(spec: str, providers: Mapping[str, ProviderConfig]) -> ProviderConfig:
    """The settings of a model: those of its provider, and over them those of a section named as its full spec."""
    provider = providers.get(spec.partition(":")[0], ProviderConfig())
    own = providers.get(spec)
    return provider if own is None else provider.model_copy(update={k: getattr(own, k) for k in own.model_fields_set})


def shared_gate(spec: str, providers: Mapping[str, ProviderConfig]) -> Gate:
    """The one gate of this process for a model: its provider's, or its own where its section sets a limit."""
    settings, own = settings_for(spec, providers), providers.get(spec)
    name = spec if own is not None and own.model_fields_set & LIMITS else spec.partition(":")[0]
    key = (name, settings.base_url, *(getattr(settings, limit) for limit in sorted(LIMITS)))
    return _GATES.setdefault(key, Gate(settings))


class Gate:
    """Lets calls through to one provider.

    Args:
        settings: how many at once and a minute.
        clock: seconds that only ever grow.
        sleep: what waiting is.
    """

    def __init__(
        self,
        settings: ProviderConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._concurrency, self._clock, self._sleep = settings.concurrency, clock, sleep
        self._requests = Pace(settings.requests_per_minute, clock)
        self._tokens = Pace(settings.tokens_per_minute, clock)
        self._closed_until = clock()
        # a semaphore belongs to one event loop, and a script may run several, one after the other
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def passage(self, tokens: int) -> AsyncIterator[None]:
        """Wait for a slot, and for the call's turn; `tokens` is how many it may take."""
        async with self._slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._concurrency)):
            turn = self._clock() + max(self._requests.take(1), self._tokens.take(tokens))
            while (left := max(turn, self._closed_until) - self._clock()) > 0:
                # chance, so that calls which a pause held up do not come back together
                await self._sleep(left * random.uniform(1.0, 1.1))
            yield

    def correct(self, tokens: int) -> None:
        """Give back tokens that were estimated but not taken (or, below 0, take more)."""
        self._tokens.give_back(tokens)

    def pause(self, seconds: float) -> None:
        """Begin no call for so long: the provider said that there are too many."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)


class Pace:
    """Spreads units evenly over time; nothing saved up while idle is spent at once afterwards."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float]) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._free_at = clock()

    def take(self, units: float) -> float:
        """Take units; return the seconds until their turn."""
        now = self._clock()
        turn = max(self._free_at, now)
        self._free_at = turn + units * self._seconds_each
        return turn - now

    def give_back(self, units: float) -> None:
        """Units taken but not used."""
        self._free_at -= units * self._seconds_each


_GATES: dict[tuple[object, ...], Gate] = {}
