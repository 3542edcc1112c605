"""A store between the driver and a real one, whose link fails as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.core.record import ClaimReply, Record, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.store.base import Store, StoreInfo


class FaultyStore:
    """``down``: nothing is done. ``deaf``: it is done, and the answer is lost. ``lost_keys``:
    the shard of these does not answer. ``delay``: seconds before each call."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.down = False
        self.deaf = False
        self.down_for: set[str] = set()
        self.lost_keys: set[bytes] = set()
        self.delay = 0.0
        self.calls: list[tuple[str, int]] = []

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> list[ClaimReply | StoreUnavailable]:
        await self._link("claim", len(keys))
        replies = await self.store.claim(keys, fingerprints, token, terms)
        self._answer()
        return [
            StoreUnavailable("shard") if k in self.lost_keys else r
            for k, r in zip(keys, replies, strict=True)
        ]

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        await self._link("settle", len(keys))
        replies = await self.store.settle(keys, steps, token, terms)
        self._answer()
        return replies

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        await self._link("read", len(keys))
        return await self.store.read(keys)

    async def probe(self) -> StoreInfo:
        await self._link("probe", 0)
        return await self.store.probe()

    async def close(self) -> None:
        await self.store.close()

    async def _link(self, op: str, keys: int) -> None:
        self.calls.append((op, keys))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.down or op in self.down_for:
            raise StoreUnavailable("down")

    def _answer(self) -> None:
        if self.deaf:
            raise StoreUnavailable("the answer was lost")
