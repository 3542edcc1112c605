"""Batches that are answered past the library's request loop: the same answers, and every way out.

``requests_count`` is what the library's loop has handled: 0 where all went the short way.
"""

from __future__ import annotations

import asyncio

import pytest

from rules.load import parse_rules
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import RULE, Client, Response, gateway, get, post, until

BODY = b'{"orders":[{"id":"a"},{"id":"b"}]}'
TEN = b'{"orders":[%b]}' % b",".join([b'{"id":"%d"}' % n for n in range(10)])
OTHER = b'{"orders":[{"id":"c"},{"id":"a"}]}'


async def echo(received: Received, _wire: Wire) -> bytes:
    """One result an item."""
    results = b",".join([b'{"ok":1.0}'] * received.body.count(b'"id"'))
    return ok(b'{"results":[%b]}' % results, "200 OK", "Content-Type: application/json")


class Held:
    """A service that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, received: Received, wire: Wire) -> bytes:
        self.asked.set()
        await self.go.wait()
        return await echo(received, wire)


def shown(response: Response) -> tuple[object, ...]:
    """What must be the same whichever way was taken."""
    own = {"date", "x-request-id"}
    lines = [(n, v) for n, v in response.headers if n.lower() not in own]
    body = response.body
    for identity in response.values("x-request-id"):
        body = body.replace(identity.encode(), b"its id")
    return response.status, lines, body, response.framing


REQUESTS = {
    "new": post(BODY),
    "a part was done before": post(OTHER),
    "new, and enough for the answer to be foreseen": post(TEN),
    "its own request id": post(BODY, "X-Request-Id: mine"),
    "two hosts": post(BODY, "Host: b.example"),
    "no tenant": post(BODY).replace(b"X-Tenant: t\r\n", b""),
    "not JSON": post(b'{"orders":'),
    "too many items": post(b'{"orders":[%b]}' % b",".join([b'{"id":1}'] * 11)),
    "too large": post(b'{"orders":[' + b" " * 65_600 + b"]}"),
    "empty": post(b""),
    "no items": post(b'{"orders":[]}'),
    "an Expect": post(BODY, "Expect: 100-continue"),
    "another Expect": post(BODY, "Expect: miracles"),
    "a coding": post(BODY, "Content-Encoding: nonsense"),
    "an Upgrade": post(BODY, "Connection: upgrade", "Upgrade: websocket"),
    "HTTP/1.0": post(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "Connection: close": post(BODY, "Connection: close"),
    "an absolute target": post(BODY, path="http://api.example/orders/batch"),
    "another path": post(BODY, path="/orders"),
    "a query": post(BODY, path="/orders/batch?x=%41"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=list(REQUESTS))
async def test_both_ways_answer_alike(request_: bytes) -> None:
    answers, forwarded = [], []
    for short in (True, False):
        async with RawUpstream(echo) as upstream, gateway(upstream.url, short=short) as proxy:
            await proxy.ask(post(b'{"orders":[{"id":"a"}]}'))
            answers.append(shown(await proxy.ask(request_)))
            own = {"x-request-id", "x-forwarded-for"}
            forwarded.append(
                [
                    (r.line, [h for h in r.headers if h[0].lower() not in own], r.body)
                    for r in upstream.received
                ]
            )
    assert answers[0] == answers[1]
    assert forwarded[0] == forwarded[1]


async def test_a_plain_batch_does_not_wake_the_loop() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            for _ in range(3):
                client.write(post(BODY))
                assert (await client.response()).status == 200
            assert proxy.server.requests_count == 0
            client.write(get("/x"))
            assert (await client.response()).status == 200
            assert proxy.server.requests_count == 1
            client.write(post(BODY))
            assert (await client.response()).header("idempotent-replayed") == "true"
        assert proxy.server.requests_count == 1
        assert proxy.app.buffered == 0
        assert proxy.lifecycle.in_flight == 0


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=list(REQUESTS))
async def test_a_head_that_is_known_changes_nothing(request_: bytes) -> None:
    """Behind two batches with one head on the same connection, and twice."""
    answers, forwarded = [], []
    for short in (True, False):
        async with RawUpstream(echo) as upstream, gateway(upstream.url, short=short) as proxy:
            seen = []
            async with proxy.connect() as client:
                for each in (post(b'{"orders":[{"id":"a"}]}'), post(OTHER), request_, request_):
                    client.write(each)
                    response = await client.response()
                    seen.append(shown(response))
                    if response.values("connection") == ["close"]:
                        break
            answers.append(seen)
            own = {"x-request-id", "x-forwarded-for"}
            forwarded.append(
                [
                    (r.line, [h for h in r.headers if h[0].lower() not in own], r.body)
                    for r in upstream.received
                ]
            )
    assert answers[0] == answers[1]
    assert forwarded[0] == forwarded[1]


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("X-Request-Id: mine",),
        ("x-request-ID: mine",),
        ("X-Request-Id: not one",),
        ("X-Note: X-Request-Id: mine", "X-Note: Content-Length: 7"),
        ("Content-Digest: sha-256=:AAAA:",),
        ("Idempotency-Key: k-1",),
        ("X-Name: \u00e9",),
    ],
    ids=["plain", "own id", "its case", "bad id", "odd values", "digest", "key", "latin-1"],
)
async def test_whole_batches_behind_a_known_head_are_forwarded_alike(
    lines: tuple[str, ...],
) -> None:
    """Each with its own id and length, all else as the first one's."""
    forwarded: list[list[tuple[object, ...]]] = []
    for short in (True, False):
        async with RawUpstream(echo) as upstream, gateway(upstream.url, short=short) as proxy:
            async with proxy.connect() as client:
                for orders in ('{"id":"a"}', '{"id":"b"},{"id":"c"}', '{"id":"%s"}' % ("d" * 99)):
                    client.write(post(b'{"orders":[%b]}' % orders.encode(), *lines))
                    response = await client.response()
                    assert response.status == 200
                    (identity,) = response.values("x-request-id")
                    assert upstream.received[-1].values("x-request-id") == [identity]
            assert proxy.server.requests_count == (0 if short else 3)
        seen: list[tuple[object, ...]] = []
        for received in upstream.received:
            peer = {"x-forwarded-for", "x-request-id"}
            headers = [(n, v if n.lower() not in peer else "") for n, v in received.headers]
            seen.append((received.line, headers, received.body))
        forwarded.append(seen)
    assert forwarded[0] == forwarded[1]
    assert len(forwarded[0]) == 3


