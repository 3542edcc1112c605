"""Readiness and draining: one truth, and a drain that nobody meant is undone."""

from __future__ import annotations

import asyncio

from proxy.lifecycle import Lifecycle


async def test_ready_when_told_and_not_while_draining() -> None:
    life = Lifecycle()
    assert not life.serving
    life.ready = True
    assert life.serving
    life.begin_drain()
    assert (life.serving, life.draining) == (False, True)


async def test_drain_waits_for_what_is_under_way() -> None:
    life = Lifecycle()
    assert await life.drain(0)
    with life.request():
        with life.request():
            assert life.in_flight == 2
            assert not await life.drain(0.01)
        waiting = asyncio.create_task(life.drain(5))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting
    assert life.in_flight == 0


async def test_a_drain_that_no_stop_follows_is_undone() -> None:
    life = Lifecycle()
    life.ready = True
    await life.drain(0, undo_after=0.02)
    assert not life.serving
    async with asyncio.timeout(5):
        while not life.serving:  # noqa: ASYNC110 - a property
            await asyncio.sleep(0.005)


async def test_a_later_drain_moves_the_undoing() -> None:
    life = Lifecycle()
    life.begin_drain(undo_after=0.01)
    life.begin_drain(undo_after=30)
    await asyncio.sleep(0.05)  # the first one's time is over
    assert life.draining


async def test_stop_is_for_good() -> None:
    life = Lifecycle()
    life.begin_drain(undo_after=0.01)
    life.stop()
    life.begin_drain(undo_after=0.01)
    await asyncio.sleep(0.05)  # time in which it would have been undone
    assert life.draining


async def test_others_are_told_of_a_drain_only() -> None:
    told: list[int] = []
    life = Lifecycle(lambda: told.append(1))
    life.begin_drain()
    life.stop()
    assert told == []
    await life.drain(0)
    assert told == [1]
