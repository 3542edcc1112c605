"""The processes of a run, each behind its links. Law: ended by their own ids, and nothing else.

A proxy that was killed is started again, on new ports; what stands behind a link keeps its
address for the whole run.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Final

from tests.chaos.link import Link
from tests.chaos.points import ServiceTap, StoreTap, Trap
from tests.chaos.stand import Stand
from tests.chaos.threads import in_thread
from tests.fakes.processes import Heard, Process, Proxy, accepts, ask, free_port, start, start_proxy

LOOK_EVERY: Final = 0.2
_TROUBLE: Final = re.compile(
    r"^.*(?:Traceback \(most recent call last\)|never retrieved|never awaited|request \S+ failed)",
    re.MULTILINE,
)


class Service:
    """The legacy service. Its ledger outlives it."""

    def __init__(self, folder: Path, *, detects: bool, faults: float, seed: int) -> None:
        self.port = free_port()
        self.ledger = folder / "ledger.db"
        self._folder = folder
        self._detects = "yes" if detects else "no"
        self._faults = faults
        self._seed = seed
        self._starts = 0
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        self._starts += 1
        self._process = start(
            [
                *(sys.executable, "-m", "tests.chaos.service", "--port", str(self.port)),
                *("--ledger", str(self.ledger), "--detects", self._detects),
                *("--faults", str(self._faults), "--seed", str(self._seed + self._starts)),
            ],
            self._folder / f"service-{self._starts}.log",
        )
        self._process.wait_until(lambda: accepts(self.port), "listening")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def calm_down(self) -> None:
        """Started again, to make no faults of its own any more."""
        self.kill()
        self._faults = 0.0
        self.start()


class Slot:
    """A place for a proxy. ``trouble``: when its store may not have answered (loop time)."""

    def __init__(
        self, number: int, folder: Path, stand: Stand, service: Service, seed: int
    ) -> None:
        self.number = number
        self.trouble: list[tuple[float, float]] = []
        self.trap = Trap(self.kill, random.Random(seed))
        self.deaths: list[str] = []
        self._folder = folder
        self._stand = stand
        self._service = service
        self._ports: dict[int, int] = {}
        self.service_link = Link(service.port, lambda: ServiceTap(self.trap))
        self.store_links = [Link(p, lambda: StoreTap(self.trap, self._ports)) for p in stand.ports]
        self._starts = 0
        self._proxy: Proxy | None = None
        self._is_killed = False
        self._last_url = ""

    async def start_links(self) -> None:
        for link in (self.service_link, *self.store_links):
            await link.start()
        self._ports.update({link.target: link.port for link in self.store_links})

    async def close_links(self) -> None:
        for link in (self.service_link, *self.store_links):
            await link.close()

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None
        return self._proxy

    @property
    def process(self) -> Process:
        return self.proxy.process

    def url(self) -> str:
        """Where it is, or where it was."""
        return self._last_url

    def start(self) -> None:
        self._starts += 1
        self._proxy = start_proxy(
            self._folder / "rules.yaml",
            f"http://127.0.0.1:{self.service_link.port}",
            self._folder / f"proxy-{self.number}-{self._starts}.log",
            store=self._stand.url(self._ports.__getitem__),
            log_format="text",
            drain_timeout="10s",
        )
        self._is_killed = False
        self._last_url = self._proxy.url

    def kill(self) -> None:
        """SIGKILL, now; it is reaped when it is started again."""
        self._is_killed = True
        self.process.popen.kill()

    def end(self) -> None:
        if self._proxy is not None:
            self._proxy.process.kill()

    async def revive(self, after: float) -> None:
        await in_thread(self.process.popen.wait)
        await asyncio.sleep(after)
        await in_thread(self.start)

    async def stopped(self, seconds: float) -> None:
        """SIGSTOP for a while. A claim that it holds may be another's afterwards."""
        await stopped(self.process.popen.pid, seconds)

    async def attend(self) -> None:
        """Notes when the store did not answer this proxy, by the proxy's own count of it. From
        the last look before to the first one after counts, and all the time of a new process."""
        clock = asyncio.get_running_loop().time
        before: tuple[int, float] | None = None
        since = clock()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            looked = clock()
            seen = await in_thread(self._store_errors)
            if seen is None or seen != before:
                self.trouble.append((since, clock()))
            before, since = seen, looked

    def _store_errors(self) -> tuple[int, float] | None:
        """The process, and its count. None where it does not answer."""
        pid = self.process.popen.pid
        try:
            return pid, self.metric("idemproxy_store_errors_total")
        except (OSError, HTTPException):
            return None

    async def watch(self) -> None:
        """A proxy that ends though nobody killed it is a finding."""
        while True:
            process = self.process
            code = process.popen.poll()
            if code is not None and not self._is_killed and process is self.process:
                self.deaths.append(
                    f"proxy {self.number} ended with {code}: {process.output[-2000:]}"
                )
                return
            await asyncio.sleep(0.2)

    def metric(self, name: str) -> float:
        return metric_of(ask("GET", f"{self.proxy.admin}/metrics"), name)

    def complaints(self) -> list[str]:
        """What stands in the logs and must never stand there."""
        found = []
        for log in sorted(self._folder.glob(f"proxy-{self.number}-*.log")):
            text = log.read_text(errors="replace")
            found += [
                f"{log.name}: {text[m.start() : m.end() + 1500]}" for m in _TROUBLE.finditer(text)
            ]
        return found


async def stopped(pid: int, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def metric_of(answer: Heard, name: str) -> float:
    """The sum over a metric's labels."""
    pattern = re.compile(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", re.MULTILINE)
    return sum(float(value) for value in pattern.findall(answer.body.decode()))
