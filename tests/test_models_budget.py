"""A budget in dollars: never overspent, whatever fails, is killed or runs side by side."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faulty_provider import FAULTS, HALF, ONE_CALL_USD, FaultyServer, serving
from prentice.errors import ModelError, PrenticeError
from prentice.models.budget import Budget, BudgetSpentError, paid_from, spent_in
from prentice.models.remote import RemoteModel
from prentice.records import Message, Request, Sampling

ASK = Request(function="f", messages=(Message(role="user", content="Is Paris in France?"),))
SHORT = Sampling(max_tokens=10)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving(FaultyServer()) as faulty:
        yield faulty


async def test_a_call_costs_what_it_did_cost_not_what_was_set_aside(server: FaultyServer) -> None:
    with closing(Budget(1.0)) as budget, paid_from(budget):
        model = server.model()
        assert model.most_usd(ASK, SHORT) > 2 * ONE_CALL_USD
        reply = await model.generate(ASK, SHORT)
        await model.close()
        assert reply.cost_usd == pytest.approx(ONE_CALL_USD)
        assert budget.spent_usd == pytest.approx(ONE_CALL_USD)


async def test_the_last_dollars_are_used_and_none_beyond(server: FaultyServer) -> None:
    # eight at once: near the end they wait for each other's change instead of giving up
    limit = 25.5 * ONE_CALL_USD
    with closing(Budget(limit)) as budget, paid_from(budget):
        model = server.model()
        most = model.most_usd(ASK, SHORT)

        async def ask_until_spent() -> None:
            while True:
                await model.generate(ASK, SHORT)

        players = [asyncio.create_task(ask_until_spent()) for _ in range(8)]
        ends = await asyncio.gather(*players, return_exceptions=True)
        await model.close()
        assert all(isinstance(end, BudgetSpentError) for end in ends)
        assert budget.spent_usd == pytest.approx(server.billed * ONE_CALL_USD)
        assert limit - most < budget.spent_usd <= limit


async def test_the_error_says_what_is_spent_and_how_to_go_on(server: FaultyServer) -> None:
    with closing(Budget(0.0004)) as budget, paid_from(budget):
        model = server.model()
        with pytest.raises(BudgetSpentError, match=r"\$0.0000 of \$0.0004, .*may cost \$0.00.*raise the budget"):
            await model.generate(ASK, SHORT)
    assert server.bodies == []


@pytest.mark.parametrize("fault", FAULTS[:4], ids=["429", "500", "garbage", "half"])
async def test_what_a_failed_call_may_have_cost_is_booked(server: FaultyServer, fault: dict[str, object]) -> None:
    server.tricks = [dict(fault)] * 2
    with closing(Budget(1.0)) as budget, paid_from(budget):
        model = server.model(retries=1)
        with pytest.raises(ModelError):
            await model.generate(ASK, SHORT)
        await model.close()
        # refused calls are free; a reply that nobody could read is booked at the most it can have cost
        attempts_paid = 0 if "status" in fault else 2
        assert budget.spent_usd == pytest.approx(attempts_paid * model.most_usd(ASK, SHORT))
        assert attempts_paid == server.billed


async def test_lost_replies_are_booked_like_the_one_that_came(server: FaultyServer) -> None:
    server.tricks = [{"text": HALF, "length": 500}, {"status": 500, "text": ""}]
    with closing(Budget(1.0)) as budget, paid_from(budget):
        model = server.model()
        reply = await model.generate(ASK, SHORT)
        await model.close()
        assert reply.attempts == 3
        assert budget.spent_usd == pytest.approx(2 * ONE_CALL_USD) == pytest.approx(reply.cost_usd)


async def test_calls_that_lost_replies_do_not_wait_for_each_other_forever(server: FaultyServer) -> None:
    # each has lost a reply and needs money for another attempt, which only the others could give back
    with closing(Budget(0.0)) as budget, paid_from(budget):
        model = server.model(retries=2)
        budget.limit_usd = 4.5 * model.most_usd(ASK, SHORT)
        server.tricks = [{"text": HALF, "length": 500}] * 4 + [{"text": HALF, "length": 500}] * 4
        calls = (model.generate(ASK, SHORT) for _ in range(4))
        async with asyncio.timeout(20):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        await model.close()
        assert {type(end) for end in ends} == {BudgetSpentError}
        assert budget.spent_usd <= budget.limit_usd


async def test_a_call_that_is_dropped_midway_stays_spent(server: FaultyServer) -> None:
    server.tricks = [{"never": True}]
    with closing(Budget(1.0)) as budget, paid_from(budget):
        model = server.model()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.generate(ASK, SHORT), 0.3)
        await model.close()
        assert budget.spent_usd == pytest.approx(model.most_usd(ASK, SHORT))


async def test_teacher_and_judge_spend_from_the_same_budget(server: FaultyServer) -> None:
    with closing(Budget(1.0)) as budget:
        teacher, judge = server.model(), server.model(spec="anthropic:tiny")
        with paid_from(budget):
            await asyncio.gather(teacher.generate(ASK, SHORT), judge.generate(ASK, SHORT))
        await teacher.generate(ASK, SHORT)  # outside: nobody's budget
        await teacher.close()
        await judge.close()
        assert budget.spent_usd == pytest.approx(2 * ONE_CALL_USD)


async def test_a_budget_with_an_unknown_price_is_refused_before_the_first_call(server: FaultyServer) -> None:
    with closing(Budget(1.0)) as budget, paid_from(budget):
        model = RemoteModel(f"llamacpp:tiny@{server.url}/v1")
        with pytest.raises(PrenticeError, match=r'price is unknown.*providers."llamacpp:tiny"\] price = ') as caught:
            await model.generate(ASK, SHORT)
    # not an end of one episode, but of the run
    assert not isinstance(caught.value, ModelError)
    assert server.bodies == []


def test_earlier_goes_of_a_run_count_and_other_runs_do_not(tmp_path: Path) -> None:
    file = tmp_path / "budget.db"
    with closing(Budget(1.0, file, "a")) as budget:
        budget.settle(asyncio.run(budget.hold(0.7)), 0.6)
    assert spent_in(file, "a") == pytest.approx(0.6)
    assert spent_in(file, "b") == 0
    assert spent_in(tmp_path / "none.db", "a") == 0
    with closing(Budget(1.0, file, "a")) as budget, pytest.raises(BudgetSpentError):
        asyncio.run(budget.hold(0.5))
    with closing(Budget(1.2, file, "a")) as budget:
        asyncio.run(budget.hold(0.5))


def test_what_was_spent_before_the_book_was_begun_counts_once(tmp_path: Path) -> None:
    for _ in range(2):
        with closing(Budget(1.0, tmp_path / "budget.db", "a", already_usd=0.4)) as budget:
            assert budget.spent_usd == pytest.approx(0.4)


HOLD_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from prentice.models.budget import Budget
budget = Budget(1.0, Path(sys.argv[1]), "a")
budget.settle(asyncio.run(budget.hold(0.3)), 0.2)
asyncio.run(budget.hold(0.3))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_call_cut_off_by_kill_9_stays_spent(tmp_path: Path) -> None:
    file = tmp_path / "budget.db"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_DIE, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
    assert spent_in(file, "a") == pytest.approx(0.5)


SPEND = """
import asyncio, sys
from pathlib import Path
from prentice.models.budget import Budget, BudgetSpentError
budget = Budget(1.0, Path(sys.argv[1]), "a")
calls = 0
try:
    while True:
        budget.settle(asyncio.run(budget.hold(0.01)), 0.01)
        calls += 1
except BudgetSpentError:
    print(calls)
"""


def test_two_runs_side_by_side_never_spend_the_same_dollar(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SPEND, str(tmp_path / "budget.db")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    calls = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sum(calls) == 100


def test_a_call_asked_for_again_after_a_kill_is_held_once(tmp_path: Path) -> None:
    for _ in range(3):
        with closing(Budget(1.0, tmp_path / "budget.db", "a")) as budget:
            asyncio.run(budget.hold(0.6, "the same call"))
            assert budget.spent_usd == pytest.approx(0.6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30), st.floats(0.1, 5))
def test_whatever_calls_cost_the_limit_holds(calls: list[tuple[float, float]], limit: float) -> None:
    with closing(Budget(limit)) as budget:

        async def spend() -> None:
            for most, share in calls:
                budget.settle(await budget.hold(most), most * share)

        try:
            asyncio.run(spend())
        except BudgetSpentError:
            assert budget.spent_usd + max(most for most, _ in calls) > limit
        assert budget.spent_usd <= limit + 1e-9
