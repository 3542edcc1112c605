"""One measurement: wrk against one server for some seconds, and the processor time it cost."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from bench.servers import HERE, Server, Stack, post

PATH = "/api/v1/notifications/batch"
POOL = 16
ITEM: Final = (
    '{"key":"~-#","receivers":["customer-#@example.org"],"channel":"EMAIL",'
    '"templateId":"order-shipped","templateParams":{"orderId":90071992547#,"amount":1.0,'
    '"name":"Ada Lovelace","text":"Order # of ~ has left our house today"},"strategy":"IMMEDIATE"}'
)
"""About 270 bytes, with ``~`` for what its batch is called and ``#`` for its number in five digits.
Items differ in more than their key, as they do in life. LuaJIT hashes a string by a few of its
places: those that differ only elsewhere cost nginx with Lua up to half of its speed."""


def batch(name: str, size: int) -> str:
    """The items of a batch of this name, as ``bench/lua/batch.lua`` makes them."""
    numbered = [ITEM.replace("#", f"{number:05d}") for number in range(1, size + 1)]
    return ",".join(numbered).replace("~", name)


@dataclass(frozen=True, slots=True)
class Cell:
    """What is sent to whom. ``size`` 0 is the pass-through route."""

    server: str
    size: int
    mix: str = "new"
    connections: int = 16

    def seconds(self, asked: int) -> int:
        """wrk begins on all connections at once, and what comes together before a slow service
        comes back together: that is seen for a third of a second, which is more than a hundredth
        of a short run."""
        if not self.server.endswith("-slow"):
            return asked
        return max(asked, 5 if self.connections == 1 else 20)

    def __str__(self) -> str:
        what = f"{self.size} items, {self.mix}" if self.size else "pass-through"
        return f"{self.server}: {what}, {self.connections} connections"


@dataclass(frozen=True, slots=True)
class Sample:
    """``rate`` is requests a second, ``cpu`` the server's microseconds of processor a request, the
    latencies milliseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float
    requests: int


class Wrk:
    """Runs wrk; every run of new keys has a seed of its own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.runs = 0
        self.warm: set[str] = set()

    def run(self, cell: Cell, seconds: int) -> Sample:
        server = self.stack.get(cell.server)
        self._prepare(cell, server)
        before = server.cpu()
        said = self._wrk(cell, server, seconds)
        used = server.cpu() - before
        if said["failed"]:
            raise RuntimeError(f"{cell}: {said['failed']} of {said['requests']} requests failed")
        return Sample(
            rate=said["requests"] / said["seconds"],
            cpu=used * 1e6 / max(1, said["requests"]),
            p50=said["p50"],
            p99=said["p99"],
            requests=said["requests"],
        )

    def renew(self, name: str) -> None:
        """Have a server started anew before it is measured again."""
        if name in self.warm:
            self.warm.remove(name)
            self.stack.drop(name)

    def _prepare(self, cell: Cell, server: Server) -> None:
        """A server's first second is not measured; known batches have been sent."""
        if cell.server not in self.warm:
            self.warm.add(cell.server)
            self._wrk(cell, server, 1)
        if cell.mix == "new":
            return
        for number in range(1, POOL + 1):
            items = batch(f"known-{cell.size}-{number}", cell.size)
            status, _ = post(server.url, f'{{"notifications":[{items}]}}'.encode())
            assert status == 200, f"{cell}: {status}"

    def _wrk(self, cell: Cell, server: Server, seconds: int) -> dict[str, Any]:
        self.runs += 1
        words = ["wrk", "-t1", f"-c{cell.connections}", f"-d{seconds}s"]
        words += ["--timeout", "30s"]
        if cell.size:
            words += ["-s", str(HERE / "lua" / "batch.lua"), server.url + PATH]
            words += ["--", str(cell.size), cell.mix, f"r{self.runs}", ITEM]
        else:
            words += ["-s", str(HERE / "lua" / "plain.lua"), f"{server.url}/plain"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                return dict(json.loads(line.removeprefix("RESULT ")))
        raise RuntimeError(f"wrk {cell}: {done.stdout} {done.stderr}")


def redis(stack: Stack, *words: str) -> str:
    command = ["redis-cli", "-p", str(stack.get("redis").port), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


FILL: Final = """
for i = ARGV[1] + 0, ARGV[2] + 0 do
  redis.call('SET', 'idem:{00}:v1:filled' .. i, 'value', 'PX', 86400000)
end"""
LOOK: Final = """
for i = ARGV[1] + 0, ARGV[2] + 0 do
  redis.call('EXISTS', 'idem:{00}:v1:filled' .. i)
end"""
FILLED: Final = 2_200_000
"""Just over a power of two: as many again fit before Redis doubles its tables."""


def fill(stack: Stack) -> None:
    """A store in use has records. From empty its tables double every few seconds of a run, which is
    a pause in which requests gather, and what was doubled is moved with each look at a record, a
    bucket at a time. All are looked at here, so that nothing is left to be moved; the new records
    of a round fit in before the tables double again."""
    step = 20_000
    for script in (FILL, LOOK):
        for at in range(0, FILLED, step):
            redis(stack, "EVAL", script, "0", str(at), str(at + step - 1))


class Results:
    """Samples by cell; asked for medians."""

    def __init__(self) -> None:
        self.samples: dict[Cell, list[Sample]] = {}

    def add(self, cell: Cell, sample: Sample) -> None:
        self.samples.setdefault(cell, []).append(sample)

    def of(self, field: str, server: str, size: int, mix: str = "new", conns: int = 16) -> float:
        """The median of a field in a cell; KeyError where it was not measured."""
        samples = self.samples[Cell(server, size, mix, conns)]
        return float(median(getattr(sample, field) for sample in samples))

    def as_json(self) -> list[dict[str, Any]]:
        return [
            asdict(cell) | {"samples": [asdict(sample) for sample in samples]}
            for cell, samples in self.samples.items()
        ]
