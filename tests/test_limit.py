"""One timer for the limits of many calls, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from proxy.limit import Limit
from tests.sim.loop import SimLoop

LIMIT = 0.25


def simulated(main: Callable[[SimLoop, Limit], Coroutine[Any, Any, None]], seed: int = 0) -> None:
    loop = SimLoop(random.Random(seed))  # type: ignore[abstract] # as much of a loop as is used
    loop.run(main(loop, Limit(LIMIT)))
    assert not loop.errors


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("seed", range(20))
def test_each_call_ends_at_its_own_time_whatever_others_do(seed: int) -> None:
    rng = random.Random(seed)
    # (when it begins, how long it takes)
    plans = [(rng.uniform(0, 2), rng.choice([0.0, 0.1, 0.249, 0.251, 5.0])) for _ in range(40)]

    async def main(loop: SimLoop, limit: Limit) -> None:
        async def one(begins: float, takes: float) -> tuple[float, bool]:
            await asyncio.sleep(begins)
            began = loop.time()
            try:
                await limit.within(asyncio.sleep(takes))
            except TimeoutError:
                return loop.time() - began, False
            return loop.time() - began, True

        tasks = [asyncio.create_task(one(*plan)) for plan in plans]
        for (_, takes), task in zip(plans, tasks, strict=True):
            took, answered = await task
            assert answered == (takes < LIMIT)
            assert took == pytest.approx(min(takes, LIMIT))
            assert not task.cancelling()

    simulated(main, seed)


def test_nobody_cancels_a_task_that_is_cancelled_by_nobody_else() -> None:
    async def main(loop: SimLoop, limit: Limit) -> None:  # noqa: ARG001
        with pytest.raises(TimeoutError):
            await limit.within(hang())
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(LIMIT)

    simulated(main)


@pytest.mark.parametrize("after", [0.1, LIMIT])
@pytest.mark.parametrize("seed", range(10))
def test_a_callers_own_cancellation_is_no_timeout(after: float, seed: int) -> None:
    """Also where both come in the same moment, in either order."""

    async def main(loop: SimLoop, limit: Limit) -> None:
        task = asyncio.create_task(limit.within(hang()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.call_later(after, task.cancel)
        done = await ended(task)
        assert task.cancelled() or (after == LIMIT and isinstance(done, TimeoutError))
        if task.cancelling() > 0:
            assert task.cancelled()

    simulated(main, seed)


async def ended(task: asyncio.Task[None]) -> BaseException | None:
    await asyncio.wait([task])
    return None if task.cancelled() else task.exception()


def test_an_answer_that_comes_in_spite_of_it_stands() -> None:
    async def stubborn() -> str:
        try:
            await hang()
        except asyncio.CancelledError:
            return "answer"
        return ""

    async def failing() -> None:
        try:
            await hang()
        finally:
            raise ValueError("of its own")

    async def main(loop: SimLoop, limit: Limit) -> None:  # noqa: ARG001
        task = asyncio.current_task()
        assert task is not None
        assert await limit.within(stubborn()) == "answer"
        assert not task.cancelling()
        with pytest.raises(ValueError, match="of its own"):
            await limit.within(failing())
        assert not task.cancelling()
        await limit.within(asyncio.sleep(0.1))

    simulated(main)


def test_what_hangs_behind_a_caller_that_has_gone_is_still_ended() -> None:
    """A first call that is over leaves the timer; the next ones are not forgotten by it."""

    async def main(loop: SimLoop, limit: Limit) -> None:
        await limit.within(asyncio.sleep(0.2))
        began = loop.time()
        calls: list[Awaitable[None]] = [limit.within(hang()) for _ in range(3)]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, TimeoutError)
        assert loop.time() - began == pytest.approx(LIMIT)

    simulated(main)


def test_a_call_whose_end_goes_wrong_does_not_keep_the_others() -> None:
    async def main(limit: Limit) -> list[str]:
        expired: list[str] = []
        loop = asyncio.get_running_loop()
        told: list[str] = []
        over = asyncio.Event()
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))

        class Call:
            def __init__(self, name: str) -> None:
                self.name = name

            def expire(self) -> None:
                expired.append(self.name)
                if self.name == "bad":
                    raise ValueError("bad")
                limit.end(last)
                over.set()

        last = Call("last")
        for call in (Call("bad"), Call("good"), last):
            limit.begin(call)
        await over.wait()
        assert told == ["bad"]
        return expired

    assert asyncio.run(main(Limit(LIMIT / 25))) == ["bad", "good"]
