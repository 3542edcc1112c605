"""The contract of a store, over every store: long lists, callers at once, scan and probe."""

from __future__ import annotations

import asyncio
import random

import pytest
from msgspec.structs import replace

from proxy.core.record import (
    Applied,
    Busy,
    Commit,
    Done,
    Doubt,
    Extend,
    Held,
    Lost,
    MarkDoubt,
    Release,
    Sent,
    Settlement,
    Stands,
    Won,
)
from tests.store.stands import PRINT, TERMS, MemoryStand, Stand, keys, near, token

BLIND = replace(TERMS, detects_duplicates=False)
LOOKUP = replace(BLIND, has_lookup=True)
SETTLES = replace(LOOKUP, settles_within=5_000)


async def test_a_long_mixed_list_is_answered_position_by_position(stand: Stand) -> None:
    count = 1_300  # more than one script call
    names = keys(count)
    me = token()
    fingerprints = [None if n % 7 == 0 else bytes([n % 251]) * 16 for n in range(count)]
    assert await stand.store.claim(names, fingerprints, me, TERMS) == [Won(1)] * count

    def step(n: int) -> Settlement:
        commit = Commit(fingerprints[n], n, b"%d" % n, template=n % 10 == 0)
        return (commit, Release(), MarkDoubt(fingerprints[n]), Extend(), Sent())[n % 5]

    replies = await stand.store.settle(names, [step(n) for n in range(count)], me, TERMS)
    assert replies == [Applied()] * count
    for n, record in enumerate(await stand.store.read(names)):
        if n % 5 == 0:
            assert record == Done(me, n, fingerprints[n], b"%d" % n, n % 10 == 0)
        elif n % 5 == 1:
            assert record is None
        elif n % 5 == 2:
            assert isinstance(record, Doubt)
            assert record.fingerprint == fingerprints[n]
        else:
            assert isinstance(record, Held)
            assert (record.fingerprint, record.sent) == (fingerprints[n], n % 5 == 4)


async def test_a_key_that_stands_twice_is_done_in_order(stand: Stand) -> None:
    (key,) = keys(1)
    me = token()

    assert await stand.store.claim([key, key], [PRINT] * 2, me, TERMS) == [Won(1)] * 2
    replies = await stand.store.settle([key] * 3, [Release(), Release(), Sent()], me, TERMS)
    assert replies == [Applied(), Lost(), Lost()]


@pytest.mark.parametrize("place", range(6))
async def test_the_first_that_is_not_free_may_stand_anywhere(stand: Stand, place: int) -> None:
    """Keys in front of it and behind it are asked in different ways."""
    names = keys(6)
    done, busy = names[place], names[(place + 3) % 6]
    first, me = token(), token()
    await stand.store.claim([done, busy], [PRINT] * 2, first, TERMS)
    await stand.store.settle([done], [Commit(PRINT, 1, b"{}")], first, TERMS)

    twice = [*names, *names]
    replies = await stand.store.claim(twice, [PRINT] * 12, me, TERMS)

    for name, reply in zip(twice, replies, strict=True):
        if name == done:
            assert reply == Done(first, 1, PRINT, b"{}")
        elif name == busy:
            assert isinstance(reply, Busy)
        else:
            assert reply == Won(1)
    won = [name for name in names if name not in (done, busy)]
    steps = [Commit(PRINT, 2, b"%d" % n) for n in range(4)]
    assert await stand.store.settle(won, steps, me, TERMS) == [Applied()] * 4
    assert await stand.store.settle([*won, busy], [Sent()] * 5, me, TERMS) == [Lost()] * 5


async def test_an_empty_list_is_answered_with_one(stand: Stand) -> None:
    assert await stand.store.claim([], [], token(), TERMS) == []
    assert await stand.store.settle([], [], token(), TERMS) == []
    assert await stand.store.read([]) == []


async def test_of_many_claimers_at_once_one_wins_each_key(stand: Stand) -> None:
    names = keys(40)
    seen: dict[bytes, list[bytes]] = {name: [] for name in names}

    async def claimer(seed: int) -> None:
        me = token()
        mine = random.Random(seed).sample(names, 1 + seed % 40)
        replies = await stand.store.claim(mine, [PRINT] * len(mine), me, TERMS)
        for name, reply in zip(mine, replies, strict=True):
            if isinstance(reply, Won):
                seen[name].append(me)
            else:
                assert isinstance(reply, Busy)

    await asyncio.gather(*(claimer(seed) for seed in range(120)))

    assert all(len(winners) == 1 for winners in seen.values())


async def test_of_many_committers_at_once_the_first_answers_all(stand: Stand) -> None:
    (key,) = keys(1)

    async def committer(n: int) -> Done:
        me = token()
        reply = await stand.settle_one(key, Commit(PRINT, n, b"%d" % n), me)
        return reply.record if isinstance(reply, Stands) else Done(me, n, PRINT, b"%d" % n)

    answers = await asyncio.gather(*(committer(n) for n in range(100)))

    assert len(set(answers)) == 1


async def test_requests_with_other_terms_can_be_made_at_once(stand: Stand) -> None:
    """They may share one call: each keeps its own token, lease, expiry and rules."""
    names = keys(30)
    all_terms = (TERMS, BLIND, LOOKUP, SETTLES, replace(TERMS, lease=90_000, retention=200_000))
    owners = [token() for _ in names]
    await asyncio.gather(
        *(
            stand.claim_one(name, owner, all_terms[n % 5], None if n % 3 else PRINT)
            for n, (name, owner) in enumerate(zip(names, owners, strict=True))
        )
    )

    for n, (name, owner) in enumerate(zip(names, owners, strict=True)):
        terms = all_terms[n % 5]
        record = await stand.record(name)
        assert isinstance(record, Held)
        assert (record.token, record.barrier) == (owner, not terms.detects_duplicates)
        assert record.fingerprint == (None if n % 3 else PRINT)
        assert near(await stand.expires_in(name), terms.doubt_retention)


async def test_every_key_is_found_by_a_scan(stand: Stand) -> None:
    names = keys(300)
    await stand.store.claim(names, [PRINT] * 300, token(), TERMS)

    found: set[bytes] = set()
    cursor, pages = "", 0
    while pages == 0 or cursor:
        cursor, page = await stand.store.scan(cursor, 50)
        found.update(page)
        pages += 1

    assert found >= set(names)
    assert pages > 1


async def test_the_probe_says_what_is_there(stand: Stand) -> None:
    info = await stand.store.probe()

    assert info.kind in {"memory", "standalone", "cluster"}
    assert info.facts
    if isinstance(stand, MemoryStand):
        assert "lost when the process ends" in info.warnings[0]
    else:
        assert info.facts["version"].startswith(("Redis 7", "Redis 8", "Valkey"))
        assert info.facts["eviction"] == "noeviction"


async def test_close_is_idempotent(stand: Stand) -> None:
    await stand.claim_one(keys(1)[0], token())

    await stand.store.close()
    await stand.store.close()
