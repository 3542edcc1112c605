"""The embedded store: the same contract in one process, over ``core.transitions`` itself.

Law: it never loses a record before its expiry. It has no eviction: when it is full, claims fail
as in an outage, and settles still write, so that finished work is never unrecordable.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.core import transitions
from proxy.core.record import ClaimReply, Done, Record, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.store.base import StoreInfo

# What CPython takes for one entry beside the bytes of key and result: record, token, fingerprint,
# dict slot, heap entry, measured over 100,000 records and rounded up.
ENTRY_OVERHEAD: Final = 560


VOLATILE: Final = (
    "the store is this process's memory: what is recorded is lost when the process ends, "
    "and no other process sees it"
)


def _clock() -> int:
    return time.time_ns() // 1_000_000


class MemoryStore:
    """``max_bytes`` caps what is kept; ``now_ms`` is the store's clock."""

    def __init__(
        self, max_bytes: int = 256 * 1024 * 1024, now_ms: Callable[[], int] = _clock
    ) -> None:
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._records: dict[bytes, _Kept] = {}
        # Of a key's entries the one at its ``due`` counts; others are dropped when they come up.
        self._expiries: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._serials = itertools.count(1)

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        now = self._tick()
        replies: list[ClaimReply | StoreUnavailable] = []
        full = StoreUnavailable("the memory store is full")
        for key, fingerprint in zip(keys, fingerprints, strict=True):
            before = self._get(key)
            if before is None and self._bytes + _cost(key, None) > self._max_bytes:
                replies.append(full)
                continue
            after, reply, ttl = transitions.claim(before, fingerprint, token, terms, now)
            self._put(key, after, now + ttl if ttl else 0)
            replies.append(reply)
        if replies and all(reply is full for reply in replies):
            raise full
        return replies

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        now = self._tick()
        replies: list[SettleReply | StoreUnavailable] = []
        for key, step in zip(keys, steps, strict=True):
            before = self._get(key)
            after, reply, ttl = transitions.settle(before, step, token, terms, now)
            self._put(key, after, now + ttl if ttl else 0)
            replies.append(reply)
        return replies

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        self._tick()
        return [self._get(key) for key in keys]

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        self._tick()
        behind = int(cursor or "0")
        later = ((kept.serial, key) for key, kept in self._records.items() if kept.serial > behind)
        page = list(itertools.islice(later, count))
        return (str(page[-1][0]) if len(page) == count else ""), [key for _, key in page]

    async def probe(self) -> StoreInfo:
        return StoreInfo(
            kind="memory",
            facts={"records": str(len(self._records)), "max_bytes": str(self._max_bytes)},
            warnings=(VOLATILE,),
        )

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def bytes_used(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._records)

    def _tick(self) -> int:
        """Drop what has expired; the clock for this call."""
        now = self._now_ms()
        while self._expiries and self._expiries[0][0] <= now:
            due, key = heapq.heappop(self._expiries)
            kept = self._records.get(key)
            if kept is None or kept.due != due:
                continue
            if kept.expiry > now:
                self._schedule(key, kept)
            else:
                self._drop(key)
        return now

    def _get(self, key: bytes) -> Record | None:
        kept = self._records.get(key)
        return kept.record if kept else None

    def _put(self, key: bytes, record: Record | None, expiry: int) -> None:
        """``expiry`` 0: nothing was written."""
        if not expiry:
            return
        if record is None:
            self._drop(key)
            return
        kept = self._records.get(key)
        if kept is None:
            kept = self._records[key] = _Kept(record, expiry, next(self._serials))
            self._schedule(key, kept)
        else:
            self._bytes -= _cost(key, kept.record)
            kept.record, kept.expiry = record, expiry
            if expiry < kept.due:
                self._schedule(key, kept)
        self._bytes += _cost(key, record)

    def _drop(self, key: bytes) -> None:
        self._bytes -= _cost(key, self._records.pop(key).record)

    def _schedule(self, key: bytes, kept: _Kept) -> None:
        kept.due = kept.expiry
        heapq.heappush(self._expiries, (kept.due, key))
        if len(self._expiries) > 2 * len(self._records) + 1024:
            self._expiries = [(kept.due, name) for name, kept in self._records.items()]
            heapq.heapify(self._expiries)


@dataclass(slots=True)
class _Kept:
    """``due``: when the heap next looks at it, never later than ``expiry``."""

    record: Record
    expiry: int
    serial: int
    due: int = 0


def _cost(key: bytes, record: Record | None) -> int:
    result = record.result if isinstance(record, Done) else None
    return ENTRY_OVERHEAD + len(key) + len(result or b"")
