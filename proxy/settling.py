"""Write outcomes to the store; what it does not take is retried from a bounded backlog.

Law: a store outage never withholds a result from its client. What the backlog has to drop is in
doubt, counted and logged; the claims of it end as suspects when their leases run out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.asking import Asking
from proxy.core.record import Commit, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.run import Round, Run
from proxy.store.base import Store
from proxy.waiting import Waiting

log = logging.getLogger("proxy.settling")

BACKLOG_ITEMS: Final = 50_000
BACKLOG_BYTES: Final = 64 * 1024 * 1024
_RETRY_FIRST: Final = 0.1
_RETRY_LAST: Final = 5.0


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Steps that the store has not taken yet; every step is safe to repeat with its token."""

    keys: Sequence[bytes]
    steps: Sequence[Settlement]
    token: bytes
    terms: Terms

    @property
    def size(self) -> int:
        """Bytes held, roughly: the results and 200 for each key and its bookkeeping."""
        results = (s.result for s in self.steps if isinstance(s, Commit))
        return 200 * len(self.keys) + sum(len(r) for r in results if r is not None)


class Backlog:
    """Retries in order until the store takes them; the oldest are dropped when it is full."""

    def __init__(self, store: Store, observer: Observer) -> None:
        self._store = store
        self._observer = observer
        self._queue: deque[Unsettled] = deque()
        self._items = 0
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return self._items

    def add(self, unsettled: Unsettled) -> None:
        """Queue it, and see to it that somebody works on the queue."""
        self._queue.append(unsettled)
        self._account(unsettled, +1)
        while self._items > BACKLOG_ITEMS or self._bytes > BACKLOG_BYTES:
            dropped = self._queue.popleft()
            self._account(dropped, -1)
            log.error("settle backlog is full: %d outcomes dropped, in doubt", len(dropped.keys))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def flush(self, timeout: float) -> bool:
        """Wait until all is written. False: time ran out first, and the rest is given up."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=timeout)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task})
        if self._items:
            log.error("%d outcomes could not be recorded before the end", self._items)
        return not self._items

    async def _work(self) -> None:
        pause = _RETRY_FIRST
        while self._queue:
            unsettled = self._queue[0]
            left = await self._try(unsettled)
            if self._queue and self._queue[0] is unsettled:  # not dropped meanwhile
                self._queue.popleft()
                self._account(unsettled, -1)
                if left is not None:
                    self._queue.appendleft(left)
                    self._account(left, +1)
            if left is None:
                pause = _RETRY_FIRST
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _RETRY_LAST)

    async def _try(self, work: Unsettled) -> Unsettled | None:
        """What is left to be done of ``work``, None where it is all taken."""
        try:
            replies = await self._store.settle(work.keys, work.steps, work.token, work.terms)
        except StoreUnavailable:
            return work
        failed = [i for i, r in enumerate(replies) if isinstance(r, StoreUnavailable)]
        if not failed:
            return None
        keys, steps = [work.keys[i] for i in failed], [work.steps[i] for i in failed]
        return Unsettled(keys, steps, work.token, work.terms)

    def _account(self, unsettled: Unsettled, sign: int) -> None:
        self._items += sign * len(unsettled.keys)
        self._bytes += sign * unsettled.size
        self._observer.backlog(self._items)


class Settler:
    """Settles items of a run, and tells those who wait for them in this process."""

    def __init__(self, asking: Asking, waiting: Waiting, backlog: Backlog) -> None:
        self._asking = asking
        self._waiting = waiting
        self.backlog = backlog

    async def settle(
        self, run: Run, rnd: Round, steps: Mapping[int, Settlement]
    ) -> dict[int, SettleReply | None]:
        """End the claims of these items. None: not recorded yet, and queued.

        Items without a store key, which are never deduplicated, are passed over.
        """
        store_keys = run.store_keys
        indexes = [i for i in steps if store_keys[i] is not None]
        if not indexes:
            return {}
        keys: list[bytes] = [store_keys[i] for i in indexes]  # type: ignore[misc]
        wanted = list(steps.values())
        if len(indexes) < len(steps):
            wanted = [steps[i] for i in indexes]
        replies: Sequence[SettleReply | StoreUnavailable | None] = [None] * len(keys)
        try:
            if rnd.recorded:
                replies = await self._asking.settle(run, keys, wanted, rnd.token)
        finally:
            rnd.open.difference_update(indexes)
            self._waiting.free(keys)
        if rnd.recorded and StoreUnavailable not in map(type, replies):
            return dict(zip(indexes, replies, strict=True))  # type: ignore[arg-type]
        told = [None if isinstance(r, StoreUnavailable) else r for r in replies]
        unsettled = [p for p, r in enumerate(told) if r is None]
        self.backlog.add(
            Unsettled(
                [keys[p] for p in unsettled],
                [wanted[p] for p in unsettled],
                rnd.token,
                run.terms,
            )
        )
        return dict(zip(indexes, told, strict=True))
