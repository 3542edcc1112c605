"""A store and a service that can also be asked without a task, made of ones that are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from proxy.core.prompt import Told
from proxy.core.record import ClaimReply, Record, Settlement, SettleReply, Terms
from proxy.core.upstream import Call, NoReply, Reply, Upstream
from proxy.errors import StoreUnavailable
from proxy.store.base import Claims, Settles, Store, StoreInfo
from proxy.store.memory import MemoryStore
from proxy.store.receive import Receiver

T = TypeVar("T")


class Prompt:
    """``is_prompt`` says of each call whether it may be made without a task. The task that it has
    all the same is the double's, and ends with the process that asked."""

    def __init__(self, store: Store, is_prompt: Callable[[], bool] = lambda: True) -> None:
        self.store = store
        self._is_prompt = is_prompt
        self.asked: list[asyncio.Task[None]] = []
        self.woken = 0

    def ask_claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool:
        if not self._is_prompt():
            return False
        self._ask(partial(self.store.claim, keys, fingerprints, token, terms), to)
        return True

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool:
        if not self._is_prompt():
            return False
        self._ask(partial(self.store.settle, keys, steps, token, terms), to)
        return True

    def wake(self) -> None:
        self.woken += 1

    def _ask(self, call: Callable[[], Coroutine[Any, Any, T]], to: Receiver[T]) -> None:
        self.asked.append(asyncio.get_running_loop().create_task(_tell(call, to)))

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        return await self.store.claim(keys, fingerprints, token, terms)

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        return await self.store.settle(keys, steps, token, terms)

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        return await self.store.read(keys)

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        assert isinstance(self.store, MemoryStore)
        return await self.store.scan(cursor, count)

    async def probe(self) -> StoreInfo:
        return await self.store.probe()

    async def close(self) -> None:
        await self.store.close()


class PromptUpstream:
    """The same for a service."""

    def __init__(self, upstream: Upstream, is_prompt: Callable[[], bool] = lambda: True) -> None:
        self.upstream = upstream
        self._is_prompt = is_prompt
        self.asked: list[asyncio.Task[None]] = []

    def ask(self, call: Call, timeout: float, to: Told) -> bool:
        if not self._is_prompt():
            return False
        self.asked.append(asyncio.get_running_loop().create_task(self._ask(call, timeout, to)))
        return True

    async def _ask(self, call: Call, timeout: float, to: Told) -> None:
        to.set_result(await self.upstream.call(call, timeout))

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        return await self.upstream.call(call, timeout)

    async def close(self) -> None:
        await self.upstream.close()


async def _tell(call: Callable[[], Coroutine[Any, Any, T]], to: Receiver[T]) -> None:
    try:
        replies = await call()
    except StoreUnavailable as outage:
        to.set_exception(outage)
    else:
        to.set_result(replies)
