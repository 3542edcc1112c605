"""The answer that is rendered while the store commits: used where nothing changes, else not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.core.delivery import Delivery
from proxy.core.fate import Code, failed, new, replayed
from proxy.core.record import Commit, Settlement, SettleReply, Terms
from proxy.core.upstream import Reply
from proxy.errors import StoreUnavailable
from proxy.preparing import terms_of
from proxy.run import Run
from proxy.stitch import draft, stitch
from proxy.store.memory import MemoryStore
from tests.fakes.rig import Rig, items, make_rule
from tests.fakes.virtual import virtual

MANY = 12
NOW = 1_700_000_000_000


class Preempted(MemoryStore):
    """Somebody else commits the first key of each delivery just before."""

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        assert isinstance(steps[0], Commit)
        await asyncio.sleep(0)  # a turn of the loop, in which the draft is made
        theirs = Commit(steps[0].fingerprint, NOW, b'{"key": 0, "id": "theirs"}')
        await super().settle(keys[:1], [theirs], b"other token.", terms)
        return await super().settle(keys, steps, token, terms)


@virtual
async def test_what_the_commit_finds_is_answered_and_not_the_draft() -> None:
    rig = Rig(store=Preempted())
    sent = await rig.send(items(*range(MANY)))
    assert sent.results[0]["id"] == "theirs"
    assert sent.replays == [True] + [False] * (MANY - 1)


def accepted_run(rig: Rig) -> Run:
    exchange = rig.exchange(items("a", "b"))
    loop = asyncio.new_event_loop()
    loop.close()  # nothing waits here
    run = Run(exchange, terms_of(rig.rule), loop, lambda: 0.0)
    run.course.note(Delivery.ACCEPTED, Reply(200, (), b'{"results":[]}'))
    return run


def test_a_draft_is_the_answer_where_nothing_changes() -> None:
    run = accepted_run(Rig())
    run.fates[:] = [new(b'{"id":1}', NOW), new(b'{"id":2}', NOW)]
    draft(run)
    assert run.draft is not None
    assert stitch(run)[0] is run.draft.answer


def test_a_fate_that_changes_is_answered() -> None:
    run = accepted_run(Rig())
    run.fates[:] = [new(b'{"id":1}', NOW), new(b'{"id":2}', NOW)]
    draft(run)
    run.fates[1] = replayed(b'{"id":3}', NOW)
    body = stitch(run)[0].body
    assert b'"id":3' in body
    assert b'"id":2' not in body


def test_a_call_that_ends_later_is_in_the_answer() -> None:
    run = accepted_run(Rig(make_rule(response__partial_status="upstream")))
    run.fates[:] = [new(b'{"id":1}', NOW), failed(Code.UPSTREAM_FAILED, "no")]
    draft(run)
    assert stitch(run)[0].status == 200
    run.course.note(Delivery.REJECTED, Reply(409, (), b""))
    assert stitch(run)[0].status == 409


def test_nothing_is_drafted_before_all_is_decided() -> None:
    run = accepted_run(Rig())
    run.fates[0] = new(b'{"id":1}', NOW)
    draft(run)
    assert run.draft is None
