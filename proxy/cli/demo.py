"""``idemproxy demo``: the same three batches, straight to a legacy service and through the proxy.

Exit code 0 where everything came out as promised, 1 where it did not.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
import signal
import sys
from pathlib import Path

import aiohttp
from rich.console import Console

from proxy.demo import view
from proxy.demo.script import BATCHES, BEFORE, each_booked_once, play
from proxy.demo.stage import Stage, StageError, open_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument(
        "--port", type=int, help="the proxy's port, 0: any free one (default: 8000 where free)"
    )


def run(arguments: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a sign gets a question mark instead of a traceback.
        sys.stdout.reconfigure(errors="replace")
    return asyncio.run(_demo(arguments.keep, arguments.port))


async def _demo(keep: bool, port: int | None) -> int:
    console = view.make_console()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # a coroutine runs in a task
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    good: bool | None = None
    try:
        async with open_stage(port, BEFORE) as stage:
            good = await _perform(console, stage)
            view.what_next(console, stage, _again(), keep)
            if keep:
                await asyncio.Event().wait()
    except StageError as error:
        console.print(str(error), markup=False)
    except asyncio.CancelledError:
        # Told to end. After the last batch that is how --keep is meant to end.
        if good is None:
            return 130
    return 0 if good else 1


async def _perform(console: Console, stage: Stage) -> bool:
    """Whether everything came out as promised."""
    view.introduce(console, stage)
    scenes = []
    async with aiohttp.ClientSession() as session:
        for number in range(1, len(BATCHES) + 1):
            scenes.append(await play(stage, session, number))
            view.show(console, scenes[-1])
    view.quote(console, scenes[-1], ("p-6", "p-0"))
    good = each_booked_once(stage) and all(scene.as_promised for scene in scenes)
    view.sum_up(console, scenes, good)
    return good


def _again() -> str:
    """How this was called, as one would type it."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return "python -m proxy demo"
    found = shutil.which(program.name)
    if found is not None and Path(found).resolve() == program.resolve():
        return f"{program.name} demo"
    return f"{program} demo"
