"""The simulated store: the product's own transitions behind a network that fails.

Law: it keeps what it was told, but for a failover, and then it knows which keys that touched
(``lost``). Every change of a record is shown to ``watch``, which judges it.

A call travels, is executed key by key, and its reply travels back. Either way can be slow, so
that the caller has long given up, or lost; a shard can be silent while the others answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from proxy.core import transitions
from proxy.core.record import (
    ClaimReply,
    Held,
    Record,
    Settlement,
    SettleReply,
    Terms,
)
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.store.base import StoreInfo
from proxy.store.guard import GuardedStore
from tests.sim.loop import NOWHERE

S = TypeVar("S", bound=Sequence[Any])
EPOCH_MS: Final = 1_700_000_000_000


class Transitions(Protocol):
    """The table of ``proxy.core.transitions``, or one with a planted mistake."""

    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> tuple[Record | None, ClaimReply, int]:
        """As ``transitions.claim``."""

    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> tuple[Record | None, SettleReply, int]:
        """As ``transitions.settle``."""


class Real:
    """The table as it is."""

    claim = staticmethod(transitions.claim)
    settle = staticmethod(transitions.settle)


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """Chances, one a call. ``slow``: longer than any caller waits. ``split``: the keys are on
    two shards, which execute their parts at different times."""

    latency: float = 0.002
    split: float = 0.3
    refused: float = 0.0
    reply_lost: float = 0.0
    slow: float = 0.0
    shard_silent: float = 0.0


@dataclass(frozen=True, slots=True)
class _Write:
    key: bytes
    before: tuple[Record, int] | None


class SimStore:
    """``watch(key, before, after, token)`` sees each change; ``claimed(token, key)`` each win."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
        faults: StoreFaults,
        table: Transitions,
    ) -> None:
        self._loop = loop
        self._rng = rng
        self.faults = faults
        self._table = table
        self._records: dict[bytes, tuple[Record, int]] = {}
        self._writes: list[_Write] = []
        self.down = False
        self.lost: set[bytes] = set()
        self.watch: Callable[[bytes, Record | None, Record | None, bytes], None] = _unwatched

    # ---- the Store interface -------------------------------------------------------------------

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        def one(position: int) -> Any:
            before = self.peek(keys[position])
            after, reply, ttl = self._table.claim(
                before, fingerprints[position], token, terms, self.now_ms()
            )
            self._put(keys[position], before, after, ttl, token)
            return reply

        return await self._travel(len(keys), one)

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        def one(position: int) -> Any:
            before = self.peek(keys[position])
            after, reply, ttl = self._table.settle(
                before, steps[position], token, terms, self.now_ms()
            )
            self._put(keys[position], before, after, ttl, token)
            return reply

        return await self._travel(len(keys), one)

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        return [self.peek(key) for key in keys]

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        del cursor, count
        return "", list(self._records)

    async def probe(self) -> StoreInfo:
        return StoreInfo("simulated", {}, ())

    async def close(self) -> None:
        """Nothing is open."""

    # ---- what a simulation asks ----------------------------------------------------------------

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000)

    def peek(self, key: bytes) -> Record | None:
        """The record as it stands."""
        kept = self._records.get(key)
        if kept is None:
            return None
        record, expiry = kept
        if expiry <= self.now_ms():
            del self._records[key]
            self.watch(key, record, None, b"")
            return None
        return record

    def all_keys(self) -> list[bytes]:
        return list(self._records)

    def fail_over(self, writes: int) -> None:
        """A replica takes over that had not seen the latest ``writes``."""
        for write in reversed(self._writes[-writes:]):
            self.lost.add(write.key)
            if write.before is None:
                self._records.pop(write.key, None)
            else:
                self._records[write.key] = write.before
        del self._writes[-writes:]

    # ---- the network ---------------------------------------------------------------------------

    async def _travel(self, count: int, one: Callable[[int], Any]) -> list[Any]:
        rng, faults = self._rng, self.faults
        reply: asyncio.Future[list[Any]] = self._loop.create_future()
        answers: list[Any] = [None] * count
        groups = _groups(rng, count, faults.split)
        left = len(groups)
        silent = len(groups) > 1 and rng.random() < faults.shard_silent

        def execute(positions: Sequence[int], executed: bool, answered: bool) -> None:
            nonlocal left
            for position in positions:
                answer = one(position) if executed and not self.down else None
                lost = answer is None or not answered
                answers[position] = StoreUnavailable("shard") if lost else answer
            left -= 1
            if left == 0:
                delay = rng.random() * faults.latency
                self._loop.call_later(delay, arrive, context=NOWHERE)

        def arrive() -> None:
            if reply.done():
                return
            if all(isinstance(a, StoreUnavailable) for a in answers):
                reply.set_exception(StoreUnavailable("the store did not answer"))
            else:
                reply.set_result(answers)

        for number, positions in enumerate(groups):
            executed = rng.random() >= faults.refused
            answered = rng.random() >= faults.reply_lost and not (silent and number == 0)
            delay = rng.random() * faults.latency
            if rng.random() < faults.slow:
                delay += 0.2 + rng.random() * 2
            self._loop.call_later(delay, execute, positions, executed, answered, context=NOWHERE)
        return await reply

    def _put(
        self, key: bytes, before: Record | None, after: Record | None, ttl: int, token: bytes
    ) -> None:
        if not ttl:
            return
        self._writes.append(_Write(key, self._records.get(key)))
        if after is None:
            self._records.pop(key, None)
        else:
            self._records[key] = (after, self.now_ms() + ttl)
        self.watch(key, before, after, token)


class ToldStore:
    """The product's guard; it tells of every token, and of every call without a whole answer."""

    def __init__(
        self,
        store: SimStore,
        timeout: float,
        claiming: Callable[[bytes], None],
        failed: Callable[[bytes], None],
    ) -> None:
        self._guard = GuardedStore(store, timeout, Observer())
        self._claiming = claiming
        self._failed = failed

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        self._claiming(token)
        return await self._told(token, self._guard.claim(keys, fingerprints, token, terms))

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        return await self._told(token, self._guard.settle(keys, steps, token, terms))

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        return await self._guard.read(keys)

    async def probe(self) -> StoreInfo:
        return await self._guard.probe()

    async def close(self) -> None:
        await self._guard.close()

    async def _told(self, token: bytes, call: Awaitable[S]) -> S:
        whole = False
        try:
            replies = await call
            whole = not any(isinstance(r, StoreUnavailable) for r in replies)
            return replies
        finally:
            if not whole:
                self._failed(token)


def is_held_by(record: Record | None, tokens: set[bytes], now: int) -> bool:
    """Held by one of ``tokens``, within its deadline."""
    return isinstance(record, Held) and record.token in tokens and now < record.deadline


def _groups(rng: random.Random, count: int, split: float) -> list[list[int]]:
    """The keys of one call by the shard that they are on."""
    if count < 2 or rng.random() >= split:
        return [list(range(count))]
    groups: tuple[list[int], list[int]] = ([], [])
    for position in range(count):
        groups[rng.random() < 0.5].append(position)
    return [g for g in groups if g]


def _unwatched(key: bytes, before: Record | None, after: Record | None, token: bytes) -> None:
    del key, before, after, token
