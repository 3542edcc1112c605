"""The answer that is made ready while the store commits: what comes in between is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.core.record import Commit, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.store.memory import MemoryStore
from tests.fakes.prompt import Prompt
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import Response, gateway, post

ITEMS = 10
BODY = b'{"orders":[%b]}' % b",".join([b'{"id":"%d"}' % n for n in range(ITEMS)])
THEIRS = b'{"whose":"theirs"}'


async def ours(received: Received, _wire: Wire) -> bytes:
    results = b",".join([b'{"whose":"ours"}'] * received.body.count(b'"id"'))
    return ok(b'{"results":[%b]}' % results, "200 OK", "Content-Type: application/json")


class Committing(MemoryStore):
    """Commits a large batch when it is told to; ``theirs``: somebody else commits its first key
    before."""

    def __init__(self, *, theirs: bool = False) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self._theirs = theirs

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        if len(keys) < ITEMS:
            return await super().settle(keys, steps, token, terms)
        self.asked.set()
        await self.go.wait()
        if self._theirs:
            assert isinstance(steps[0], Commit)
            commit = Commit(steps[0].fingerprint, 1, THEIRS)
            await super().settle(keys[:1], [commit], b"other token.", terms)
        return await super().settle(keys, steps, token, terms)


async def answered(store: Committing, *, drains: bool = False) -> Response:
    async with (
        RawUpstream(ours) as upstream,
        gateway(upstream.url, store=Prompt(store)) as proxy,
        proxy.connect() as client,
    ):
        client.write(post(b'{"orders":[{"id":"first"}]}'))
        await client.response()  # from here on there is a connection to the service
        client.write(post(BODY))
        await store.asked.wait()
        if drains:
            proxy.lifecycle.stop()
        store.go.set()
        response = await client.response()
        if drains:
            assert await client.is_closed()
        assert proxy.server.requests_count == 0  # the short way
        return response


async def test_it_is_what_was_foreseen() -> None:
    response = await answered(Committing())
    assert response.body.count(b'"whose":"ours"') == ITEMS
    assert response.header("idempotency-items") == f"new={ITEMS}, replayed=0, failed=0"
    assert response.values("connection") == []


async def test_a_drain_that_begins_meanwhile_closes_the_connection() -> None:
    response = await answered(Committing(), drains=True)
    assert response.body.count(b'"whose":"ours"') == ITEMS
    assert response.values("connection") == ["close"]


async def test_what_the_commit_finds_is_answered() -> None:
    response = await answered(Committing(theirs=True))
    assert response.body.count(b'"whose":"theirs"') == 1
    assert response.body.count(b'"whose":"ours"') == ITEMS - 1
    assert response.header("idempotency-items") == f"new={ITEMS - 1}, replayed=1, failed=0"
