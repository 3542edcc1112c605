"""Clients that retry as real ones do, until every item has a definite answer.

Law: a client knows only what it was told. It keeps everything that it was told, for the checker.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from tests.chaos.answers import Asked, Item, Nonsense, Told, read_answer
from tests.chaos.ledger import Name
from tests.chaos.rules import ASKED, DEADLINE, PLAIN

PATIENCE: Final = DEADLINE + 4.0
_POOL: Final = 60
_TENANTS: Final = ("red", "blue")


@dataclass(slots=True)
class Heard:
    """Everything that was said, in order, and what was said that must never be."""

    told: list[Told] = field(default_factory=list)
    nonsense: list[str] = field(default_factory=list)
    requests: int = 0
    items_sent: int = 0
    unanswered: int = 0


class Client:
    """Sends one batch at a time. ``urls``: each proxy's, wherever it is now."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[Callable[[], str]],
        heard: Heard,
        attempts: Iterator[int],
    ) -> None:
        self._session = session
        self._urls = urls
        self._heard = heard
        self._attempts = attempts

    async def ask(
        self, items: Sequence[Item], proxy: int, patience: float = PATIENCE
    ) -> list[Told] | None:
        """One request. None: there was no answer, or none that says anything."""
        loop = asyncio.get_running_loop()
        asked = Asked(next(self._attempts), proxy, items, loop.time())
        first = items[0].name
        body = orjson.dumps({"items": [{"key": i.name.key, "value": i.value} for i in items]})
        headers = {
            "Content-Type": "application/json",
            "X-Tenant": first.tenant,
            "X-Attempt": str(asked.attempt),
        }
        self._heard.requests += 1
        self._heard.items_sent += len(items)
        try:
            async with self._session.post(
                f"{self._urls[proxy]()}/{first.endpoint}/items",
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=patience),
            ) as response:
                text = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._heard.unanswered += 1
            return None
        try:
            told = read_answer(asked, response.status, text, loop.time())
        except Nonsense as error:
            self._heard.nonsense.append(f"attempt {asked.attempt}: {error}")
            return None
        self._heard.told += told
        return told


class Crowd:
    """``names`` are all the operations that were ever asked for, with the values sent."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[Callable[[], str]],
        seed: int,
        *,
        size: int = 6,
        keeps: bool = True,
    ) -> None:
        self.heard = Heard()
        self.undecided: set[Item] = set()
        self.values: dict[Name, list[str]] = {}
        self._keeps = keeps
        self._seed = seed
        self._size = size
        self._urls = urls
        self._client = Client(session, urls, self.heard, itertools.count(1))
        self._numbers = itertools.count()
        self._recent: deque[Item] = deque(maxlen=_POOL)
        self._no_more = False

    def no_more(self) -> None:
        """No new batches; what is undecided is still retried."""
        self._no_more = True

    async def run(self, until: float) -> None:
        """Until everything is decided after ``no_more``, or loop time ``until``."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._size):
                group.create_task(self._one(random.Random(self._seed * 1000 + number), until))

    async def _one(self, rng: random.Random, until: float) -> None:
        loop = asyncio.get_running_loop()
        while not self._no_more and loop.time() < until:
            await self._batch(rng, self._draw(rng), until)
            await asyncio.sleep(rng.random() * 0.1)

    async def _batch(self, rng: random.Random, items: list[Item], until: float) -> None:
        open_ = set(items)
        self.undecided |= open_
        pause = 0.05
        retries_all = rng.random() < 0.5
        while open_ and asyncio.get_running_loop().time() < until:
            sent = items if retries_all else [item for item in items if item in open_]
            impatient = rng.random() < 0.05
            patience = rng.uniform(0.02, 1.0) if impatient else PATIENCE
            told = await self._client.ask(sent, rng.randrange(len(self._urls)), patience)
            for one in told or ():
                if one.code is None or not one.retryable:
                    open_.discard(one.item)
            if open_:
                await asyncio.sleep(pause * rng.uniform(0.5, 1.5))
                pause = min(pause * 2, 1.0)
        self.undecided -= set(items) - open_
        if not self._keeps:
            self.heard.told.clear()
            for item in items:
                self.values.pop(item.name, None)

    def _draw(self, rng: random.Random) -> list[Item]:
        """Mostly new items; some that others are at, or have done; now and then a bad one, one
        with other content under the same key, one that is there twice."""
        endpoint, tenant = rng.choice((PLAIN, ASKED)), rng.choice(_TENANTS)
        items: list[Item] = []
        for _ in range(rng.choice((1, 1, 2, 3, 4, 6, 8, 12))):
            known = [
                i for i in self._recent if (i.name.endpoint, i.name.tenant) == (endpoint, tenant)
            ]
            if known and rng.random() < 0.3:
                item = rng.choice(known)
                if rng.random() < 0.05:
                    item = Item(item.name, f"other {item.name.key}")
            else:
                key = f"k{next(self._numbers)}"
                bad = "bad" if rng.random() < 0.03 else "value"
                item = Item(Name(endpoint, tenant, key), f"{bad} {key}")
                self._recent.append(item)
            if all(item.name != other.name or item == other for other in items):
                items.append(item)
        if rng.random() < 0.05:
            items.append(rng.choice(items))
        rng.shuffle(items)
        for item in items:
            values = self.values.setdefault(item.name, [])
            if item.value not in values:
                values.append(item.value)
        return items

    async def ask_once(self, items: Sequence[Item], proxy: int) -> list[Told] | None:
        return await self._client.ask(items, proxy)

    async def ask_again(self, items: Sequence[Item], proxy: int, until: float) -> list[Told]:
        """Once more, when all is quiet: the last word on each item, retried where it is none."""
        last: dict[Item, Told] = {}
        open_ = list(items)
        while open_ and asyncio.get_running_loop().time() < until:
            told = await self._client.ask(open_, proxy) or []
            last |= {one.item: one for one in told}
            open_ = [i for i in open_ if i not in last or (last[i].code and last[i].retryable)]
            if open_:
                await asyncio.sleep(0.3)
        return list(last.values())
