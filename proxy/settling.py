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

from proxy.asking import Asking, unanswered
from proxy.core.record import Commit, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.run import Round, Run, are_all
from proxy.store.base import Settles, Store
from proxy.store.receive import Receiver
from proxy.store.replies import has_outage
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

    async def settle(self, run: Run, rnd: Round, steps: Mapping[int, Settlement]) -> None:
        """End the claims of these items; what the store does not take now is queued."""
        await self.settle_each(run, rnd, list(steps), list(steps.values()))

    async def settle_each(
        self, run: Run, rnd: Round, indexes: Sequence[int], steps: Sequence[Settlement]
    ) -> Sequence[SettleReply | None]:
        """The same, and the reply for each item. None: not recorded yet, or never to be.

        Items without a store key, which are never deduplicated, are passed over.
        """
        keys: Sequence[bytes | None] = run.store_keys
        if not are_all(indexes, len(keys)):
            keys = [keys[i] for i in indexes]
        if None not in keys:
            return await self._settle_keyed(run, rnd, indexes, keys, steps)  # type: ignore[arg-type]
        keyed = [p for p, key in enumerate(keys) if key is not None]
        told: list[SettleReply | None] = [None] * len(keys)
        replies = await self._settle_keyed(
            run,
            rnd,
            [indexes[p] for p in keyed],
            [key for key in keys if key is not None],
            [steps[p] for p in keyed],
        )
        for place, reply in zip(keyed, replies, strict=True):
            told[place] = reply
        return told

    async def _settle_keyed(
        self,
        run: Run,
        rnd: Round,
        indexes: Sequence[int],
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
    ) -> Sequence[SettleReply | None]:
        if not keys:
            return ()
        replies: Sequence[SettleReply | StoreUnavailable | None] = [None] * len(keys)
        try:
            if rnd.recorded:
                replies = await self._asking.settle(run, keys, steps, rnd.token)
        finally:
            self._end(rnd, indexes, keys)
        return self._told(run, rnd, keys, steps, replies)

    def wake(self) -> None:
        """Something is about to be settled."""
        self._asking.wake()

    def ask(self, run: Run, rnd: Round, steps: Sequence[Settlement], to: Receiver[Settles]) -> bool:
        """Settle every item of a batch that all have a key, without a task; ``answered`` is to be
        told of the replies. False: nothing was done."""
        return self._asking.ask_settle(run, _keyed(run), steps, rnd.token, to)

    def answered(
        self, run: Run, rnd: Round, steps: Sequence[Settlement], said: Settles | StoreUnavailable
    ) -> Sequence[SettleReply | None]:
        """As ``settle_each``, but for ``end``."""
        keys = _keyed(run)
        replies: Sequence[SettleReply | StoreUnavailable]
        replies = unanswered(run, said, len(keys)) if isinstance(said, StoreUnavailable) else said
        return self._told(run, rnd, keys, steps, replies)

    def end(self, run: Run, rnd: Round) -> None:
        """Such a batch is over: nothing of it is held any more."""
        self._end(rnd, range(run.items), _keyed(run))

    def _end(self, rnd: Round, indexes: Sequence[int], keys: Sequence[bytes]) -> None:
        rnd.open.difference_update(indexes)
        self._waiting.free(keys)

    def _told(
        self,
        run: Run,
        rnd: Round,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        replies: Sequence[SettleReply | StoreUnavailable | None],
    ) -> Sequence[SettleReply | None]:
        """The replies; what nobody answered for is queued."""
        if rnd.recorded and not has_outage(replies):
            return replies  # type: ignore[return-value]
        told = [None if isinstance(r, StoreUnavailable) else r for r in replies]
        unsettled = [p for p, r in enumerate(told) if r is None]
        self.backlog.add(
            Unsettled(
                [keys[p] for p in unsettled],
                [steps[p] for p in unsettled],
                rnd.token,
                run.terms,
            )
        )
        return told


def _keyed(run: Run) -> Sequence[bytes]:
    return run.store_keys  # type: ignore[return-value] # of a run whose items were all won
