"""The store as the driver asks it: an outage is an answer, and a request pays for three at most.

Law: nothing raises. After ``OUTAGES`` calls of one request that nothing answered, the store is
not asked again on its behalf: what it would have been told is queued, and what it would have been
asked counts as unanswered. So store calls add at most three store timeouts to a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from proxy.core.record import ClaimReply, Settlement, SettleReply
from proxy.errors import StoreUnavailable
from proxy.run import Run
from proxy.store.base import Claims, PromptStore, Settles, Store
from proxy.store.receive import Receiver

OUTAGES: Final = 3

_OFTEN_ENOUGH: Final = StoreUnavailable("this request has waited for the store often enough")

_Reply = TypeVar("_Reply")


class Asking:
    """Claims and settles on behalf of runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._prompt = store if isinstance(store, PromptStore) else None

    def ask_claim(
        self,
        run: Run,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        to: Receiver[Claims],
    ) -> bool:
        """A request's first claim, without a task. False: it has to be awaited. ``unanswered``
        makes replies of an outage."""
        if self._prompt is None:
            return False
        return self._prompt.ask_claim(keys, fingerprints, token, run.terms, to)

    def ask_settle(
        self,
        run: Run,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        to: Receiver[Settles],
    ) -> bool:
        """``settle`` without a task, likewise."""
        if self._prompt is None or run.outages >= OUTAGES:
            return False
        return self._prompt.ask_settle(keys, steps, token, run.terms, to)

    def wake(self) -> None:
        """A call is about to follow."""
        if self._prompt is not None:
            self._prompt.wake()

    async def claim(
        self, run: Run, keys: Sequence[bytes], fingerprints: Sequence[bytes | None], token: bytes
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        if run.outages >= OUTAGES:
            return [_OFTEN_ENOUGH] * len(keys)
        try:
            return await self._store.claim(keys, fingerprints, token, run.terms)
        except StoreUnavailable as outage:
            return unanswered(run, outage, len(keys))

    async def settle(
        self, run: Run, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes
    ) -> Sequence[SettleReply | StoreUnavailable]:
        if run.outages >= OUTAGES:
            return [_OFTEN_ENOUGH] * len(keys)
        try:
            return await self._store.settle(keys, steps, token, run.terms)
        except StoreUnavailable as outage:
            return unanswered(run, outage, len(keys))


def unanswered(run: Run, outage: StoreUnavailable, keys: int) -> list[_Reply | StoreUnavailable]:
    """The replies of a call that nothing answered."""
    run.outages += 1
    return [outage] * keys
