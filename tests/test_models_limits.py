"""Limits per provider: what a section says, how calls are spread, what a pause does."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faulty_provider import FaultyServer, serving
from prentice.config import build
from prentice.errors import ConfigError
from prentice.models.limits import Gate, Pace, ProviderConfig, settings_for, shared_gate
from prentice.models.prices import Price
from prentice.models.specs import open_policy
from prentice.records import Message, Request, Sampling

ASK = Request(function="f", messages=(Message(role="user", content="Is Paris in France?"),))


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


def gate(clock: Clock, **limits: float) -> Gate:
    return Gate(ProviderConfig.model_validate(limits), clock=clock, sleep=clock.sleep)


async def begin_times(door: Gate, clock: Clock, calls: int, tokens: int = 0) -> list[float]:
    begun = []
    for _ in range(calls):
        async with door.passage(tokens):
            begun.append(clock() - 1000.0)
    return begun


async def test_calls_are_spread_evenly_over_the_minute() -> None:
    clock = Clock()
    begun = await begin_times(gate(clock, requests_per_minute=60), clock, 30)
    assert begun[0] == 0
    assert all(29 <= at + (29 - n) <= 30 for n, at in enumerate(begun))


async def test_tokens_a_minute_hold_calls_back_and_unused_ones_come_back() -> None:
    clock = Clock()
    door = gate(clock, tokens_per_minute=600)
    assert await begin_times(door, clock, 1, tokens=300) == [0]
    door.correct(200)
    # of 300 tokens 100 were taken: ten seconds' worth
    assert 10 <= (await begin_times(door, clock, 1, tokens=1))[0] <= 11


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=60), st.floats(1, 1000))
def test_in_no_minute_more_than_the_limit_is_begun(gaps: list[tuple[float, int]], per_minute: float) -> None:
    clock = Clock()
    pace = Pace(per_minute, clock)
    begun: list[tuple[float, int]] = []
    for gap, units in gaps:
        clock.now += gap
        begun.append((clock.now + pace.take(units), units))
    for at, _ in begun:
        inside = [units for other, units in begun if at <= other < at + 60]
        # the last of them is only begun inside the minute
        assert sum(inside[:-1]) <= per_minute + 1e-3


async def test_what_was_not_used_while_idle_is_not_spent_at_once() -> None:
    clock = Clock()
    door = gate(clock, requests_per_minute=60)
    clock.now += 3600
    begun = await begin_times(door, clock, 3)
    assert begun[2] - begun[0] >= 1.9


async def test_no_more_calls_at_once_than_allowed() -> None:
    door = Gate(ProviderConfig(concurrency=3))
    inside = most = 0

    async def call() -> None:
        nonlocal inside, most
        async with door.passage(1):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(call() for _ in range(20)))
    assert most == 3


async def test_a_pause_holds_every_call_of_the_provider_back() -> None:
    clock = Clock()
    door = gate(clock)
    door.pause(7)
    door.pause(3)
    assert (await begin_times(door, clock, 1))[0] >= 7


async def test_one_429_slows_down_all_calls_to_that_server() -> None:
    with serving(FaultyServer()) as server:
        server.tricks = [{"status": 429, "headers": {"retry-after-ms": "700"}, "text": "{}"}]
        model = server.model()
        first = asyncio.create_task(model.generate(ASK, Sampling()))
        assert await asyncio.to_thread(server.asked.wait, 10)
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(model.generate(ASK, Sampling())) for _ in range(3)]
        replies = [await first, *[await other for other in others]]
        await model.close()
    assert [reply.attempts for reply in replies] == [2, 1, 1, 1]
    assert min(server.times[1:]) - server.times[0] >= 0.6


async def test_a_gate_serves_one_event_loop_after_the_other() -> None:
    door = Gate(ProviderConfig(concurrency=1))

    async def twice() -> None:
        async def call() -> None:
            async with door.passage(1):
                await asyncio.sleep(0.001)

        await asyncio.gather(call(), call())

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, twice())


def test_a_section_of_the_model_lies_over_that_of_its_provider() -> None:
    price = Price(input_usd=1, output_usd=2)
    providers = {"openai": ProviderConfig(retries=1, concurrency=50), "openai:m": ProviderConfig(price=price)}
    assert settings_for("openai:m", providers) == ProviderConfig(retries=1, concurrency=50, price=price)
    assert settings_for("openai:other", providers) == ProviderConfig(retries=1, concurrency=50)
    assert settings_for("anthropic:m", providers) == ProviderConfig()


def test_teacher_and_judge_of_one_provider_share_its_limits_and_a_model_may_have_its_own() -> None:
    providers = {
        "openai": ProviderConfig(requests_per_minute=60),
        "openai:m": ProviderConfig(price=Price(input_usd=1, output_usd=2)),
        "openai:fast": ProviderConfig(requests_per_minute=600),
    }
    teacher, judge = shared_gate("openai:m", providers), shared_gate("openai:other", providers)
    assert teacher is judge
    assert shared_gate("openai:fast", providers) is not teacher
    assert shared_gate("anthropic:m", providers) is not teacher


def test_a_projects_section_reaches_the_policy(tmp_path_factory: pytest.TempPathFactory) -> None:
    section = build(
        ProviderConfig,
        {"concurrency": 40, "timeout_s": 5, "price": {"input_usd": 1.5, "output_usd": 6, "as_of": "2026-11-01"}},
        "prentice.toml: [providers.llamacpp]",
    )
    folder = tmp_path_factory.mktemp("project")
    policy = open_policy("llamacpp:m", folder, providers={"llamacpp": section})
    assert policy.slots == 40
    assert getattr(policy, "price", None) == section.price


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"concurency": 4}, "did you mean 'concurrency'"),
        ({"requests_per_minute": 0}, "requests_per_minute = 0"),
        ({"price": {"input_usd": -1, "output_usd": 1}}, "price.input_usd = -1"),
        ({"batch_discount": 1.5}, "batch_discount = 1.5"),
    ],
)
def test_a_wrong_section_is_refused_with_key_and_value(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(ProviderConfig, section, "prentice.toml: [providers.openai]")


async def test_a_wall_clock_that_jumps_changes_no_wait_and_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter(range(10**6))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + (-1) ** next(jumps) * 86400 * 365)
    with serving(FaultyServer()) as server:
        server.tricks = [{"status": 503, "retry_after": "soon", "text": "{}"}]
        model = server.model(requests_per_minute=6000)
        begun = time.monotonic()
        replies = [await model.generate(ASK, Sampling()) for _ in range(5)]
        await model.close()
    assert time.monotonic() - begun < 10
    assert [reply.attempts for reply in replies] == [2, 1, 1, 1, 1]
    assert all(reply.latency_s is not None and 0 < reply.latency_s < 5 for reply in replies)


async def test_a_date_to_wait_for_is_read_by_the_servers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with serving(FaultyServer()) as server:
        server.date = "Wed, 25 Nov 2026 10:00:00 GMT"
        server.tricks = [{"status": 429, "retry_after": "Wed, 25 Nov 2026 10:00:01 GMT", "text": "{}"}]
        model = server.model()
        reply = await model.generate(ASK, Sampling())
        await model.close()
    assert reply.attempts == 2
    assert server.times[1] - server.times[0] >= 1
