"""What a rule makes of a request before the driver sees it: all its ways, and their neighbours."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from dataclasses import dataclass, field
from typing import Any

import brotli  # type: ignore[import-untyped]
import orjson
import pytest
import zstandard

from proxy.exchange import Answer, Exchange
from rules.model import Rule
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import RULE, connected, gateway, get, post, until

BODY = b'{"orders":[{"id":"a"}, {"id":"b"}], "n": 18446744073709551616}'
ANSWER = ok(b'{"results":[{"ok":1.0},{"ok":2}]}', "200 OK", "X-Own: 1")
NAME = "orders"


def rule(**changes: str) -> str:
    """RULE with lines of its rule replaced: ``mode="off"``, ``match="{...}"``."""
    lines = RULE.split("\n")
    for name, value in changes.items():
        found = [n for n, line in enumerate(lines) if line.strip().startswith(f"{name}:")]
        text = f"    {name}: {value}"
        if found:
            lines[found[0]] = text
        else:
            lines.append(text)
    return "\n".join(lines)


@dataclass
class Driver:
    """Keeps the exchanges that it is given."""

    exchanges: list[Exchange] = field(default_factory=list)

    async def handle(self, exchange: Exchange) -> Answer:
        self.exchanges.append(exchange)
        return Answer(207, (("X-Stitched", "1"), ("Cache-Control", "no-store")), b"stitched")


async def test_end_to_end_with_the_real_driver() -> None:
    async with RawUpstream(ANSWER) as upstream, gateway(upstream.url) as proxy:
        first = await proxy.ask(post(BODY, "X-Request-Id: r-1"))
        assert first.status == 200
        assert first.header("x-own") == "1"
        assert first.header("x-request-id") == "r-1"
        assert first.values("via") == ["1.1 idemproxy"]
        assert first.header("idempotency-items") == "new=2, replayed=0, failed=0"
        assert upstream.received[0].body == BODY
        again = await proxy.ask(post(BODY))
        assert again.header("idempotent-replayed") == "true"
        assert again.header("cache-control") == "no-store"
        assert [r["ok"] for r in orjson.loads(again.body)["results"]] == [1.0, 2]
        assert len(upstream.received) == 1
        other = await proxy.ask(post(BODY, tenant="u"))
        assert other.values("idempotent-replayed") == []
        assert len(upstream.received) == 2


async def test_what_the_driver_is_given() -> None:
    driver = Driver()
    lines = (
        "Content-Type: application/json",
        "Authorization: Bearer x",
        "Accept-Encoding: gzip",
        "Expect: 100-continue",
        "Connection: close",
        f"Traceparent: 00-{'a' * 32}-{'b' * 16}-01",
    )
    async with RawUpstream() as upstream, gateway(upstream.url, driver=driver) as proxy:
        got = await proxy.ask(post(BODY, *lines, path="/orders/batch?x=%2f&"))
        assert (got.status, got.body, got.header("x-stitched")) == (207, b"stitched", "1")
        (exchange,) = driver.exchanges
        names = [name.lower() for name, _ in exchange.headers]
        assert exchange.target == "/orders/batch?x=%2f&"
        assert exchange.scope == ("t",)
        assert exchange.may_split
        assert exchange.trace_id == "a" * 32
        assert exchange.batch.whole == BODY
        kept = {"host", "authorization", "content-type", "via", "x-forwarded-for", "x-tenant"}
        assert kept <= set(names)
        gone = {"content-length", "expect", "accept-encoding", "connection", "content-encoding"}
        assert not gone & set(names)
        assert ("X-Request-Id", exchange.request_id) in exchange.headers
        assert upstream.received == []


@pytest.mark.parametrize(
    ("path", "method", "handled"),
    [
        ("/orders/batch", "POST", True),
        ("/orders/batch?x", "POST", True),
        ("/orders/batch/", "POST", False),
        ("/orders%2Fbatch", "POST", False),
        ("//orders/batch", "POST", False),
        ("/orders/batch", "PUT", False),
        ("/Orders/batch", "POST", False),
    ],
)
async def test_routes_match_on_the_raw_path(path: str, method: str, *, handled: bool) -> None:
    driver = Driver()
    async with RawUpstream() as upstream, gateway(upstream.url, driver=driver) as proxy:
        await proxy.ask(post(BODY, path=path).replace(b"POST", method.encode()))
        assert len(driver.exchanges) == handled
        assert len(upstream.received) == (not handled)


CODINGS = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    "GZIP": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "br": brotli.compress(BODY),
    "zstd": zstandard.compress(BODY),
    "identity": BODY,
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_content_codings_are_read(coding: str) -> None:
    driver, line = Driver(), f"Content-Encoding: {coding}"
    async with RawUpstream() as upstream, gateway(upstream.url, driver=driver) as proxy:
        await proxy.ask(post(CODINGS[coding], line))
        assert driver.exchanges[0].batch.whole == BODY


BAD_CODINGS = {
    "unknown": (("Content-Encoding: compress",), BODY),
    "two": (("Content-Encoding: gzip, gzip",), gzip.compress(gzip.compress(BODY))),
    "two lines": (("Content-Encoding: gzip", "Content-Encoding: br"), BODY),
    "a lie": (("Content-Encoding: gzip",), BODY),
    "cut short": (("Content-Encoding: gzip",), gzip.compress(BODY)[:-4]),
    "bytes behind": (("Content-Encoding: deflate",), zlib.compress(BODY) + b"x"),
    "empty": (("Content-Encoding: gzip",), b""),
    "signed": (("Content-Encoding: gzip", "Signature: sig1=:x:"), gzip.compress(BODY)),
}


@pytest.mark.parametrize("name", BAD_CODINGS)
async def test_codings_that_cannot_be_read_pass_as_they_came_or_are_415(name: str) -> None:
    lines, body = BAD_CODINGS[name]
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(post(body, *lines))).body == b"ok"
        assert upstream.received[0].body == body
        assert upstream.received[0].values("content-encoding") == [
            line.partition(": ")[2] for line in lines if line.startswith("Content")
        ]
        assert proxy.seen.passed[NAME, "unreadable"] == 1
    strict = rule(request="{items: /orders, key: [/id], unreadable: reject}")
    async with RawUpstream() as upstream, gateway(upstream.url, strict) as proxy:
        got = await proxy.ask(post(body, *lines))
        assert (got.status, got.problem) == (415, "unsupported-coding")
        assert upstream.received == []


UNREADABLE = {
    "not JSON": b'{"orders":[',
    "empty": b"",
    "not an object": b"[1]",
    "no such array": b'{"order":[]}',
    "no array there": b'{"orders":{"id":1}}',
    "not UTF-8": b'{"orders":[{"id":"\xff"}]}',
    "UTF-16": '{"orders":[]}'.encode("utf-16"),
    "BOM": b"\xef\xbb\xbf" + BODY,
    "lone surrogate": b'{"orders":[{"id":"\\ud800"}]}',
    "NaN": b'{"orders":[],"x":NaN}',
    "trailing comma": b'{"orders":[],}',
    "two documents": BODY + BODY,
    "too deep": b'{"orders":' + b"[" * 70 + b"]" * 70 + b"}",
    "depth bomb": b"[" * 30000,
    "the array twice": b'{"orders":[],"orders":[{"id":1}]}',
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_unreadable_bodies_pass_as_they_came_or_are_400(name: str) -> None:
    body = UNREADABLE[name]
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(post(body))).body == b"ok"
        assert upstream.received[0].body == body
        assert proxy.seen.passed[NAME, "unreadable"] == 1
    strict = rule(request="{items: /orders, key: [/id], unreadable: reject}")
    async with RawUpstream() as upstream, gateway(upstream.url, strict) as proxy:
        got = await proxy.ask(post(body))
        assert (got.status, got.problem) == (400, "unreadable")
        assert upstream.received == []


async def test_a_member_given_twice_is_always_refused_without_detection() -> None:
    lenient = rule(
        upstream="{detects_duplicates: false}",
        request="{items: /orders, key: [/id], unreadable: pass}",
    )
    async with RawUpstream() as upstream, gateway(upstream.url, lenient) as proxy:
        got = await proxy.ask(post(b'{"orders":[{"id":1,"id":2}]}'))
        assert (got.status, got.problem) == (400, "duplicate-member")
        got = await proxy.ask(post(UNREADABLE["the array twice"]))
        assert (got.status, got.problem) == (400, "duplicate-member")
        assert upstream.received == []
        assert (await proxy.ask(post(b"nonsense"))).body == b"ok"


async def test_an_empty_batch_passes_through() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(post(b'{"orders":[]}'))).body == b"ok"
        assert upstream.received[0].body == b'{"orders":[]}'
        assert proxy.seen.passed[NAME, "empty"] == 1


async def test_no_scope_passes_through_and_two_are_400() -> None:
    driver = Driver()
    async with RawUpstream() as upstream, gateway(upstream.url, driver=driver) as proxy:
        request = post(BODY).replace(b"X-Tenant: t\r\n", b"")
        assert (await proxy.ask(request)).body == b"ok"
        assert (await proxy.ask(post(BODY, tenant=""))).body == b"ok"
        assert proxy.seen.passed[NAME, "no_scope"] == 2
        got = await proxy.ask(post(BODY, "X-Tenant: u"))
        assert (got.status, got.problem) == (400, "repeated-scope")
        assert driver.exchanges == []
        await proxy.ask(post(BODY))
        assert len(driver.exchanges) == 1


async def test_off_streams_through_unread() -> None:
    async def script(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(ok(b"early"))
        await wire.reader.read()

    text = rule(mode='"off"')
    async with RawUpstream(script=script) as upstream, gateway(upstream.url, text) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY)[:-30])
            assert (await client.response()).body == b"early"
        assert proxy.seen.passed[NAME, "off"] == 1


async def test_a_large_body_is_not_refused_by_a_rule_that_is_off() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url, rule(mode='"off"')) as proxy:
        assert (await proxy.ask(post(bytes(200_000)))).body == b"ok"


@pytest.mark.parametrize(
    ("peers", "value", "handled"),
    [
        ("127.0.0.1/32", "enforce", True),
        ("127.0.0.1/32", "off", False),
        ("127.0.0.1/32", "nonsense", False),
        ("10.0.0.0/8", "enforce", False),
    ],
)
async def test_mode_override_from_trusted_peers_only(
    peers: str, value: str, *, handled: bool
) -> None:
    driver = Driver()
    text = rule(mode='"off"', rollout="{override_header: X-Mode}")
    async with (
        RawUpstream() as upstream,
        gateway(upstream.url, text, driver=driver, flags={"trusted_peers": peers}) as proxy,
    ):
        await proxy.ask(post(BODY, f"X-Mode: {value}"))
        assert len(driver.exchanges) == handled
        assert len(upstream.received) == (not handled)


WHERE = """
version: 1
rules:
  - name: one
    match: {path: /rpc, where: {pointer: /method, equals: one}}
    mode: enforce
    scope: global
    request: {items: /params, key: [/id], max_bytes: 1KiB}
    upstream: {detects_duplicates: true}
    response: {results: /result}
  - name: two
    match: {path: /rpc, where: {pointer: /method, equals: two}}
    mode: enforce
    scope: global
    request: {items: /params, key: [/id], max_bytes: 1KiB}
    upstream: {detects_duplicates: true}
    response: {results: /result}
