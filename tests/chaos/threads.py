"""Blocking work beside the loop. Law: a run that is told to end waits for what it has begun.

A thread cannot be cancelled: what it starts after its caller went away would be left behind.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Cancelled: once the work is done."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def run_to_the_end(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, where SIGTERM ends as Ctrl-C does: in order."""

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        return await main

    return asyncio.run(guarded())
