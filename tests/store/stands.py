"""A store under test, and what a test may do to it besides: let time pass, look at expiries.

Law: nothing sleeps. Where the clock is the server's own, time passes by moving every stored time
back by as much, which is the same to the store.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from proxy.core.codec import decode, encode
from proxy.core.record import (
    ClaimReply,
    Done,
    Foreign,
    Record,
    Settlement,
    SettleReply,
    Terms,
)
from proxy.errors import StoreUnavailable
from proxy.store import memory, open_store
from proxy.store.base import ScannableStore, Store
from proxy.store.guard import GuardedStore
from proxy.store.link import Access
from proxy.store.memory import MemoryStore
from proxy.store.pipe import Pipe
from proxy.store.redis import RedisStore
from proxy.store.topology import Cluster, Single
from tests.fakes.redis_server import RedisCluster, RedisServer

TERMS = Terms(lease=30_000, retention=86_400_000, detects_duplicates=True)
PRINT = b"f" * 16
PREFIX = "stand"


def token() -> bytes:
    return os.urandom(12)


def keys(count: int) -> list[bytes]:
    """Fresh ones, in all the buckets."""
    run = os.urandom(8).hex()
    return [f"{PREFIX}:{{{n % 64:02x}}}:v1:{run}{n:016d}".encode() for n in range(count)]


def aged(record: Record, milliseconds: int) -> Record:
    """The record as it looks when so much time has passed."""
    if isinstance(record, Done | Foreign):
        return record
    if hasattr(record, "since"):
        return replace(record, since=record.since - milliseconds)
    since = record.doubt_since - milliseconds if record.suspect else 0
    return replace(record, deadline=record.deadline - milliseconds, doubt_since=since)


@asynccontextmanager
async def opened(url: str, **settings: object) -> AsyncIterator[GuardedStore]:
    """A whole store, as the proxy opens it."""
    defaults: dict[str, object] = {"timeout": 5.0, "prefix": PREFIX}
    store = open_store(url, **(defaults | settings))  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


def pipe_of(store: Store) -> Pipe:
    """The one connection of a store that has been asked."""
    inner: Any = store
    while hasattr(inner, "_store"):
        inner = inner._store
    pipe = inner._topology.only._pipe
    assert isinstance(pipe, Pipe)
    return pipe


def is_plain(stand: RedisStand) -> bool:
    """Whether plain commands are used on the connection that is up."""
    clock = stand.redis._plain._clock
    return clock is not None and clock.pipe is pipe_of(stand.redis) and clock.is_known()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that is no Redis. Ends when its last connection has."""
    under_way: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        await handler(reader, writer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if under_way:
            await asyncio.wait(under_way, timeout=5)


def near(value: int, expected: int, above: int = 0) -> bool:
    """The server's clock runs while a test does."""
    return expected - 20_000 <= value <= expected + above


class Stand(ABC):
    store: ScannableStore

    async def claim_one(
        self, key: bytes, owner: bytes, terms: Terms = TERMS, fingerprint: bytes | None = PRINT
    ) -> ClaimReply | StoreUnavailable:
        return (await self.store.claim([key], [fingerprint], owner, terms))[0]

    async def settle_one(
        self, key: bytes, step: Settlement, owner: bytes, terms: Terms = TERMS
    ) -> SettleReply | StoreUnavailable:
        return (await self.store.settle([key], [step], owner, terms))[0]

    async def record(self, key: bytes) -> Record | None:
        (found,) = await self.store.read([key])
        assert not isinstance(found, StoreUnavailable)
        return found

    @abstractmethod
    async def pass_time(self, touched: Sequence[bytes], milliseconds: int) -> None:
        """Of the keys touched: their deadlines and doubts are so much older now."""

    @abstractmethod
    async def expires_in(self, key: bytes) -> int:
        """Milliseconds; less than 0 where there is no such key."""

    @abstractmethod
    async def plant(self, key: bytes, value: bytes) -> None:
        """Write a stored value as it is."""

    @abstractmethod
    async def stored(self, key: bytes) -> bytes | None: ...


class MemoryStand(Stand):
    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.memory = MemoryStore(now_ms=lambda: self.now)
        self.store = self.memory

    async def pass_time(self, touched: Sequence[bytes], milliseconds: int) -> None:
        self.now += milliseconds

    async def expires_in(self, key: bytes) -> int:
        kept = self.memory._records.get(key)
        return kept.expiry - self.now if kept else -2

    async def plant(self, key: bytes, value: bytes) -> None:
        self.memory._records[key] = memory._Kept(decode(value), self.now + 10**9, 1)

    async def stored(self, key: bytes) -> bytes | None:
        kept = self.memory._records.get(key)
        if kept is None or isinstance(kept.record, Foreign):
            return None
        return encode(kept.record)


class RedisStand(Stand):
    """``server`` answers for every key, or is the cluster that does."""

    def __init__(
        self, server: RedisServer | RedisCluster, timeout: float = 5.0, plain_from: int = 65
    ) -> None:
        self.server = server
        access = Access(None, None, tls=False, ca_file=None, timeout=timeout)
        if isinstance(server, RedisCluster):
            seeds = [("127.0.0.1", node.port) for node in server.masters]
            self.redis = RedisStore(Cluster(access, seeds), PREFIX, timeout)
        else:
            only = Single(access, ("127.0.0.1", server.port), 0)
            self.redis = RedisStore(only, PREFIX, timeout, plain_from)
        self.store = self.redis

    @classmethod
    async def plain(cls, server: RedisServer, timeout: float = 5.0) -> RedisStand:
        """All claims go by plain commands, as far as they may."""
        stand = cls(server, timeout, plain_from=1)
        await stand.store.read(keys(1))  # to connect
        stand.redis.wake()
        await stand.store.read(keys(1))  # behind its asking for the time
        assert is_plain(stand)
        return stand

    def _node(self, key: bytes) -> RedisServer:
        if isinstance(self.server, RedisServer):
            return self.server
        return self.server.owner(self.server.masters[0].command("CLUSTER", "KEYSLOT", key))

    async def pass_time(self, touched: Sequence[bytes], milliseconds: int) -> None:
        for key in touched:
            value = await self.stored(key)
            record = decode(value) if value else Foreign()
            if not isinstance(record, Foreign):
                moved = encode(aged(record, milliseconds))  # type: ignore[arg-type]
                self._node(key).command("SET", key, moved, "KEEPTTL")

    async def expires_in(self, key: bytes) -> int:
        return int(self._node(key).command("PTTL", key))

    async def plant(self, key: bytes, value: bytes) -> None:
        self._node(key).command("SET", key, value, "PX", 10**9)

    async def stored(self, key: bytes) -> bytes | None:
        value: bytes | None = self._node(key).command("GET", key)
        return value
