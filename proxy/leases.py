"""Make sure that a claim's lease covers the call that is about to be made.

Law: what is not certainly held is not forwarded. Where the upstream does not detect duplicates
the store hears of every forward first (``sent``); elsewhere a lease is extended only when it
would end before the call can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.asking import Asking
from proxy.core.fate import Code, Fate, failed
from proxy.core.record import Applied, Extend, Release, Sent, Settlement
from proxy.errors import StoreUnavailable
from proxy.run import Round, Run, in_progress
from proxy.settling import Settler
from proxy.waiting import Waiting

_SENT: Final = Sent()
_EXTEND: Final = Extend()


class Leases:
    """``margin``: seconds beyond the upstream timeout that a lease must still have."""

    def __init__(self, asking: Asking, settler: Settler, waiting: Waiting, margin: float) -> None:
        self._asking = asking
        self._settler = settler
        self._waiting = waiting
        self._margin = margin

    def covers(self, run: Run, rnd: Round, items: Sequence[int]) -> bool:
        """Whether all of ``items`` may be forwarded now, and nobody need be asked or told."""
        if not rnd.recorded:
            return True
        return self.last(run, rnd) and len(_held(run, rnd, items)) == len(items)

    def last(self, run: Run, rnd: Round) -> bool:
        """Whether what the round won, and did not lose since, may be forwarded as it is."""
        if not rnd.recorded or not run.rule.upstream.detects_duplicates:
            return False
        left = rnd.held_until - run.loop.time()
        return left >= run.rule.upstream.timeout + self._margin

    async def secure(self, run: Run, rnd: Round, items: Sequence[int]) -> Sequence[int]:
        """Those of ``items`` that may be forwarded now; the others are decided."""
        if not rnd.recorded:
            return items
        items = _held(run, rnd, items)
        step: Settlement
        now = run.loop.time()
        if not run.rule.upstream.detects_duplicates:
            targets, step = [i for i in items if i in rnd.open], _SENT
        elif rnd.held_until - now < run.rule.upstream.timeout + self._margin:
            targets, step = sorted(rnd.open), _EXTEND
        else:
            return items
        if targets:
            await self._renew(run, rnd, targets, step, now)
        return _held(run, rnd, items)

    async def _renew(
        self, run: Run, rnd: Round, targets: Sequence[int], step: Settlement, now: float
    ) -> None:
        """Apply ``step`` to the targets; what must not be forwarded is open no more."""
        keys = [run.store_keys[i] or b"" for i in targets]
        replies = await self._asking.settle(run, keys, [step] * len(keys), rnd.token)
        lost: list[int] = []
        unanswered: list[int] = []
        for index, reply in zip(targets, replies, strict=True):
            if run.fates[index] is not None or index in run.in_flight:
                continue  # another chunk's: its call decides it, or has decided it meanwhile
            if isinstance(reply, StoreUnavailable):
                unanswered.append(index)
            elif not isinstance(reply, Applied):
                lost.append(index)
        if not lost and not unanswered and step is _EXTEND:
            rnd.held_until = now + run.rule.lease
        self._lose(run, rnd, lost)
        if step is _SENT or not run.rule.fail_open:  # else the upstream is the last arbiter
            await self._without_store(run, rnd, unanswered)

    def _lose(self, run: Run, rnd: Round, lost: Sequence[int]) -> None:
        run.upstream_decided.difference_update(lost)
        run.decide(lost, in_progress(None))
        rnd.open.difference_update(lost)
        self._waiting.free([run.store_keys[i] or b"" for i in lost])

    async def _without_store(self, run: Run, rnd: Round, items: Sequence[int]) -> None:
        if items:
            run.upstream_decided.difference_update(items)
            run.decide(items, store_unavailable())
            await self._settler.settle(run, rnd, dict.fromkeys(items, Release()))


def _held(run: Run, rnd: Round, items: Sequence[int]) -> Sequence[int]:
    """Without those that were lost or let go, by this chunk's renewal or by another's."""
    fates, opened, keys = run.fates, rnd.open, run.store_keys
    return [i for i in items if fates[i] is None and (i in opened or keys[i] is None)]


def store_unavailable() -> Fate:
    return failed(
        Code.STORE_UNAVAILABLE,
        "the store did not answer, and this rule does not forward without it",
        retry_after_ms=1000,
    )
