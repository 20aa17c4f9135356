"""An episode comes back to the slot that holds its history."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from prentice.models.slots import Slots, shared


async def test_each_of_several_chats_keeps_a_slot_of_its_own() -> None:
    slots = Slots(3)
    chats = {name: f"rules of the game. {name}:" for name in ("ann", "bob", "eve")}
    seen: dict[str, set[int]] = {name: set() for name in chats}
    for turn in range(5):
        for name in chats if turn % 2 else reversed(chats):
            async with slots.take(chats[name]) as slot:
                seen[name].add(slot)
            chats[name] += f" turn {turn}"
    assert sorted(map(sorted, seen.values())) == [[0], [1], [2]]


async def test_a_busy_slot_is_not_waited_for_while_another_is_free() -> None:
    slots = Slots(2)
    async with slots.take("a long history") as first, slots.take("a long history and more") as second:
        assert first != second


async def test_each_of_two_functions_comes_back_to_what_has_read_its_instructions() -> None:
    slots, told = Slots(4, at_once=2), {"query": "Write a query. " * 9, "notes": "Take notes. " * 9}
    seen: dict[str, set[int]] = {"query": set(), "notes": set()}
    for episode in range(6):
        for function in ("query", "notes", "notes") if episode % 2 else ("query", "notes"):
            async with slots.take(told[function] + f"About the {episode}th question that somebody asked.") as slot:
                seen[function].add(slot)
    assert len(seen["query"]) == len(seen["notes"]) == 2
    assert not seen["query"] & seen["notes"]


async def test_fewer_callers_than_slots_may_hold_one_at_once() -> None:
    slots = Slots(4, at_once=1)
    async with slots.take("a"):
        waiting = asyncio.create_task(slots.take("b").__aenter__())
        await asyncio.sleep(0.01)
        assert not waiting.done()
    await waiting


async def test_no_more_callers_hold_slots_than_there_are() -> None:
    slots, held, most = Slots(3), 0, 0

    async def caller(number: int) -> None:
        nonlocal held, most
        async with slots.take(f"prompt {number}"):
            held += 1
            most = max(most, held)
            await asyncio.sleep(0)
            held -= 1

    await asyncio.gather(*(caller(number) for number in range(50)))
    assert most == 3


def test_slots_work_in_one_event_loop_after_another() -> None:
    slots = Slots(1)

    async def two_at_once() -> list[int]:
        async def one() -> int:
            async with slots.take("x") as slot:
                await asyncio.sleep(0)
                return slot

        return list(await asyncio.gather(one(), one()))

    assert [asyncio.run(two_at_once()) for _ in range(2)] == [[0, 0], [0, 0]]


@given(st.text(alphabet="ab"), st.text(alphabet="ab"))
def test_shared_is_the_length_of_the_longest_common_beginning(one: str, other: str) -> None:
    length = shared(one, other)
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or length == len(one) == len(other)
