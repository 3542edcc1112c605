"""The straight way: no task where nothing comes in between, and every way out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from proxy.core.record import Settlement, Terms
from proxy.core.upstream import Call, NoReply, Reply
from proxy.errors import StoreUnavailable
from proxy.exchange import Answer
from proxy.flow import Flow
from proxy.store.base import Settles
from proxy.store.memory import MemoryStore
from proxy.store.receive import Receiver
from tests.fakes.prompt import Prompt, PromptUpstream
from tests.fakes.rig import Rig, items, make_rule
from tests.fakes.service import Service

NEW = [False] * 12
KEYS = [f"k{n}" for n in range(12)]


class Seams(Prompt):
    """Of one rig: its store and its service; ``broken`` is raised in place of settling."""

    broken: BaseException | None = None
    settles_promptly = True

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool:
        if self.broken is not None:
            broken, self.broken = self.broken, None
            asyncio.get_running_loop().call_soon(to.set_exception, broken)
            return True
        return self.settles_promptly and super().ask_settle(keys, steps, token, terms, to)


class Stand:
    def __init__(self, **changes: object) -> None:
        self.rig = Rig(make_rule(**changes))
        self.store = Seams(MemoryStore())
        self.upstream = PromptUpstream(self.rig.service)
        self.flow = Flow(
            self.store,
            self.upstream,
            self.rig.keys,
            self.rig.seen,
            now_ms=lambda: self.rig.now,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        self.tasks = 0
        start = self.flow._way.start

        def counted(*work: object) -> None:
            self.tasks += 1
            start(*work)  # type: ignore[arg-type]

        self.flow._way.start = counted

    @property
    def service(self) -> Service:
        return self.rig.service

    async def send(self, *keys: str, **values: str) -> Answer:
        return await self.flow.handle(self.rig.exchange(items(*keys, **values)))

    def held(self) -> int:
        return len(self.flow._rounds._waiting._held)


def rows(answer: Answer) -> list[bool]:
    """Whether each item is a replay."""
    return [row["isIdempotent"] for row in orjson.loads(answer.body)["results"]]


async def test_a_batch_that_goes_straight_needs_no_task() -> None:
    stand = Stand()
    first = await stand.send(*KEYS)
    again = await stand.send(*KEYS)
    assert (first.status, again.status, stand.tasks) == (201, 200, 0)
    assert rows(first) == NEW
    assert rows(again) == [True] * 12
    assert len(stand.service.calls) == 1
    assert stand.held() == stand.flow.under_way == stand.rig.seen.flying == 0
    assert [r.result for r in stand.rig.seen.reports] == ["success", "success"]
    assert stand.rig.seen.counts["call", "batch", "accepted"] == 1
    assert stand.store.woken == 1  # before the outcome of the one call was recorded


async def test_a_part_that_was_done_before() -> None:
    stand = Stand()
    await stand.send("a")
    answer = await stand.send("a", "b")
    assert (rows(answer), stand.tasks) == ([True, False], 1)
    assert stand.held() == 0


async def test_an_item_that_is_rejected() -> None:
    stand = Stand()
    answer = await stand.send("a", "b", "c", b="bad")
    assert (answer.status, stand.tasks) == (200, 1)
    assert rows(answer) == [False] * 3
    assert answer.body.count(b"UPSTREAM_REJECTED") == 1
    assert stand.rig.seen.counts["call", "batch", "rejected"] == 1
    assert [rows(await stand.send(key)) for key in ("a", "c")] == [[True], [True]]
    assert stand.held() == stand.flow.under_way == stand.rig.seen.flying == 0


async def test_a_service_that_cannot_be_called_without_a_task() -> None:
    stand = Stand()
    stand.upstream._is_prompt = lambda: False
    answer = await stand.send(*KEYS)
    assert (rows(answer), stand.tasks, stand.upstream.asked) == (NEW, 1, [])


async def test_a_store_that_cannot_be_told_without_a_task() -> None:
    stand = Stand()
    stand.store.settles_promptly = False
    answer = await stand.send(*KEYS)
    assert (rows(answer), stand.tasks) == (NEW, 1)
    assert rows(await stand.send(*KEYS)) == [True] * 12
    assert stand.held() == 0


async def test_an_outcome_that_the_store_does_not_take_is_queued() -> None:
    stand = Stand()
    stand.store.broken = StoreUnavailable("away")
    answer = await stand.send(*KEYS)
    assert (answer.status, rows(answer), stand.tasks) == (201, NEW, 0)
    assert max(stand.rig.seen.backlog_sizes) == 12
    assert await stand.flow.drain(5.0)
    assert rows(await stand.send(*KEYS)) == [True] * 12
    assert len(stand.service.calls) == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError()])
async def test_what_fails_inside_is_told_and_holds_nothing(error: BaseException) -> None:
    stand = Stand()
    stand.store.broken = error
    with pytest.raises(type(error)):
        await stand.send(*KEYS)
    assert await stand.flow.drain(5.0)
    assert stand.held() == stand.flow.under_way == stand.rig.seen.flying == 0


async def test_the_deadline_answers_for_what_is_under_way() -> None:
    stand = Stand(deadline="100ms", upstream__timeout="5s")
    go = asyncio.Event()
    call = stand.service.call

    class Slow(PromptUpstream):
        async def call(self, asked: Call, timeout: float) -> Reply | NoReply:
            await go.wait()
            return await call(asked, timeout)

    slow = Slow(stand.service)
    slow.upstream = slow  # what is asked goes by its own call
    stand.flow._way.forwarder._prompt = slow  # type: ignore[assignment]
    answer = await stand.send("a", "b")
    assert answer.body.count(b"OUTCOME_UNKNOWN") == 2
    assert stand.flow.under_way == 1
    go.set()
    assert await stand.flow.drain(5.0)
    assert stand.held() == stand.rig.seen.flying == 0
    assert rows(await stand.send("a", "b")) == [True, True]


async def test_lookups_and_templates_go_their_own_way() -> None:
    stand = Stand(
        response={"align": "lookup", "results": "/results"},
        upstream__lookup={"method": "GET", "path": "/items?key={key}", "result": "/item"},
    )
    answer = await stand.send("a", "b")
    assert (answer.status, stand.tasks) == (201, 1)
