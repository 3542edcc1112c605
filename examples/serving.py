"""Runs one example service until it is told to stop. Law: it knows no service.

The first line on standard output says where it listens, so that ``--port 0`` can be used.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from typing import Any

from aiohttp import web


def json_answer(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, dumps=lambda b: json.dumps(b, ensure_ascii=False))


async def start(
    app: web.Application, port: int = 0, host: str = "127.0.0.1"
) -> tuple[web.AppRunner, int]:
    """Listen; answer the runner (whose ``cleanup`` ends it) and the port."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]


async def _run(app: web.Application, port: int, host: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner, bound = await start(app, port, host)
    print(f"listening on http://{host}:{bound}", flush=True)
    await stop.wait()
    await runner.cleanup()


def run(app: web.Application, port: int, host: str = "127.0.0.1") -> None:
    """Serve until SIGINT or SIGTERM."""
    asyncio.run(_run(app, port, host))