"""


def rpc(method: str) -> bytes:
    return b'{"method":"%s","params":[{"id":1}]}' % method.encode()


async def test_where_chooses_by_the_body() -> None:
    driver = Driver()
    async with RawUpstream() as upstream, gateway(upstream.url, WHERE, driver=driver) as proxy:
        for method in ("two", "one"):
            assert (await proxy.ask(post(rpc(method), path="/rpc"))).status == 207
        packed = gzip.compress(rpc("one"))
        await proxy.ask(post(packed, "Content-Encoding: gzip", path="/rpc"))
        assert [e.rule.name for e in driver.exchanges] == ["two", "one", "one"]
        for body in (rpc("three"), b"nonsense", b"", bytes(5000)):
            assert (await proxy.ask(post(body, path="/rpc"))).body == b"ok"
            assert upstream.received[-1].body == body
        assert len(driver.exchanges) == 3


async def test_where_and_a_body_too_large_to_look_at_is_no_way_round_a_strict_rule() -> None:
    strict = WHERE.replace("detects_duplicates: true", "detects_duplicates: false")
    async with RawUpstream() as upstream, gateway(upstream.url, strict) as proxy:
        got = await proxy.ask(post(rpc("one") + b" " * 5000, path="/rpc"))
        assert (got.status, got.problem) == (413, "body-too-large")
        assert upstream.received == []


@pytest.mark.parametrize(
    ("line", "may_split"),
    [("Signature: a", False), ("x-sig: a", False), ("Signature-Input: a", True), ("X: a", True)],
)
async def test_signed_requests_are_not_split(line: str, *, may_split: bool) -> None:
    driver = Driver()
    text = rule(upstream="{detects_duplicates: true, signed_headers: [X-Sig]}")
    async with RawUpstream() as upstream, gateway(upstream.url, text, driver=driver) as proxy:
        await proxy.ask(post(BODY, line))
        assert driver.exchanges[0].may_split is may_split


async def test_a_client_that_leaves_does_not_stop_its_batch() -> None:
    go = asyncio.Event()

    async def slow(_: Received, __: Wire) -> bytes:
        await go.wait()
        return ANSWER

    async with RawUpstream(slow) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(post(BODY))
            await until(lambda: len(upstream.received) == 1)
        await until(lambda: not proxy.server.connections)
        go.set()
        again = await proxy.ask(post(BODY))
        assert again.header("idempotent-replayed") == "true"
        assert len(upstream.received) == 1


async def test_draining_closes_connections_after_their_answer() -> None:
    async with RawUpstream(ANSWER) as upstream, connected(upstream.url) as (proxy, client):
        client.write(post(BODY))
        assert (await client.response()).values("connection") == []
        proxy.lifecycle.begin_drain()
        client.write(get("/x"))
        assert (await client.response()).header("connection") == "close"
        assert await client.is_closed()
        assert (await proxy.ask(post(BODY))).header("connection") == "close"


# ---- shadow -----------------------------------------------------------------------------------

SHADOW = rule(mode="shadow")


@dataclass
class Watcher:
    """Keeps what it is shown. ``error``: what it raises."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None

    async def observe(
        self,
        rule: Rule,
        scope: tuple[str, ...],
        request_id: str,
        body: bytes,
        status: int,
        response_body: bytes,
    ) -> None:
        self.seen.append((rule.name, scope, request_id, body, status, response_body))
        if self.error:
            raise self.error


