"""The mutants of ``tests/model``, planted in the real code: each a small wrong substitute.

Most are the transition table with one mistake, in the place of the real one; ``hold and wait``
stands between the driver and its store. The names are the model's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from proxy.core.record import (
    Applied,
    Busy,
    ClaimReply,
    Commit,
    Done,
    Doubt,
    Extend,
    Held,
    Lost,
    MarkDoubt,
    Record,
    Release,
    Sent,
    Settlement,
    SettleReply,
    Terms,
    Won,
)
from proxy.errors import StoreUnavailable
from proxy.store.base import Store
from tests.sim.store import Real, Transitions
from tests.sim.world import Between

Claimed = tuple[Record | None, ClaimReply, int]
Settled = tuple[Record | None, SettleReply, int]
PAUSE: Final = 0.05
_real: Final = Real()


class Base:
    """The real table, for a mutant to differ from in one place."""

    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> Claimed:
        return _real.claim(record, fingerprint, token, terms, now)

    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        return _real.settle(record, step, token, terms, now)


class ExpiryAsLease(Base):
    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> Claimed:
        after, reply, ttl = super().claim(record, fingerprint, token, terms, now)
        return after, reply, min(ttl, terms.lease) if isinstance(after, Held) else ttl

    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        after, reply, ttl = super().settle(record, step, token, terms, now)
        return after, reply, min(ttl, terms.lease) if isinstance(after, Held) else ttl


class ReleaseOnUnknown(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(step, MarkDoubt):
            step = Release()
        return super().settle(record, step, token, terms, now)


class ReleaseOfASuspect(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(step, Release) and isinstance(record, Held) and record.token == token:
            return None, Applied(), terms.retention
        return super().settle(record, step, token, terms, now)


class NoOwnerCheck(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(record, Held) and isinstance(step, Sent | Extend | Release | MarkDoubt):
            token = record.token
        return super().settle(record, step, token, terms, now)


class CommitOnlyByOwner(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(step, Commit) and isinstance(record, Held) and record.token != token:
            return record, Lost(), 0
        return super().settle(record, step, token, terms, now)


class TakeoverWithoutDetection(Base):
    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> Claimed:
        if isinstance(record, Held | Doubt):
            terms = replace(terms, detects_duplicates=True)
        return super().claim(record, fingerprint, token, terms, now)


class LookupLicenses(Base):
    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> Claimed:
        after, reply, ttl = super().claim(record, fingerprint, token, terms, now)
        if isinstance(reply, Won):
            reply = replace(reply, forwardable=True)
        return after, reply, ttl


class UnsentDropsSuspect(Base):
    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> Claimed:
        if isinstance(record, Held) and record.barrier and not record.sent:
            record = replace(record, suspect=False, doubt_since=0)
        return super().claim(record, fingerprint, token, terms, now)


class LateCommitOverwrites(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(step, Commit) and isinstance(record, Done):
            record = None
        return super().settle(record, step, token, terms, now)


class BarrierIgnored(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        after, reply, ttl = super().settle(record, step, token, terms, now)
        return after, Applied() if isinstance(step, Sent) else reply, ttl


class DoubtOverwritesDone(Base):
    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(step, MarkDoubt) and isinstance(record, Done):
            return Doubt(now, 1, step.fingerprint), Applied(), terms.doubt_retention
        return super().settle(record, step, token, terms, now)


class OldDateKept(Base):
    """A second forward keeps the first one's date."""

    def claim(
        self, record: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms, now: int
    ) -> Claimed:
        if isinstance(record, Held) and record.suspect and record.sent and now >= record.deadline:
            record = Doubt(record.doubt_since, record.attempt, record.fingerprint)
        return super().claim(record, fingerprint, token, terms, now)

    def settle(
        self, record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
    ) -> Settled:
        if isinstance(step, MarkDoubt) and isinstance(record, Held) and record.suspect:
            record = replace(record, sent=False)
        return super().settle(record, step, token, terms, now)


class HoldAndWait:
    """Between the driver and its store: what was won waits, held, for what others hold."""

    def __init__(self, store: Store, wait: float) -> None:
        self._store = store
        self._wait = wait
        self.settle, self.read = store.settle, store.read
        self.probe, self.close = store.probe, store.close

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        replies = list(await self._store.claim(keys, fingerprints, token, terms))
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait
        while any(isinstance(r, Won) for r in replies) and loop.time() < end:
            busy = [i for i, reply in enumerate(replies) if isinstance(reply, Busy)]
            if not busy:
                break
            await asyncio.sleep(PAUSE)
            some = [keys[i] for i in busy], [fingerprints[i] for i in busy]
            for i, reply in zip(busy, await self._store.claim(*some, token, terms), strict=True):
                replies[i] = reply
        return replies


@dataclass(frozen=True, slots=True)
class Mutant:
    """``promises``: those that it may be seen to break first."""

    name: str
    promises: tuple[str, ...]
    table: Transitions | None = None
    between: Between | None = None


_ONE_EFFECT: Final = ("AtMostOneEffect", "AbsentMeansNothing", "OneLiveOwner")
_STAYS: Final = ("FirstAnswerStays", "DoneIsFinal", "SuccessIsRecorded")

MUTANTS: Final = (
    Mutant("expiry as lease", _ONE_EFFECT, ExpiryAsLease()),
    Mutant("release on unknown", _ONE_EFFECT, ReleaseOnUnknown()),
    Mutant("release of a suspect to absent", _ONE_EFFECT, ReleaseOfASuspect()),
    Mutant("no owner check", _ONE_EFFECT, NoOwnerCheck()),
    Mutant("hold and wait", ("NobodyWaitsHolding",), between=HoldAndWait),
    Mutant("commit only by owner", _STAYS, CommitOnlyByOwner()),
    Mutant("takeover without duplicate detection", _ONE_EFFECT, TakeoverWithoutDetection()),
    Mutant("a lookup licenses a second forward", _ONE_EFFECT, LookupLicenses()),
    Mutant("unsent takeover drops the suspect flag", _ONE_EFFECT, UnsentDropsSuspect()),
    Mutant("late commit overwrites", _STAYS, LateCommitOverwrites()),
    Mutant("forward though the barrier was refused", _ONE_EFFECT, BarrierIgnored()),
    Mutant("a doubt overwrites DONE", _STAYS, DoubtOverwritesDone()),
    Mutant("a second forward keeps the old date", _ONE_EFFECT, OldDateKept()),
)