@pytest.mark.parametrize(
    ("lines", "kept"),
    [((), False), (("X-Request-Id: mine",), True), (("X-Request-Id: not one",), False)],
    ids=["none", "its own", "a bad one"],
)
async def test_each_request_has_its_id(lines: tuple[str, ...], kept: bool) -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        told = []
        async with proxy.connect() as client:
            for item in ("a", "b", "c"):
                client.write(post(b'{"orders":[{"id":"%b"}]}' % item.encode(), *lines))
                told += (await client.response()).values("x-request-id")
        sent = [v for r in upstream.received for n, v in r.headers if n.lower() == "x-request-id"]
        assert proxy.server.requests_count == 0
    assert told == sent
    assert told == ["mine"] * 3 if kept else len(set(told)) == 3


async def test_another_tenant_on_the_same_connection() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            said = []
            for tenant in (b"t", b"u", b"t", b"u"):
                client.write(post(BODY).replace(b"X-Tenant: t", b"X-Tenant: " + tenant))
                said.append((await client.response()).values("idempotent-replayed"))
        assert proxy.server.requests_count == 0
    assert said == [[], [], ["true"], ["true"]]


async def test_new_rules_on_the_same_connection() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY))
            assert (await client.response()).values("idempotency-items")
            switched_off = RULE.replace("mode: enforce", "mode: off")
            assert switched_off != RULE
            proxy.rules[0] = parse_rules([("rules.yaml", switched_off)])
            client.write(post(BODY))
            assert (await client.response()).values("idempotency-items") == []
        assert proxy.server.requests_count == 1
        assert len(upstream.received) == 2


class Eager(asyncio.Transport):
    """A connection to a client that has sent its requests before the loop has taken a step:
    the first with the connection itself, each other in the turn in which an answer is written."""

    def __init__(self, protocol: asyncio.Protocol, requests: list[bytes]) -> None:
        super().__init__()
        self.answers: list[bytes] = []
        self._protocol = protocol
        self._requests = requests
        protocol.connection_made(self)
        protocol.data_received(requests.pop(0))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers.append(bytes(data))
        if self._requests:
            following = self._requests.pop(0)
            asyncio.get_running_loop().call_soon(self._protocol.data_received, following)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


async def test_a_loop_that_is_about_to_sleep_is_waited_for() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        protocol = proxy.server()
        client = Eager(protocol, [post(BODY), get("/x"), post(BODY), post(OTHER)])
        await until(lambda: len(client.answers) == 4)
        assert [answer[:15] for answer in client.answers] == [b"HTTP/1.1 200 OK"] * 4
        assert proxy.server.requests_count == 1
        protocol.connection_lost(None)


@pytest.mark.parametrize("at", [1, 40, -len(BODY) - 1, -len(BODY), -5, -1])
async def test_a_batch_in_two_pieces(at: int) -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY)[:at])
            await until(lambda: len(proxy.server.connections) == 1)
            await client.writer.drain()
            await settled()
            client.write(post(BODY)[at:])
            assert (await client.response()).header("idempotency-items").startswith("new=2")
        assert proxy.server.requests_count == 0