async def test_shadow_watches_decoded_copies_and_changes_nothing() -> None:
    watcher = Watcher()
    body, line = gzip.compress(BODY), "Content-Encoding: gzip"
    answer = ok(brotli.compress(b"{}"), "201 Created", "Content-Encoding: br")
    async with RawUpstream(answer) as upstream:
        async with gateway(upstream.url, SHADOW, watcher=watcher) as proxy:
            got = await proxy.ask(post(body, line, "X-Request-Id: r"))
            assert (got.status, got.body) == (201, brotli.compress(b"{}"))
            assert got.values("idempotency-items") == []
            assert got.values("cache-control") == []
            assert await proxy.app.drain(5)
        assert upstream.received[0].body == body
        assert watcher.seen == [("orders", ("t",), "r", BODY, 201, b"{}")]


async def test_shadow_refuses_nothing() -> None:
    watcher = Watcher()
    text = rule(
        mode="shadow",
        request="{items: /orders, key: [/id], max_bytes: 64B, max_items: 1, unreadable: reject}",
    )
    async with RawUpstream() as upstream, gateway(upstream.url, text, watcher=watcher) as proxy:
        for request in (
            post(b"nonsense"),
            post(BODY),
            post(BODY + b" " * 100),
            post(BODY, "X-Tenant: u"),
            post(BODY, "Content-Encoding: odd"),
        ):
            assert (await proxy.ask(request)).body == b"ok"
        assert await proxy.app.drain(5)
        assert [seen[3] for seen in watcher.seen] == [b"nonsense", BODY]
        assert proxy.seen.shadowed["unreadable"] == 2


