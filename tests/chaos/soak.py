"""``python -m tests.chaos.soak``: hours with few faults; nothing may creep.

Two proxies before a service of which one call in a hundred goes wrong, over links of which one is
troubled every few seconds. Memory, file descriptors, threads, items in flight and the settle
backlog of each proxy are printed over time. Exit code 1 where one of them creeps, where something
is left at the end, or where a client was told nonsense.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.chaos.cast import Slot, metric_of
from tests.chaos.clients import Crowd
from tests.chaos.link import Way
from tests.chaos.stage import CALM_SECONDS, STANDS, Stage
from tests.chaos.threads import in_thread, run_to_the_end
from tests.fakes.processes import ask

RETENTION: Final = "60s"
"""So that Redis, too, comes to a steady size."""
WARM_UP: Final = 0.25
"""The share of the samples that say nothing yet: caches and pools fill."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one proxy, ``at`` seconds after the start."""

    at: float
    rss: float
    fds: float
    threads: float
    in_flight: float
    backlog: float


ALLOWED: Final[dict[str, tuple[float, float]]] = {
    "rss": (6 * 2**20, 0.05),
    "fds": (12, 0.1),
    "threads": (2, 0.0),
    "in_flight": (40, 0.0),
    "backlog": (20, 0.0),
}
"""How much each may grow over the whole time: this much, and this share of its middle value."""


def growth(points: Sequence[tuple[float, float]]) -> float:
    """What the straight line that fits best rises by over the time of ``points``."""
    times, values = zip(*points, strict=True)
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((t - middle) ** 2 for t in times)
    if spread == 0:
        return 0.0
    slope = sum((t - middle) * (v - mean) for t, v in points) / spread
    return float(slope * (max(times) - min(times)))


def creeping(samples: Sequence[Sample]) -> list[str]:
    """What grows beyond what is allowed, after the warm-up."""
    kept = samples[int(len(samples) * WARM_UP) :]
    if len(kept) < 4:
        raise ValueError("too few samples to judge by")
    found = []
    for name, (least, share) in ALLOWED.items():
        points = [(sample.at, float(getattr(sample, name))) for sample in kept]
        values = sorted(value for _, value in points)
        allowed = least + share * values[len(values) // 2]
        grown = growth(points)
        if grown > allowed:
            found.append(f"{name} grows by {grown:.0f}, and {allowed:.0f} is allowed")
    return found


def take(slot: Slot, at: float) -> Sample:
    proc = Path(f"/proc/{slot.process.popen.pid}")
    status = dict(
        line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
    )
    metrics = ask("GET", f"{slot.proxy.admin}/metrics")
    return Sample(
        at=at,
        rss=float(status["VmRSS"].split()[0]) * 1024,
        fds=float(len(list((proc / "fd").iterdir()))),
        threads=float(status["Threads"]),
        in_flight=metric_of(metrics, "idemproxy_in_flight_items"),
        backlog=metric_of(metrics, "idemproxy_settle_backlog"),
    )


class Soak:
    def __init__(self, stage: Stage, given: argparse.Namespace) -> None:
        self._stage = stage
        self._given = given
        self._rng = random.Random(given.seed)
        self._samples: list[list[Sample]] = [[], []]
        self._troubles = 0

    async def run(self) -> list[str]:
        loop = asyncio.get_running_loop()
        seconds = self._given.minutes * 60
        slots = self._stage.slots
        async with aiohttp.ClientSession() as session:
            urls = [slot.url for slot in slots]
            crowd = Crowd(session, urls, self._given.seed, size=self._given.clients, keeps=False)
            until = loop.time() + seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(crowd.run(until + CALM_SECONDS))
                group.create_task(self._trouble(until))
                await self._watch(until, crowd)
                crowd.no_more()
        heard = crowd.heard
        print(
            f"{heard.requests} requests, {heard.items_sent} items, {heard.unanswered} without an"
            f" answer; {self._troubles} troubles of a link"
        )
        findings = [f"NoKeyStuck: {item} has no answer" for item in crowd.undecided]
        findings += heard.nonsense
        for number, samples in enumerate(self._samples):
            findings += [f"proxy {number}: {what}" for what in creeping(samples)]
        return findings + await in_thread(self._stage.end_proxies)

    async def _trouble(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self._given.every)
            slot = self._rng.choice(self._stage.slots)
            link = self._rng.choice((slot.service_link, *slot.store_links))
            self._troubles += 1
            dice = self._rng.random()
            if dice < 0.3:
                link.reset()
            elif dice < 0.6:
                await link.cut(self._rng.choice(list(Way)), 1.0)
            elif dice < 0.8:
                await link.stall(self._rng.uniform(0.05, 0.4))
            else:
                await link.half_open(self._rng.uniform(0.05, 0.4))

    async def _watch(self, until: float, crowd: Crowd) -> None:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        print("seconds  requests  proxy     RSS MiB   fds  threads  in flight  backlog")
        while loop.time() < until:
            await asyncio.sleep(self._given.sample)
            at = time.monotonic() - began
            for number, slot in enumerate(self._stage.slots):
                one = await in_thread(take, slot, at)
                self._samples[number].append(one)
                print(
                    f"{at:7.0f}  {crowd.heard.requests:8}  {number:5}  {one.rss / 2**20:10.1f}"
                    f"  {one.fds:4.0f}  {one.threads:7.0f}  {one.in_flight:9.0f}"
                    f"  {one.backlog:7.0f}",
                    flush=True,
                )


async def soak(given: argparse.Namespace) -> list[str]:
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        stage = Stage(folder, given.topology, detects=True, seed=given.seed, faults=given.faults)
        async with stage.up(RETENTION):
            return await Soak(stage, given).run()
    finally:
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--topology", choices=tuple(STANDS), default="standalone")
    parser.add_argument("--faults", type=float, default=0.01, help="chance a call of the service")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between link troubles")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--sample", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.minutes * 60 < 6 * given.sample:
        parser.error("too short for six samples")
    findings = run_to_the_end(soak(given))
    print(*findings, f"{len(findings)} findings", sep="\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