async def settled() -> None:
    """The loop has done what there was to do."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_that_come_while_one_is_under_way_are_answered_in_order() -> None:
    held = Held()
    async with RawUpstream(held) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY))
            await held.asked.wait()
            client.write(post(OTHER) + get("/x"))
            client.write(post(BODY))
            await settled()
            assert len(upstream.received) == 1
            held.go.set()
            items = [(await client.response()).headers for _ in range(4)]
        found = [dict(one).get("Idempotency-Items") for one in items]
        assert found == [
            "new=2, replayed=0, failed=0",
            "new=1, replayed=1, failed=0",
            None,
            "new=0, replayed=2, failed=0",
        ]


@pytest.mark.parametrize("size", [1_000, 60_000, 100_000, 140_000, 220_000, 400_000])
async def test_large_batches_one_behind_the_other(size: int) -> None:
    rules = RULE.replace("64KiB", "1MiB")
    async with RawUpstream(echo) as upstream, gateway(upstream.url, rules) as proxy:
        async with proxy.connect() as client:
            keys = b"abcd"
            for key in keys:
                client.write(post(b'{"orders":[{"id":"%c"%b}]}' % (key, b" " * size)))
            for _ in keys:
                assert (await client.response()).status == 200
            client.write(post(BODY))
            again = await client.response()
            assert again.header("idempotency-items") == "new=0, replayed=2, failed=0"
        assert len(upstream.received) == len(keys)
        assert proxy.app.buffered == 0


async def test_a_client_that_leaves_is_not_waited_for_and_its_work_is_seen_through() -> None:
    held = Held()
    async with RawUpstream(held) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY))
            await held.asked.wait()
        await until(lambda: proxy.lifecycle.in_flight == 0)
        assert proxy.app.buffered == 0
        held.go.set()
        again = await proxy.ask(post(BODY))
        assert again.header("idempotency-items") == "new=0, replayed=2, failed=0"
        assert len(upstream.received) == 1


async def test_a_batch_under_way_outlives_the_keep_alive_time_and_a_drain() -> None:
    held = Held()
    flags = {"keepalive_timeout": "100ms"}
    async with (
        RawUpstream(held) as upstream,
        gateway(upstream.url, flags=flags) as proxy,
        proxy.connect() as client,
    ):
        client.write(post(BODY))
        await held.asked.wait()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await until(lambda: loop.time() - begun > 0.3)
        proxy.lifecycle.stop()
        proxy.server.close_idle()
        held.go.set()
        response = await client.response()
        assert response.status == 200
        assert response.header("connection") == "close"
        assert await client.is_closed()


async def test_an_idle_connection_ends_after_the_keep_alive_time() -> None:
    flags = {"keepalive_timeout": "100ms"}
    async with RawUpstream(echo) as upstream, gateway(upstream.url, flags=flags) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY))
            assert (await client.response()).status == 200
            assert await client.is_closed()
        assert proxy.server.requests_count == 0


async def test_the_answer_of_a_batch_under_way_is_waited_for_by_a_shutdown() -> None:
    held = Held()
    async with (
        RawUpstream(held) as upstream,
        gateway(upstream.url) as proxy,
        proxy.connect() as client,
    ):
        client.write(post(BODY))
        await held.asked.wait()
        ending = asyncio.create_task(proxy.server.shutdown(5.0))
        await settled()
        held.go.set()
        assert (await client.response()).status == 200
        await ending


async def test_a_body_that_stops_coming_is_the_loops_to_wait_for() -> None:
    flags = {"body_timeout": "100ms"}
    async with RawUpstream(echo) as upstream, gateway(upstream.url, flags=flags) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY)[:-3])
            assert (await client.response()).problem == "body-timeout"
            assert await client.is_closed()
        assert proxy.server.requests_count == 1


async def test_who_does_not_read_the_answer_is_cut_off() -> None:
    big = b'{"results":[{"x":"%b"}]}' % (b"y" * 4_000_000)
    flags = {"send_timeout": "200ms", "upstream_max_response": "16MiB"}
    async with (
        RawUpstream(ok(big)) as upstream,
        gateway(upstream.url, flags=flags) as proxy,
        proxy.connect() as client,
    ):
        stop_reading(client)
        client.write(post(b'{"orders":[{"id":"a"}]}'))
        await until(lambda: proxy.seen.limits["slow_reader"] == 1)
        await until(lambda: not proxy.server.connections)
        assert proxy.lifecycle.in_flight == 0


async def test_who_reads_the_answer_late_gets_the_next_one_too() -> None:
    big = b'{"results":[{"x":"%b"}]}' % (b"y" * 4_000_000)
    flags = {"upstream_max_response": "16MiB"}
    async with (
        RawUpstream(ok(big)) as upstream,
        gateway(upstream.url, flags=flags) as proxy,
        proxy.connect() as client,
    ):
        stop_reading(client)
        client.write(post(b'{"orders":[{"id":"a"}]}'))
        await until(lambda: len(upstream.received) == 1)
        client.write(post(b'{"orders":[{"id":"b"}]}'))
        await settled()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(2):
            assert len((await client.response()).body) > 4_000_000
        assert proxy.server.requests_count == 0


def stop_reading(client: Client) -> None:
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
