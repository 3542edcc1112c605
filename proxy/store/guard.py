"""What stands between the driver and any store: a time limit, a circuit breaker, the metrics.

Law: every call ends within the store's timeout, with answers or with ``StoreUnavailable``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from proxy.core.record import ClaimReply, Record, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.store.base import ScannableStore, StoreInfo
from proxy.store.breaker import Breaker
from proxy.store.limit import Limit

_T = TypeVar("_T")


class GuardedStore:
    def __init__(self, store: ScannableStore, timeout: float, observer: Observer) -> None:
        self._store = store
        self._timeout = timeout
        self._limit = Limit(timeout)
        self._observer = observer
        self._breaker = Breaker()

    @property
    def is_up(self) -> bool:
        """As far as the last calls tell."""
        return not self._breaker.is_open

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> list[ClaimReply | StoreUnavailable]:
        return await self._guard("claim", self._store.claim(keys, fingerprints, token, terms))

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        return await self._guard("settle", self._store.settle(keys, steps, token, terms))

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        return await self._guard("read", self._store.read(keys))

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        return await self._guard("scan", self._store.scan(cursor, count))

    async def probe(self) -> StoreInfo:
        """Past the breaker: whoever asks wants to know now. Ten timeouts, as it is several calls
        to every node."""
        try:
            async with asyncio.timeout(10 * self._timeout):
                info = await self._store.probe()
        except TimeoutError:
            raise StoreUnavailable("the store did not answer in time") from None
        self._breaker.succeeded()
        return info

    async def close(self) -> None:
        await self._store.close()

    async def _guard(self, op: str, call: Awaitable[_T]) -> _T:
        clock = asyncio.get_running_loop().time
        began = time.perf_counter()
        if not self._breaker.admit(clock()):
            if asyncio.iscoroutine(call):
                call.close()
            self._observer.store_call(op, 0.0, ok=False)
            raise StoreUnavailable("the store is taken to be down")
        try:
            answer = await self._limit.within(call)
        except (StoreUnavailable, TimeoutError) as error:
            self._breaker.failed(clock())
            self._observer.store_call(op, time.perf_counter() - began, ok=False)
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnavailable("the store did not answer in time") from None
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        # A shard that did not answer is an error, and no reason to leave the others alone.
        whole = not isinstance(answer, list) or StoreUnavailable not in map(type, answer)
        self._observer.store_call(op, time.perf_counter() - began, ok=whole)
        return answer
