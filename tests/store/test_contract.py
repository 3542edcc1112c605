"""The contract of a store, over every store there is. The table itself is in core; here it is what
comes out of a whole store: order, expiry, concurrency, foreign values, odd lists."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from proxy.core.record import (
    LEEWAY,
    Applied,
    Busy,
    ClaimReply,
    Commit,
    Conflict,
    Done,
    Doubt,
    Extend,
    Foreign,
    Forget,
    Held,
    InDoubt,
    Lost,
    MarkDoubt,
    Mismatch,
    Release,
    Sent,
    Settlement,
    Stands,
    Terms,
    Won,
)
from tests.store.stands import PRINT, TERMS, Stand, keys, near, token

OTHER_PRINT = b"g" * 16
BLIND = replace(TERMS, detects_duplicates=False)
LOOKUP = replace(BLIND, has_lookup=True)
SETTLES = replace(LOOKUP, settles_within=5_000)
DAY, WEEK = 86_400_000, 7 * 86_400_000
LAPSE = TERMS.lease + 1_000


async def test_an_absent_key_is_won_once(stand: Stand) -> None:
    (key,) = keys(1)

    assert await stand.claim_one(key, token()) == Won(1)

    reply = await stand.claim_one(key, token())
    assert isinstance(reply, Busy)
    assert near(reply.left, TERMS.lease, above=500)


async def test_my_own_token_wins_again_with_its_flags(stand: Stand) -> None:
    (key,) = keys(1)
    me = token()
    await stand.claim_one(key, me, BLIND)
    await stand.settle_one(key, Sent(), me, BLIND)

    assert await stand.claim_one(key, me, BLIND) == Won(1)
    record = await stand.record(key)
    assert isinstance(record, Held)
    assert (record.sent, record.barrier) == (True, True)


async def test_a_committed_item_is_replayed_byte_for_byte(stand: Stand) -> None:
    results = [b"{}", b"", None, bytes(range(256)) * 256, b'{"id":18446744073709551615}']
    names = keys(len(results))
    me = token()
    await stand.store.claim(names, [PRINT] * len(names), me, TERMS)
    commits = [Commit(PRINT, 1_234 + n, result) for n, result in enumerate(results)]

    assert await stand.store.settle(names, commits, me, TERMS) == [Applied()] * len(names)

    replies = await stand.store.claim(names, [PRINT] * len(names), token(), TERMS)
    assert replies == [Done(me, 1_234 + n, PRINT, result) for n, result in enumerate(results)]
    assert await stand.store.read(names) == replies


async def test_another_content_is_a_mismatch_in_every_state(stand: Stand) -> None:
    held, doubt, done, unprinted = keys(4)
    me = token()
    await stand.store.claim([held, doubt, done, unprinted], [PRINT] * 4, me, TERMS)
    steps: list[Settlement] = [MarkDoubt(PRINT), Commit(PRINT, 1, b"{}"), Commit(None, 1, b"{}")]
    await stand.store.settle([doubt, done, unprinted], steps, me, TERMS)

    replies = await stand.store.claim(
        [held, doubt, done, unprinted], [OTHER_PRINT] * 4, token(), TERMS
    )

    assert replies == [Mismatch()] * 3 + [Done(me, 1, None, b"{}")]
    unprinted_claim = await stand.claim_one(done, token(), fingerprint=None)
    assert unprinted_claim == Done(me, 1, PRINT, b"{}")


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (TERMS, Won(2, suspect=True, forwardable=True)),
        (LOOKUP, Won(2, suspect=True, forwardable=False)),
        (SETTLES, Won(2, suspect=True, forwardable=False)),
        (BLIND, InDoubt(0)),
    ],
)
async def test_a_sent_claim_past_its_deadline_is_taken_over_as_a_suspect(
    stand: Stand, terms: Terms, expected: ClaimReply
) -> None:
    (key,) = keys(1)
    me = token()
    await stand.claim_one(key, me, terms)
    await stand.settle_one(key, Sent(), me, terms)
    await stand.pass_time([key], LAPSE)

    assert await stand.claim_one(key, token(), terms) == expected
    assert await stand.settle_one(key, Sent(), me, terms) == Lost()


async def test_an_unsent_claim_past_its_deadline_is_taken_over_safely(stand: Stand) -> None:
    (key,) = keys(1)
    await stand.claim_one(key, token(), BLIND)
    await stand.pass_time([key], LAPSE)

    assert await stand.claim_one(key, token(), BLIND) == Won(2)


async def test_without_a_barrier_an_unsent_claim_is_a_suspect(stand: Stand) -> None:
    (key,) = keys(1)
    await stand.claim_one(key, token())
    await stand.pass_time([key], LAPSE)

    assert await stand.claim_one(key, token()) == Won(2, suspect=True)


async def test_a_doubt_is_forwarded_only_when_it_has_settled(stand: Stand) -> None:
    (key,) = keys(1)
    me, next_one, last = token(), token(), token()
    await stand.claim_one(key, me, SETTLES)
    await stand.settle_one(key, Sent(), me, SETTLES)
    await stand.settle_one(key, MarkDoubt(PRINT), me, SETTLES)
    await stand.pass_time([key], 1_000)

    first = await stand.claim_one(key, next_one, SETTLES)
    assert isinstance(first, Won)
    assert (first.suspect, first.forwardable) == (True, False)

    # Neither this claim nor its doubt begins the doubt again.
    await stand.settle_one(key, MarkDoubt(PRINT), next_one, SETTLES)
    await stand.pass_time([key], 4_000)
    second = await stand.claim_one(key, last, SETTLES)
    assert isinstance(second, Won)
    assert (second.suspect, second.forwardable) == (True, True)
    assert second.doubt_age >= 5_000

    # But a forward of its own does: that call, too, may take effect for a while.
    await stand.settle_one(key, Sent(), last, SETTLES)
    await stand.settle_one(key, MarkDoubt(PRINT), last, SETTLES)
    third = await stand.claim_one(key, token(), SETTLES)
    assert isinstance(third, Won)
    assert (third.suspect, third.forwardable) == (True, False)


async def test_sent_and_extend_renew_only_what_is_mine(stand: Stand) -> None:
    mine, others, absent = keys(3)
    me = token()
    await stand.claim_one(mine, me, BLIND)
    await stand.claim_one(others, token(), BLIND)
    await stand.pass_time([mine, others], 20_000)

    for step in (Sent(), Extend()):
        replies = await stand.store.settle([mine, others, absent], [step] * 3, me, BLIND)
        assert replies == [Applied(), Lost(), Lost()]

    busy = await stand.claim_one(mine, token(), BLIND)
    assert isinstance(busy, Busy)
    assert near(busy.left, TERMS.lease)
    assert await stand.record(absent) is None


async def test_the_first_commit_stays_whoever_holds_the_key(stand: Stand) -> None:
    (key,) = keys(1)
    first, second = token(), token()
    await stand.claim_one(key, token())
    done = Done(first, 1, PRINT, b"1")

    assert await stand.settle_one(key, Commit(PRINT, 1, b"1"), first) == Applied()
    assert await stand.settle_one(key, Commit(PRINT, 1, b"1"), first) == Applied()
    assert await stand.settle_one(key, Commit(PRINT, 2, b"2"), second) == Stands(done)
    assert await stand.settle_one(key, Commit(None, 2, b"2"), second) == Stands(done)
    assert await stand.settle_one(key, Commit(OTHER_PRINT, 2, b"2"), second) == Conflict()
    assert await stand.record(key) == done


async def test_a_template_takes_one_real_result_and_keeps_its_time(stand: Stand) -> None:
    (key,) = keys(1)
    first, second = token(), token()
    await stand.settle_one(key, Commit(None, 1, b"{}", template=True), first)
    real = Done(second, 1, PRINT, b'{"id":1}')

    assert await stand.settle_one(key, Commit(PRINT, 2, None), second) == Stands(
        Done(first, 1, None, b"{}", template=True)
    )
    assert await stand.settle_one(key, Commit(PRINT, 2, b'{"id":1}'), second) == Stands(real)
    assert await stand.settle_one(key, Commit(PRINT, 2, b'{"id":1}'), second) == Stands(real)
    assert await stand.settle_one(key, Commit(PRINT, 3, b'{"id":2}'), token()) == Stands(real)
    assert await stand.record(key) == real


async def test_release_frees_a_claim_and_doubts_a_suspect(stand: Stand) -> None:
    fresh, suspect, others = keys(3)
    me = token()
    await stand.store.claim([fresh, suspect, others], [PRINT] * 3, token(), TERMS)
    await stand.pass_time([fresh, suspect], LAPSE)
    await stand.settle_one(fresh, Forget(), me)
    await stand.store.claim([fresh, suspect], [PRINT] * 2, me, TERMS)

    replies = await stand.store.settle([fresh, suspect, others], [Release()] * 3, me, TERMS)

    # Where time passes for the whole store, the others' claim lapsed too: it is still not mine.
    assert replies == [Applied(), Applied(), Lost()]
    assert await stand.record(fresh) is None
    assert isinstance(await stand.record(suspect), Doubt)
    assert isinstance(await stand.record(others), Held)


async def test_doubt_in_every_state(stand: Stand) -> None:
    mine, absent, others, done = keys(4)
    me = token()
    await stand.claim_one(mine, me)
    await stand.claim_one(others, token())
    await stand.settle_one(done, Commit(PRINT, 1, b"{}"), token())

    replies = await stand.store.settle(
        [mine, absent, others, done], [MarkDoubt(PRINT)] * 4, me, TERMS
    )

    assert replies == [Applied(), Applied(), Lost(), Lost()]
    records = await stand.store.read([mine, absent, others, done])
    assert [type(record) for record in records] == [Doubt, Doubt, Held, Done]
    held = records[2]
    assert isinstance(held, Held)
    assert held.suspect


async def test_forget_needs_force_for_what_is_done_or_live(stand: Stand) -> None:
    doubt, done, live, absent = keys(4)
    me = token()
    await stand.settle_one(doubt, MarkDoubt(None), me)
    await stand.settle_one(done, Commit(PRINT, 1, b"{}"), me)
    await stand.claim_one(live, token())

    gently = await stand.store.settle([doubt, done, live, absent], [Forget()] * 4, me, TERMS)
    by_force = await stand.store.settle([done, live], [Forget(force=True)] * 2, me, TERMS)

    assert gently == [Applied(), Lost(), Lost(), Applied()]
    assert by_force == [Applied(), Applied()]
    assert await stand.store.read([doubt, done, live, absent]) == [None] * 4


async def test_the_expiry_is_retention_and_never_the_lease(stand: Stand) -> None:
    for terms, kept in ((TERMS, DAY), (BLIND, WEEK)):
        held, doubt, done = keys(3)
        me = token()
        await stand.store.claim([held, doubt, done], [PRINT] * 3, me, terms)
        assert near(await stand.expires_in(held), kept + LEEWAY)
        await stand.store.settle(
            [doubt, done], [MarkDoubt(PRINT), Commit(PRINT, 1, b"{}")], me, terms
        )
        assert near(await stand.expires_in(doubt), kept + LEEWAY)
        assert near(await stand.expires_in(done), DAY, above=LEEWAY)


async def test_every_write_renews_the_expiry_and_a_read_does_not(stand: Stand) -> None:
    (key,) = keys(1)
    me = token()
    short = replace(TERMS, retention=100_000)
    await stand.claim_one(key, me, short)
    await stand.settle_one(key, Extend(), me, TERMS)
    assert near(await stand.expires_in(key), DAY + LEEWAY)

    await stand.settle_one(key, Commit(PRINT, 1, b"{}"), me, short)
    await stand.claim_one(key, token(), TERMS)
    await stand.settle_one(key, Commit(PRINT, 1, b"{}"), token(), TERMS)
    assert near(await stand.expires_in(key), 100_000)


@pytest.mark.parametrize("value", [b"\x02whatever", b"", b"\x01", b"\x01\x02short", b"{}"])
async def test_a_value_of_another_version_is_busy_and_never_overwritten(
    stand: Stand, value: bytes
) -> None:
    (key,) = keys(1)
    me = token()
    await stand.plant(key, value)

    assert await stand.claim_one(key, me) == Busy(TERMS.lease)
    steps: list[Settlement] = [
        *(Sent(), Extend(), Release(), MarkDoubt(PRINT), Commit(PRINT, 1, b"{}")),
        Forget(force=True),
    ]
    for step in steps:
        assert await stand.settle_one(key, step, me) == Lost()
    assert await stand.record(key) == Foreign()
    assert await stand.stored(key) in (value, None)  # memory keeps no bytes
