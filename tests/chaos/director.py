"""Works through a deck of faults, again and again. Law: every fault ends by itself and is healed.

Two decks are played at once, one of what happens to the store and its links, one of everything
else, so that faults meet. No fault holds back a request for longer than ``rules.SETTLES_WITHIN``
allows: a stall (1 s), a stop of the service (1 s), a slow call (1.6 s) and what a stopped proxy
sends when it goes on (1.5 s behind its lease) come to 5.1 seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tests.chaos.cast import Service, Slot, stopped
from tests.chaos.link import Link, Way
from tests.chaos.points import Point
from tests.chaos.stand import Stand
from tests.chaos.threads import in_thread

Play = Callable[[], Awaitable[bool]]
"""False: nothing came of it, since what it waited for did not happen."""


class Director:
    def __init__(
        self,
        slots: Sequence[Slot],
        service: Service,
        stand: Stand,
        rng: random.Random,
        *,
        detects: bool,
    ) -> None:
        self.injected: Counter[str] = Counter()
        self._slots = slots
        self._service = service
        self._stand = stand
        self._rng = rng
        self._detects = detects

    async def run(self, until: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._play(self._processes(), 0.5, until))
            group.create_task(self._play(self._stores(), 1.5, until))

    async def _play(self, plays: dict[str, Play], pause: float, until: float) -> None:
        loop = asyncio.get_running_loop()
        deck: list[str] = []
        while loop.time() < until:
            if not deck:
                deck = list(plays)
                self._rng.shuffle(deck)
            name = deck.pop()
            if await plays[name]():
                self.injected[name] += 1
            await asyncio.sleep(self._rng.uniform(0.1, pause))

    # ---- the decks -----------------------------------------------------------------------------

    def _processes(self) -> dict[str, Play]:
        points = [p for p in Point if p is not Point.AFTER_SENT or not self._detects]
        plays = {f"proxy killed {point}": self._killing(point) for point in points}
        plays |= {
            "proxy killed at any time": self._kill_anywhere,
            "proxy stopped shortly": self._stop_proxy(0.1, 1.0),
            "proxy stopped beyond its lease": self._stop_proxy(3.2, 4.5),
            "service killed": self._kill_service,
            "service stopped": self._stop_service,
        }
        return plays | self._of_link("service link", lambda slot: [slot.service_link])

    def _stores(self) -> dict[str, Play]:
        plays = {name: self._of_store(fault) for name, fault in self._stand.faults().items()}
        return plays | self._of_link("store link", lambda slot: slot.store_links)

    def _of_link(self, what: str, links: Callable[[Slot], Sequence[Link]]) -> dict[str, Play]:
        rng = self._rng
        kinds: dict[str, Callable[[Link], Awaitable[bool | None]]] = {
            "latency": lambda link: link.slow(rng.uniform(0.3, 1.0), rng.uniform(0.02, 0.3)),
            "stall": lambda link: link.stall(rng.uniform(0.1, 1.0)),
            "half-open": lambda link: link.half_open(rng.uniform(0.1, 1.0)),
            "refused": lambda link: link.refuse(rng.uniform(0.1, 1.0)),
            "reset": _reset,
            "cut onward": lambda link: link.cut(Way.ONWARD, 1.0),
            "cut back": lambda link: link.cut(Way.BACK, 1.0),
            "slow close": lambda link: link.slow_close(rng.uniform(0.1, 0.6)),
        }
        return {f"{what}: {kind}": self._on_link(links, do) for kind, do in kinds.items()}

    def _on_link(
        self,
        links: Callable[[Slot], Sequence[Link]],
        do: Callable[[Link], Awaitable[bool | None]],
    ) -> Play:
        async def play() -> bool:
            done = await asyncio.gather(*map(do, links(self._rng.choice(self._slots))))
            return any(one is not False for one in done)

        return play

    # ---- processes -----------------------------------------------------------------------------

    def _killing(self, point: Point) -> Play:
        async def play() -> bool:
            slot = self._rng.choice(self._slots)
            caught = await slot.trap.catch(point, 3.0)
            if caught:
                await slot.revive(self._rng.uniform(0.0, 1.0))
            return caught

        return play

    async def _kill_anywhere(self) -> bool:
        slot = self._rng.choice(self._slots)
        slot.kill()
        await slot.revive(self._rng.uniform(0.0, 1.0))
        return True

    def _stop_proxy(self, least: float, most: float) -> Play:
        async def play() -> bool:
            await self._rng.choice(self._slots).stopped(self._rng.uniform(least, most))
            return True

        return play

    async def _kill_service(self) -> bool:
        await in_thread(self._service.process.kill)
        await asyncio.sleep(self._rng.uniform(0.0, 0.5))
        await in_thread(self._service.start)
        return True

    async def _stop_service(self) -> bool:
        await stopped(self._service.process.popen.pid, self._rng.uniform(0.1, 1.0))
        return True

    # ---- the store -----------------------------------------------------------------------------

    def _of_store(self, fault: Callable[[], Awaitable[None]]) -> Play:
        async def play() -> bool:
            await self._stand.fault(fault)
            return True

        return play


async def _reset(link: Link) -> None:
    link.reset()
