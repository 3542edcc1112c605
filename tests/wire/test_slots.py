"""Slots: so many at once, in the order in which they asked, and none is lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from proxy.edge.slots import Slots


async def test_who_came_first_is_served_first() -> None:
    slots = Slots(2)
    assert slots.take_now()
    await slots.take()
    assert not slots.take_now()
    served: list[str] = []

    async def serve(name: str) -> None:
        await slots.take()
        served.append(name)

    tasks = []
    for name in "abc":
        tasks.append(asyncio.create_task(serve(name)))
        await asyncio.sleep(0)
    slots.give()
    assert not slots.take_now()  # it is the first one's, who has not run yet
    await tasks[0]
    assert served == ["a"]
    slots.give()
    slots.give()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c"]
    assert not slots.take_now()
    slots.give()
    assert slots.take_now()


@pytest.mark.parametrize("is_its_turn", [False, True])
async def test_who_goes_away_takes_no_slot(is_its_turn: bool) -> None:
    slots = Slots(1)
    assert slots.take_now()
    gone = asyncio.create_task(slots.take())
    behind = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    if is_its_turn:
        slots.give()
        gone.cancel()
    else:
        gone.cancel()
        slots.give()
    await behind
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not slots.take_now()
    slots.give()
    assert slots.take_now()


@pytest.mark.parametrize("seed", range(30))
async def test_none_is_lost_and_none_is_made(seed: int) -> None:
    rng, slots = random.Random(seed), Slots(3)
    held = most = 0

    async def user() -> None:
        nonlocal held, most
        if not slots.take_now():
            await slots.take()
        try:
            held += 1
            most = max(most, held)
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            held -= 1
            slots.give()

    tasks = [asyncio.create_task(user()) for _ in range(60)]
    for _ in range(40):
        rng.choice(tasks).cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (held, most) == (0, 3)
    assert [slots.take_now() for _ in range(4)] == [True, True, True, False]
