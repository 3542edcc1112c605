"""1 GB up and down through a pass-through route: how fast, and what the proxy's memory does.

    python -m bench.streaming [--size 1GiB]

It starts a service, a proxy in front of it with the embedded store, and streams through both
ways at once and one at a time. The proxy's resident memory is read every 20 ms. Exit code 1 where
it grew by 32 MB or more, or a byte was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from proxy.values import size as parse_size

PIECE = bytes(65536)
MOST_GROWTH = 32 * 10**6
RULES = """
version: 1
rules:
  - name: batches
    match: {path: /batch}
    mode: enforce
    scope: ["header:X-Tenant"]
    request: {items: /items, key: [/key]}
    upstream: {detects_duplicates: true}
    response: {results: /results}
"""


@dataclass(frozen=True)
class Measured:
    name: str
    pid: int | None
    seconds: float
    size: int
    growth: int

    def line(self) -> str:
        rate = self.size / self.seconds / 1e6
        return (
            f"{self.name:<26}{self.seconds:>8.2f} s{rate:>9.0f} MB/s{self.growth / 1e6:>10.1f} MB"
        )


# ---- the service ------------------------------------------------------------------------------


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """GET /N sends N bytes; POST takes what comes and answers how much it was; both where N > 0."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            line, *lines = head.split("\r\n")
            to_send = int(line.split(" ")[1].strip("/"))
            lengths = [text.split(":")[1] for text in lines if text.startswith("content-length:")]
            receiving = asyncio.create_task(take(reader, int(lengths[0]) if lengths else 0))
            if to_send:
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {to_send}\r\n\r\n".encode())
                await give(writer, to_send)
                await receiving
            else:
                body = str(await receiving).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
    writer.close()


async def take(reader: asyncio.StreamReader, size: int) -> int:
    taken = 0
    while taken < size:
        piece = await reader.read(min(size - taken, 262144))
        if not piece:
            raise ConnectionResetError
        taken += len(piece)
    return taken


async def give(writer: asyncio.StreamWriter, size: int) -> None:
    for left in range(size, 0, -len(PIECE)):
        writer.write(PIECE[: min(left, len(PIECE))])
        await writer.drain()


# ---- the client -------------------------------------------------------------------------------


async def ask(port: int, up: int, down: int) -> None:
    """One request of ``up`` bytes and, where ``down`` is more than 0, a response of so many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        method = "POST" if up else "GET"
        length = f"Content-Length: {up}\r\n" if up else ""
        writer.write(f"{method} /{down} HTTP/1.1\r\nHost: a\r\n{length}\r\n".encode())
        sending = asyncio.create_task(give(writer, up))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"unexpected: {head!r}")
        if down:
            await take(reader, down)
        else:
            said = await reader.read(100)
            if int(said) != up:
                raise SystemExit(f"sent {up}, arrived {said!r}")
        await sending
    finally:
        writer.close()


async def slow_reader(port: int, size: int) -> None:
    """Takes a tenth, then nothing for a second, then goes away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65536)
    writer.write(f"GET /{size} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await take(reader, size // 10)
    await asyncio.sleep(1)
    writer.transport.abort()
    await asyncio.sleep(0.1)  # the loop has to come to it before this process waits for another


# ---- measuring --------------------------------------------------------------------------------


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def measure(
    name: str, pid: int | None, size: int, work: Callable[[], Awaitable[None]]
) -> Measured:
    """Run ``work``; how long it took and how far the process's memory rose above its start."""
    before = resident(pid) if pid else 0
    most = before

    async def watch(pid: int) -> None:
        nonlocal most
        while True:
            most = max(most, resident(pid))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch(pid)) if pid else None
    start = time.perf_counter()
    await work()
    seconds = time.perf_counter() - start
    if watching is not None:
        watching.cancel()
    return Measured(name, pid, seconds, size, most - before)


@contextlib.contextmanager
def running_proxy(upstream: int) -> Iterator[tuple[int, int]]:
    """A proxy as a process of its own: its process id and its port."""
    with tempfile.TemporaryDirectory() as folder:
        rules, log = Path(folder, "rules.yaml"), Path(folder, "log")
        rules.write_text(RULES)
        settings = {
            "UPSTREAM": f"http://127.0.0.1:{upstream}",
            "LISTEN": "127.0.0.1:0",
            "ADMIN_LISTEN": "127.0.0.1:0",
            "RULES": str(rules),
            "LOG_FORMAT": "text",
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith("IDEMPROXY_")}
        env |= {f"IDEMPROXY_{name}": value for name, value in settings.items()}
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "serve"], env=env, stderr=sink
            )
        try:
            yield process.pid, port_of(log)
        finally:
            process.terminate()
            process.wait(30)


def port_of(log: Path) -> int:
    """The data listener's port, from the line that says that it serves."""
    end = time.monotonic() + 20
    while "serving" not in (text := log.read_text()):
        if time.monotonic() > end:
            raise SystemExit(f"the proxy did not start:\n{text}")
        time.sleep(0.05)
    listeners = text.partition("listeners=")[2].split()[0]
    return int(listeners.split(",")[1].rpartition(":")[2])


async def main(size: int) -> int:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service: int = server.sockets[0].getsockname()[1]
    with running_proxy(service) as (pid, port):
        await ask(port, 10**7, 10**7)  # what is allocated once is not growth
        rows = [
            await measure("straight, down", None, size, lambda: ask(service, 0, size)),
            await measure("straight, up", None, size, lambda: ask(service, size, 0)),
            await measure("through, down", pid, size, lambda: ask(port, 0, size)),
            await measure("through, up", pid, size, lambda: ask(port, size, 0)),
            await measure("through, both at once", pid, 2 * size, lambda: ask(port, size, size)),
            await measure("through, slow reader", pid, size // 10, lambda: slow_reader(port, size)),
        ]
    server.close()
    sys.stdout.write(f"{'':<26}{'time':>10}{'rate':>14}{'memory':>13}\n")
    sys.stdout.writelines(row.line() + "\n" for row in rows)
    return int(any(row.growth >= MOST_GROWTH for row in rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="1GiB", type=parse_size)
    sys.exit(uvloop.run(main(parser.parse_args().size)))
