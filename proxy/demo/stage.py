"""Starts what the demo needs, and ends it. Law: loopback only, files in a temporary folder only,
and nothing is left behind, however the demo ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

import examples
from examples.legacy.payments import Payment, Payments
from examples.legacy.service import make_app
from examples.serving import start

TENANT = "demo"
RULES = Path(examples.__file__).parent / "legacy" / "rules.yaml"
READY_SECONDS = 20.0
STOP_SECONDS = 10.0


class StageError(Exception):
    """Something did not start. The message says what."""


@dataclass(frozen=True, slots=True)
class Service:
    """One running copy of the legacy service, and its table."""

    url: str
    table: Payments


@dataclass(frozen=True, slots=True)
class Stage:
    """``alone`` is the copy that is asked directly, ``behind`` the one behind the proxy."""

    alone: Service
    behind: Service
    proxy: str
    admin: str


@asynccontextmanager
async def open_stage(port: int | None, before: Sequence[Payment]) -> AsyncIterator[Stage]:
    """Everything running and ready, with ``before`` in both tables. ``port`` is the proxy's; None
    takes the product's default ports where they are free, so that they are the same next time."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="idemproxy-demo-")))
        usual = port is None
        behind = await _service(stack, folder / "behind.db", 8080 if usual else 0, before)
        alone = await _service(stack, folder / "alone.db", 8081 if usual else 0, before)
        data = port or _free(8000 if usual else 0)
        admin = _free(9000 if usual else 0)
        await stack.enter_async_context(_proxy(behind.url, data, admin, folder / "proxy.log"))
        yield Stage(alone, behind, f"http://127.0.0.1:{data}", f"http://127.0.0.1:{admin}")


async def _service(
    stack: AsyncExitStack, database: Path, wanted: int, before: Sequence[Payment]
) -> Service:
    table = Payments(str(database))
    table.book(TENANT, before)
    app = make_app(table)
    runner, port = await start(app, _free(wanted))
    stack.push_async_callback(runner.cleanup)
    return Service(f"http://127.0.0.1:{port}", table)


@asynccontextmanager
async def _proxy(upstream: str, data: int, admin: int, log: Path) -> AsyncIterator[None]:
    settings = {
        "UPSTREAM": upstream,
        "LISTEN": f"127.0.0.1:{data}",
        "ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "STORE": "memory://",
        "RULES": str(RULES),
        "LOG_FORMAT": "text",
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("IDEMPROXY_")}
    env |= {f"IDEMPROXY_{name}": value for name, value in settings.items()}
    with log.open("wb") as sink:
        # A session of its own: Ctrl-C in the terminal is the demo's to handle, which ends it.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "serve"),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await _ready(process, admin, log)
        yield
    finally:
        await _end(process)


async def _ready(process: asyncio.subprocess.Process, admin: int, log: Path) -> None:
    end = asyncio.get_running_loop().time() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while not await _is_ready(session, admin):
            if process.returncode is not None or asyncio.get_running_loop().time() > end:
                raise StageError(f"the proxy did not start:\n{_end_of(log)}")
            await asyncio.sleep(0.05)


async def _is_ready(session: aiohttp.ClientSession, admin: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{admin}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _free(wanted: int) -> int:
    """``wanted`` where nothing listens on it, else any free port."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
