"""What only the embedded store has: a cap, and expiry by its own hand."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from proxy.core.record import LEEWAY, Applied, Commit, Done, MarkDoubt, Release, Settlement, Won
from proxy.errors import StoreUnavailable
from proxy.store.memory import ENTRY_OVERHEAD, MemoryStore
from tests.store.stands import PRINT, TERMS, keys, token

DAY = TERMS.retention


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


async def test_a_record_ends_with_its_expiry_and_not_before() -> None:
    clock = Clock()
    store = MemoryStore(now_ms=clock)
    (key,) = keys(1)
    await store.settle([key], [Commit(PRINT, 1, b"{}")], token(), TERMS)

    clock.now = DAY - 1
    assert await store.read([key]) != [None]
    clock.now = DAY
    assert await store.read([key]) == [None]
    assert (len(store), store.bytes_used) == (0, 0)


async def test_a_renewed_record_outlives_its_first_expiry() -> None:
    clock = Clock()
    store = MemoryStore(now_ms=clock)
    (key,) = keys(1)
    me = token()
    await store.claim([key], [PRINT], me, TERMS)
    clock.now = DAY - 1
    await store.settle([key], [Commit(PRINT, 1, b"{}")], me, TERMS)

    clock.now = DAY + 5
    assert await store.read([key]) != [None]
    clock.now = 2 * DAY
    assert await store.read([key]) == [None]


async def test_a_commit_can_end_earlier_than_the_claim_would_have() -> None:
    clock = Clock()
    store = MemoryStore(now_ms=clock)
    (key,) = keys(1)
    me = token()
    blind = replace(TERMS, detects_duplicates=False)  # a claim is kept for a week
    await store.claim([key], [PRINT], me, blind)
    await store.settle([key], [Commit(PRINT, 1, b"{}")], me, blind)

    clock.now = DAY
    assert await store.read([key]) == [None]


async def test_claims_and_releases_leave_nothing_behind() -> None:
    store = MemoryStore(now_ms=Clock())
    (key,) = keys(1)
    for _ in range(5_000):
        me = token()
        assert await store.claim([key], [PRINT], me, TERMS) == [Won(1)]
        assert await store.settle([key], [Release()], me, TERMS) == [Applied()]

    assert (len(store), store.bytes_used) == (0, 0)
    assert len(store._expiries) < 2_000


async def test_what_it_counts_is_what_it_holds() -> None:
    store = MemoryStore(now_ms=Clock())
    one, other = keys(2)
    me = token()
    await store.claim([one, other], [PRINT] * 2, me, TERMS)
    steps: list[Settlement] = [Commit(None, 1, b"x" * 100, template=True), MarkDoubt(PRINT)]
    await store.settle([one, other], steps, me, TERMS)
    await store.settle([one], [Commit(PRINT, 1, b"x" * 70)], token(), TERMS)

    assert store.bytes_used == 2 * (ENTRY_OVERHEAD + len(one)) + 70


async def test_full_is_an_outage_for_claims_and_never_for_settlements() -> None:
    clock = Clock()
    done, held, fresh = keys(3)
    store = MemoryStore(max_bytes=2 * (ENTRY_OVERHEAD + len(done)) + 10, now_ms=clock)
    me = token()
    await store.claim([done, held], [PRINT] * 2, me, TERMS)
    await store.settle([done], [Commit(PRINT, 1, b"x" * 10)], me, TERMS)

    replies = await store.claim([done, fresh, held], [PRINT] * 3, me, TERMS)
    assert isinstance(replies[0], Done)
    assert isinstance(replies[1], StoreUnavailable)
    assert replies[2] == Won(1)
    with pytest.raises(StoreUnavailable, match="full"):
        await store.claim([fresh], [PRINT], token(), TERMS)
    steps: list[Settlement] = [Commit(PRINT, 1, b"y" * 10_000), MarkDoubt(PRINT)]
    assert await store.settle([held, fresh], steps, me, TERMS) == [Applied()] * 2

    clock.now = DAY + LEEWAY
    assert await store.claim([fresh], [PRINT], token(), TERMS) == [Won(1)]


async def test_a_scan_finds_what_stays_while_others_come_and_go() -> None:
    store = MemoryStore(now_ms=Clock())
    staying, leaving = keys(30), keys(30)
    me = token()
    for pair in zip(leaving, staying, strict=True):
        await store.claim(pair, [PRINT] * 2, me, TERMS)
    found: list[bytes] = []
    cursor = "0"
    while cursor:
        cursor, page = await store.scan(cursor, 7)
        found += page
        if leaving:
            gone = [leaving.pop(0) for _ in range(min(6, len(leaving)))]
            await store.settle(gone, [Release()] * len(gone), me, TERMS)

    assert set(staying) <= set(found)
    assert len(found) == len(set(found))
