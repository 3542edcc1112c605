"""What stands between the driver and any store: a time limit, a circuit breaker, the metrics.

Law: every call ends within the store's timeout, with answers or with ``StoreUnavailable``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Final, Generic, TypeVar

from proxy.core.record import Record, Settlement, Terms
from proxy.errors import StoreUnavailable
from proxy.limit import Limit
from proxy.observe import Observer
from proxy.store.base import (
    Claims,
    PromptStore,
    ScannableStore,
    Settles,
    StoreInfo,
)
from proxy.store.breaker import Breaker
from proxy.store.receive import Receiver
from proxy.store.replies import has_outage

_T = TypeVar("_T")
_TOO_LATE: Final = "the store did not answer in time"


class GuardedStore:
    def __init__(self, store: ScannableStore, timeout: float, observer: Observer) -> None:
        self._store = store
        self._prompt = store if isinstance(store, PromptStore) else None
        self._timeout = timeout
        self.limit = Limit(timeout)
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
    ) -> Claims:
        told: asyncio.Future[Claims] = asyncio.get_running_loop().create_future()
        if self.ask_claim(keys, fingerprints, token, terms, told):
            return await told
        return await self._guard("claim", self._store.claim(keys, fingerprints, token, terms))

    def ask_claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool:
        if self._prompt is None or self._breaker.is_open:
            return False
        asked = _Asked("claim", self, to)
        if not self._prompt.ask_claim(keys, fingerprints, token, terms, asked):
            return False
        self.limit.begin(asked)
        return True

    def wake(self) -> None:
        if self._prompt is not None:
            self._prompt.wake()

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> Settles:
        told: asyncio.Future[Settles] = asyncio.get_running_loop().create_future()
        if self.ask_settle(keys, steps, token, terms, told):
            return await told
        return await self._guard("settle", self._store.settle(keys, steps, token, terms))

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool:
        if self._prompt is None or self._breaker.is_open:
            return False
        asked = _Asked("settle", self, to)
        if not self._prompt.ask_settle(keys, steps, token, terms, asked):
            return False
        self.limit.begin(asked)
        return True

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
            answer = await self.limit.within(call)
        except (StoreUnavailable, TimeoutError) as error:
            self.failed(op, began)
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnavailable(_TOO_LATE) from None
        except BaseException:
            self._breaker.abandoned()
            raise
        self.answered(op, time.perf_counter() - began, answer)
        return answer

    # ---- what became of a call, which took ``taken`` or began at ``began`` on the fine clock ----

    def answered(self, op: str, taken: float, answer: object) -> None:
        self._breaker.succeeded()
        # A shard that did not answer is an error, and no reason to leave the others alone.
        whole = not isinstance(answer, list) or not has_outage(answer)
        self._observer.store_call(op, taken, ok=whole)

    def failed(self, op: str, began: float) -> None:
        self._breaker.failed(asyncio.get_running_loop().time())
        self._observer.store_call(op, time.perf_counter() - began, ok=False)


class _Asked(Generic[_T]):
    """A call that no task waits for."""

    __slots__ = ("_began", "_guard", "_op", "_over", "_to")

    def __init__(self, op: str, guard: GuardedStore, to: Receiver[_T]) -> None:
        self._op = op
        self._guard = guard
        self._to = to
        self._began = time.perf_counter()
        self._over = False

    def done(self) -> bool:
        return self._over or self._to.done()

    def set_result(self, result: _T, /) -> None:
        if self._is_last_word():
            taken = time.perf_counter() - self._began
            # What follows from it goes first: somebody waits for that.
            try:
                if not self._to.done():
                    self._to.set_result(result)
            finally:
                self._guard.answered(self._op, taken, result)

    def set_exception(self, exception: BaseException, /) -> None:
        if self._is_last_word():
            if isinstance(exception, StoreUnavailable):
                self._guard.failed(self._op, self._began)
            if not self._to.done():
                self._to.set_exception(exception)

    def expire(self) -> None:
        # Whoever went away says nothing of the store.
        if not self.done():
            self.set_exception(StoreUnavailable(_TOO_LATE))

    def _is_last_word(self) -> bool:
        if self._over:
            return False
        self._over = True
        self._guard.limit.end(self)
        return True