async def test_a_failing_shadow_is_not_the_clients_affair() -> None:
    watcher = Watcher(error=ValueError("bug"))
    async with RawUpstream() as upstream, gateway(upstream.url, SHADOW, watcher=watcher) as proxy:
        for _ in range(2):
            assert (await proxy.ask(post(BODY))).body == b"ok"
        assert await proxy.app.drain(5)
        assert len(watcher.seen) == 2


async def test_a_response_cut_short_is_not_watched() -> None:
    async def cut(_: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        wire.writer.close()

    watcher = Watcher()
    async with (
        RawUpstream(cut) as upstream,
        gateway(upstream.url, SHADOW, watcher=watcher) as proxy,
    ):
        with pytest.raises(asyncio.IncompleteReadError):
            await proxy.ask(post(BODY))
        assert await proxy.app.drain(5)
        assert watcher.seen == []


async def test_shadow_with_the_real_watcher_warms_the_store() -> None:
    async with RawUpstream(ANSWER) as upstream, gateway(upstream.url, SHADOW) as proxy:
        for _ in range(2):
            assert (await proxy.ask(post(BODY))).body == b'{"results":[{"ok":1.0},{"ok":2}]}'
            assert await proxy.app.drain(5)
        assert (proxy.seen.shadowed["new"], proxy.seen.shadowed["replayed"]) == (2, 2)
