"""Large claims and commits as plain commands: what they do is what the scripts do, and where they
cannot know it is the scripts that do it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from proxy.core.codec import decode, encode
from proxy.core.record import (
    LEEWAY,
    Applied,
    Busy,
    Commit,
    Conflict,
    Done,
    Extend,
    Held,
    MarkDoubt,
    Mismatch,
    Record,
    Sent,
    Settlement,
    Stands,
    Terms,
    Won,
)
from proxy.errors import StoreUnavailable
from proxy.store.plain import PlainCalls
from tests.fakes.redis_server import RedisServer
from tests.store.stands import (
    PRINT,
    TERMS,
    RedisStand,
    is_plain,
    keys,
    near,
    opened,
    pipe_of,
    token,
)
from tests.store.test_redis_access import FEWEST_RIGHTS

pytestmark = pytest.mark.store

BLIND = replace(TERMS, detects_duplicates=False)
COMMIT = Commit(PRINT, 1, b'{"id":1}')
OTHER = b"g" * 16
PLAIN_RIGHTS = ("+multi", "+exec", "+eval", "+bitop", "+pttl")


@pytest.fixture
async def plain(redis_server: RedisServer) -> AsyncIterator[RedisStand]:
    made = await RedisStand.plain(redis_server)
    redis_server.command("CONFIG", "RESETSTAT")
    yield made
    await made.store.close()


def calls_of(server: RedisServer, command: str) -> int:
    """How often it was run since the statistics began."""
    stats = server.info(f"cmdstat_{command}") or "calls=0,"
    return int(stats.split(",")[0].removeprefix("calls="))


def clock(server: RedisServer) -> int:
    seconds, micros = server.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def commit(
    stand: RedisStand, names: Sequence[bytes], me: bytes, terms: Terms = TERMS
) -> list[object]:
    return list(await stand.store.settle(names, [COMMIT] * len(names), me, terms))


async def records(stand: RedisStand, names: Sequence[bytes]) -> list[object]:
    return list(await stand.store.read(names))


@pytest.mark.parametrize("terms", [TERMS, BLIND])
@pytest.mark.parametrize("count", [1, 2, 100, 512])
async def test_what_is_new_is_claimed_and_committed_without_a_script(
    plain: RedisStand, redis_server: RedisServer, terms: Terms, count: int
) -> None:
    names, me = keys(count), token()
    prints = [bytes([n % 251]) * 16 for n in range(count)]
    before = clock(redis_server)
    assert list(await plain.store.claim(names, prints, me, terms)) == [Won(1)] * count
    held = await records(plain, names)
    for record, fingerprint in zip(held, prints, strict=True):
        assert isinstance(record, Held)
        late = record.deadline - terms.lease - before
        assert 0 <= late < 5_000
        wanted = Held(me, 1, record.deadline, fingerprint, barrier=not terms.detects_duplicates)
        assert record == wanted
    for name in names:
        assert near(await plain.expires_in(name), terms.doubt_retention)

    steps = [Commit(p, 7, b'{"n":%d}' % n) for n, p in enumerate(prints)]
    assert list(await plain.store.settle(names, steps, me, terms)) == [Applied()] * count
    assert await records(plain, names) == [Done(me, 7, s.fingerprint, s.result) for s in steps]
    for name in names:
        left = await plain.expires_in(name)
        assert near(left, terms.retention, above=LEEWAY)
        assert left >= terms.retention - 5_000
    assert calls_of(redis_server, "evalsha") == 0
    assert calls_of(redis_server, "exec") == 1
    assert redis_server.command("KEYS", f"{names[0].decode()}?") == []  # nothing beside it


FOUND: list[tuple[Record | None, object]] = [
    (None, Won(1)),
    (Done(b"o" * 12, 5, PRINT, b"{}"), Done(b"o" * 12, 5, PRINT, b"{}")),
    (Done(b"o" * 12, 5, None, b"{}"), Done(b"o" * 12, 5, None, b"{}")),
    (Done(b"o" * 12, 5, PRINT, None), Done(b"o" * 12, 5, PRINT, None)),
    (Done(b"o" * 12, 5, OTHER, b"{}"), Mismatch()),
    (Held(b"o" * 12, 1, 2**41, OTHER), Mismatch()),
    (Held(b"o" * 12, 1, 1, PRINT), Won(2, suspect=True)),
    (Held(b"o" * 12, 3, 1, PRINT, barrier=True), Won(4)),
]


@pytest.mark.parametrize("found", [*([one] for one in FOUND), FOUND, FOUND[:2]])
async def test_a_claim_of_what_stands_is_answered_as_the_script_does(
    plain: RedisStand, found: list[tuple[Record | None, object]]
) -> None:
    names = keys(len(found))
    for name, (record, _) in zip(names, found, strict=True):
        if record is not None:
            await plain.plant(name, encode(record))  # type: ignore[arg-type]
    replies = list(await plain.store.claim(names, [PRINT] * len(names), token(), TERMS))
    assert replies == [wanted for _, wanted in found]


async def test_another_owner_is_waited_for(plain: RedisStand) -> None:
    names = keys(3)
    await plain.store.claim(names, [PRINT] * 3, token(), TERMS)
    for reply in await plain.store.claim(names, [PRINT] * 3, token(), TERMS):
        assert isinstance(reply, Busy)
        assert 0 < reply.left <= TERMS.lease + 500


async def test_where_the_last_ones_were_done_before_a_script_asks_for_the_next(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    """It costs less for what is done; where it finds something new, plain commands are back."""
    done, me = keys(3), token()
    await plain.store.claim(done, [PRINT] * 3, me, TERMS)
    await commit(plain, done, me)
    for _ in range(3):
        await plain.store.claim(done, [PRINT] * 3, token(), TERMS)
    assert calls_of(redis_server, "evalsha") == 2  # the first was not expected
    await plain.store.claim(keys(3), [PRINT] * 3, token(), TERMS)
    assert calls_of(redis_server, "evalsha") == 3
    await plain.store.claim(keys(3), [PRINT] * 3, token(), TERMS)
    assert calls_of(redis_server, "evalsha") == 3


async def test_a_commit_leaves_what_stands_and_its_expiry(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    """Each of those was done or put there by others in the meantime."""
    standing: list[tuple[Record | bytes, object]] = [
        (first := Done(b"o" * 12, 5, PRINT, b'"first"'), Stands(first)),
        (Done(b"o" * 12, 5, OTHER, b'"first"'), Conflict()),
        (b"\x02\x04 of a later version", None),
    ]
    for terms in (TERMS, replace(TERMS, retention=2 * TERMS.retention)):  # its own expiry, or not
        names, me = keys(6), token()
        await plain.store.claim(names, [PRINT] * 6, me, TERMS)
        for name, (record, _) in zip(names[1:4], standing, strict=True):
            value = record if isinstance(record, bytes) else encode(record)  # type: ignore[arg-type]
            redis_server.command("SET", name, value, "PX", 77_000_000)
        stood = [await plain.stored(name) for name in names[1:4]]

        first_reply, *replies, fifth, sixth = await commit(plain, names, me, terms)

        assert [first_reply, fifth, sixth] == [Applied()] * 3
        assert replies[:2] == [wanted for _, wanted in standing[:2]]
        assert [await plain.stored(name) for name in names[1:4]] == stood
        for name in names[1:4]:
            assert near(await plain.expires_in(name), 77_000_000)
        for name in (names[0], *names[4:]):
            assert near(await plain.expires_in(name), terms.retention, above=LEEWAY)
        assert redis_server.command("KEYS", f"{names[0].decode()}?") == []


async def test_a_commit_of_what_is_gone_is_written_with_an_expiry(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    names, me = keys(3), token()
    await plain.store.claim(names, [PRINT] * 3, me, TERMS)
    redis_server.command("DEL", names[1])
    assert await commit(plain, names, me) == [Applied()] * 3
    assert near(await plain.expires_in(names[1]), TERMS.retention, above=LEEWAY)
    redis_server.command("DEL", *names)
    assert await commit(plain, names, me) == [Applied()] * 3  # all of them
    for name in names:
        assert near(await plain.expires_in(name), TERMS.retention, above=LEEWAY)


@pytest.mark.parametrize("step", [Extend(), Sent()])
async def test_a_claim_that_was_extended_is_committed_by_the_script(
    plain: RedisStand, redis_server: RedisServer, step: Settlement
) -> None:
    names, me = keys(3), token()
    await plain.store.claim(names, [PRINT] * 3, me, BLIND)
    await plain.store.settle(names[:1], [step], me, BLIND)
    assert await commit(plain, names, me, BLIND) == [Applied()] * 3
    assert calls_of(redis_server, "exec") == 0


async def test_a_claim_that_was_changed_unknown_to_us_is_left_to_the_script(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    """Its deadline is a later one, so that its expiry may be another than we think."""
    names, me = keys(3), token()
    await plain.store.claim(names, [PRINT] * 3, me, TERMS)
    held = decode(await plain.stored(names[2]) or b"")
    assert isinstance(held, Held)
    later = encode(replace(held, deadline=held.deadline + 1))
    redis_server.command("SET", names[2], later, "PX", 1_000)
    assert await commit(plain, names, me) == [Applied()] * 3
    assert calls_of(redis_server, "exec") == 1
    for name in names:
        assert near(await plain.expires_in(name), TERMS.retention, above=LEEWAY)


async def test_a_commit_long_after_its_claim_renews_the_expiry(plain: RedisStand) -> None:
    names, me = keys(3), token()
    await plain.store.claim(names, [PRINT] * 3, me, TERMS)
    longer = replace(TERMS, retention=TERMS.retention + 3_600_000)
    assert await commit(plain, names, me, longer) == [Applied()] * 3
    for name in names:
        assert near(await plain.expires_in(name), longer.retention, above=LEEWAY)


async def test_whatever_is_no_commit_goes_by_the_script(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    names, me = keys(2), token()
    await plain.store.claim(names, [PRINT] * 2, me, TERMS)
    steps: list[Settlement] = [COMMIT, MarkDoubt(PRINT)]
    assert await plain.store.settle(names, steps, me, TERMS) == [Applied()] * 2
    assert calls_of(redis_server, "exec") == 0


async def test_a_key_that_stands_twice_has_one_result(plain: RedisStand) -> None:
    (name,), me = keys(1), token()
    replies = await plain.store.claim([name, name], [PRINT] * 2, me, TERMS)
    assert list(replies) == [Won(1), Won(1)]
    await plain.store.claim(keys(1), [PRINT], me, TERMS)  # known again, as one call
    steps = [COMMIT, replace(COMMIT, processed_at=2, result=b"2")]
    first, second = await plain.store.settle([name, name], steps, me, TERMS)
    assert (first, second) == (Applied(), Stands(Done(me, 1, PRINT, COMMIT.result)))


# ---- the server and the connection ----------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("missing", [None, *PLAIN_RIGHTS])
async def test_without_a_right_everything_goes_by_scripts(
    own_server: RedisServer, missing: str | None
) -> None:
    rights = [right for right in PLAIN_RIGHTS if right != missing]
    own_server.command("ACL", "SETUSER", "sidecar", "on", ">word", *FEWEST_RIGHTS, *rights)
    names, me = keys(100), token()
    async with opened(own_server.url, username="sidecar", password="word") as store:
        for _ in range(2):
            await store.read(keys(1))
            store.wake()
        await store.read(keys(1))
        assert list(await store.claim(names, [PRINT] * 100, me, TERMS)) == [Won(1)] * 100
        assert await store.settle(names, [COMMIT] * 100, me, TERMS) == [Applied()] * 100
    by_script = calls_of(own_server, "evalsha") > 0
    assert by_script == (missing is not None)
    assert own_server.command("KEYS", "*trial*") == []


@pytest.mark.process
async def test_without_memory_what_is_done_is_recorded_and_nothing_else(
    own_server: RedisServer,
) -> None:
    stand = await RedisStand.plain(own_server)
    names, me = keys(100), token()
    await stand.store.claim(names, [PRINT] * 100, me, TERMS)
    own_server.command("CONFIG", "SET", "maxmemory", 1)
    fresh = keys(2)
    asked = [*fresh, names[0]]
    *refused, busy = await stand.store.claim(asked, [PRINT] * 3, token(), TERMS)
    assert isinstance(busy, Busy)
    for reply in refused:
        assert isinstance(reply, StoreUnavailable)
        assert "out of memory" in str(reply)
    assert await commit(stand, names, me) == [Applied()] * 100
    assert await records(stand, fresh) == [None, None]
    assert all(isinstance(record, Done) for record in await records(stand, names))
    await stand.store.close()


async def test_a_connection_that_is_lost_says_nothing(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    names, me = keys(4), token()
    for call in (
        lambda: plain.store.claim(names, [PRINT] * 4, me, TERMS),
        lambda: plain.store.settle(names, [COMMIT] * 4, me, TERMS),
    ):
        await plain.store.read(names)
        plain.redis.wake()
        await plain.store.read(names)
        redis_server.command("CLIENT", "PAUSE", 200, "ALL")
        asked = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        assert is_plain(plain)
        pipe_of(plain.store)._transport.abort()
        replies = list(await asked)
        assert replies in ([Won(1)] * 4, [Applied()] * 4)
    assert await records(plain, names) == [Done(me, 1, PRINT, COMMIT.result)] * 4


async def test_a_server_that_does_not_answer_is_an_outage(redis_server: RedisServer) -> None:
    made = await RedisStand.plain(redis_server, timeout=0.1)
    redis_server.command("CLIENT", "PAUSE", 400, "ALL")
    names = keys(3)
    with pytest.raises(StoreUnavailable, match="in time"):
        await made.store.claim(names, [PRINT] * 3, token(), TERMS)
    await made.store.close()


async def test_another_connection_is_tried_anew(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    redis_server.command("CLIENT", "KILL", "TYPE", "normal")
    names, me = keys(2), token()
    assert list(await plain.store.claim(names, [PRINT] * 2, me, TERMS)) == [Won(1)] * 2
    assert not is_plain(plain)
    plain.redis.wake()
    await plain.store.read(names)
    assert is_plain(plain)


async def test_a_clock_that_was_not_heard_for_long_is_not_gone_by(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    ground = plain.redis._plain._ground
    assert ground is not None
    ground._asked -= 10
    assert list(await plain.store.claim(keys(2), [PRINT] * 2, token(), TERMS)) == [Won(1)] * 2
    assert calls_of(redis_server, "evalsha") == 1
    assert is_plain(plain)  # it was asked for at once
    ground._heard += 1  # it took a second to be heard
    assert not is_plain(plain)


async def test_a_server_that_was_idle_is_woken_by_a_call_that_does_nothing(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    pipe = pipe_of(plain.store)
    plain.redis.wake()  # it was just asked
    assert not pipe._waiting
    pipe._last -= 1.0
    plain.redis.wake()
    plain.redis.wake()  # that is enough
    assert len(pipe._waiting) == 1
    assert await records(plain, keys(1)) == [None]  # its own reply, and not the first
    assert calls_of(redis_server, "ping") == 1


async def test_nothing_is_woken_that_was_not_connected(redis_server: RedisServer) -> None:
    made = RedisStand(redis_server)
    made.redis.wake()
    assert made.redis._plain._ground is None
    await made.store.close()


async def test_a_guard_that_fails_is_told_and_never_trusted_again(
    plain: RedisStand, caplog: pytest.LogCaptureFixture
) -> None:
    calls: PlainCalls = plain.redis._plain
    with caplog.at_level(logging.ERROR):
        ends = [38, ValueError("odd"), b"OK", b"OK", 0]
        assert calls._judge_commits([COMMIT] * 2, [b"OK", *[b"QUEUED"] * 5, ends]) == [None, None]
    assert "guard failed" in caplog.text
    assert not is_plain(plain)
