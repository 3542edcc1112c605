"""The time limit, the breaker and the metrics, over a store that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from proxy.core.record import (
    Applied,
    ClaimReply,
    Lost,
    Record,
    Settlement,
    SettleReply,
    Terms,
    Won,
)
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.store.base import ScannableStore, StoreInfo
from proxy.store.breaker import FAILURES, PAUSE, PAUSE_MAX, Breaker
from proxy.store.evalsha import SlotMoves
from proxy.store.guard import GuardedStore
from proxy.store.memory import MemoryStore
from proxy.store.replies import has_outage, sole
from tests.fakes.prompt import Prompt
from tests.store.stands import PRINT, TERMS, keys, token


def wrapped(store: MemoryStore) -> ScannableStore:
    """As it is, or one that can be asked without a task; the fixture chooses."""
    return store


@pytest.fixture(autouse=True, params=[wrapped, Prompt], ids=["awaited", "prompt"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "wrapped", request.param)


class Told(Observer):
    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def store_call(self, op: str, seconds: float, ok: bool) -> None:
        assert seconds >= 0
        self.calls.append((op, ok))


class Obedient(MemoryStore):
    """Hangs while ``hangs``, fails while ``down``."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.down = False
        self.reached = 0

    async def _obey(self) -> None:
        self.reached += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable("down")

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        await self._obey()
        return await super().claim(keys, fingerprints, token, terms)

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        await self._obey()
        return await super().settle(keys, steps, token, terms)

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        await self._obey()
        return await super().read(keys)

    async def probe(self) -> StoreInfo:
        await self._obey()
        return await super().probe()


async def one_claim(store: GuardedStore) -> object:
    (reply,) = await store.claim(keys(1), [PRINT], token(), TERMS)
    return reply


async def test_answers_go_through_and_are_counted() -> None:
    told = Told()
    store = GuardedStore(wrapped(Obedient()), 1.0, told)

    assert await one_claim(store) == Won(1)
    assert await store.settle([], [], token(), TERMS) == []
    assert await store.read(keys(1)) == [None]
    assert (await store.scan())[1]
    assert told.calls == [("claim", True), ("settle", True), ("read", True), ("scan", True)]
    assert (await store.probe()).kind == "memory"
    await store.close()


async def test_a_store_that_hangs_ends_within_the_timeout() -> None:
    told = Told()
    inner = Obedient()
    inner.hangs = True
    store = GuardedStore(wrapped(inner), 0.02, told)

    with pytest.raises(StoreUnavailable, match="in time"):
        await one_claim(store)
    with pytest.raises(StoreUnavailable, match="in time"):
        await store.probe()
    assert told.calls == [("claim", False)]


async def test_the_breaker_opens_and_a_trial_closes_it() -> None:
    told = Told()
    inner = Obedient()
    inner.down = True
    store = GuardedStore(wrapped(inner), 1.0, told)
    for _ in range(FAILURES):
        assert store.is_up
        with pytest.raises(StoreUnavailable, match="down"):
            await one_claim(store)
    assert not store.is_up

    with pytest.raises(StoreUnavailable, match="taken to be down"):
        await one_claim(store)
    assert inner.reached == FAILURES
    assert told.calls == [("claim", False)] * (FAILURES + 1)

    inner.down = False
    async with asyncio.timeout(10):
        while not store.is_up:
            try:
                await one_claim(store)
            except StoreUnavailable:
                await asyncio.sleep(PAUSE / 20)
    assert inner.reached == FAILURES + 1


async def test_a_probe_that_succeeds_closes_the_breaker() -> None:
    inner = Obedient()
    inner.down = True
    store = GuardedStore(wrapped(inner), 1.0, Observer())
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await one_claim(store)
    inner.down = False

    await store.probe()

    assert await one_claim(store) == Won(1)


async def test_a_caller_that_goes_away_says_nothing_of_the_store() -> None:
    inner = Obedient()
    inner.hangs = True
    store = GuardedStore(wrapped(inner), 5.0, Observer())
    for _ in range(FAILURES + 1):
        task = asyncio.create_task(one_claim(store))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert store.is_up


def opened_breaker() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.admit(0)
        breaker.failed(0)
    return breaker


def test_while_it_is_open_one_trial_at_a_time() -> None:
    breaker = opened_breaker()

    assert not breaker.admit(PAUSE - 0.001)
    assert breaker.admit(PAUSE)
    assert not breaker.admit(PAUSE)
    breaker.abandoned()
    assert breaker.admit(PAUSE)
    breaker.succeeded()
    assert all(breaker.admit(PAUSE) for _ in range(5))


def test_a_failed_trial_waits_longer_up_to_a_limit() -> None:
    breaker = opened_breaker()
    now, pauses = 0.0, []
    for _ in range(8):
        began = now
        while not breaker.admit(now):
            now += 0.125
        pauses.append(now - began)
        breaker.failed(now)

    assert pauses == [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert max(pauses) == PAUSE_MAX


def test_single_failures_between_successes_never_open_it() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.failed(0)
        breaker.succeeded()

    assert not breaker.is_open


class HalfDown(MemoryStore):
    """One of its two shards does not answer: every other key."""

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        replies = await super().claim(keys, fingerprints, token, terms)
        return [StoreUnavailable("shard") if i % 2 else r for i, r in enumerate(replies)]


async def test_a_shard_that_does_not_answer_is_an_error_and_opens_no_breaker() -> None:
    told = Told()
    store = GuardedStore(wrapped(HalfDown()), 1.0, told)
    for _ in range(FAILURES + 1):
        replies = await store.claim(keys(2), [PRINT] * 2, token(), TERMS)
        assert [isinstance(r, StoreUnavailable) for r in replies] == [False, True]
    assert told.calls == [("claim", False)] * (FAILURES + 1)
    assert store.is_up


class Late(MemoryStore):
    """Does what it is asked, and answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        replies = await super().claim(keys, fingerprints, token, terms)
        await self.may_answer.wait()
        return replies


async def test_a_reply_that_comes_when_nobody_waits_any_more_is_dropped() -> None:
    told, inner = Told(), Late()
    prompt = Prompt(inner)
    store = GuardedStore(prompt, 0.02, told)

    with pytest.raises(StoreUnavailable, match="in time"):
        await one_claim(store)
    inner.may_answer.set()
    await asyncio.gather(*prompt.asked)

    assert told.calls == [("claim", False)]
    assert await one_claim(store) == Won(1)
    assert told.calls[1:] == [("claim", True)]


@pytest.mark.parametrize("outage", [StoreUnavailable("away"), SlotMoves("between two nodes")])
@pytest.mark.parametrize("others", [0, 1, 3])
def test_an_outage_among_the_answers_is_seen_whatever_its_kind(
    outage: StoreUnavailable, others: int
) -> None:
    assert has_outage([*[Applied()] * others, outage])
    assert has_outage([outage, *[Lost()] * others])
    assert not has_outage([Applied(), Lost()][:others])


def test_the_sole_reply_is_one_object_and_no_likeness() -> None:
    one = Applied()
    assert sole([one] * 3) is one
    assert sole([one]) is one
    assert sole([]) is None
    assert sole([one, Lost(), one]) is None
    assert sole([Lost(), one]) is None
    numbers = [float("nan")] * 2
    assert sole(numbers) is numbers[0]
