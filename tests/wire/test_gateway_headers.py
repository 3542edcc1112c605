"""What a gateway must change, and nothing else: RFC 9110 section 7.6, and who asked."""

from __future__ import annotations

import pytest

from proxy.errors import Problem
from proxy.headers import (
    check_connection,
    end_to_end,
    forwarded,
    is_trusted,
    request_id,
    trace_id,
)
from proxy.values import networks
from tests.fakes.upstream_raw import RawUpstream, ok
from tests.wire.gateway import gateway, get

HOP = (
    "Connection: close, X-Mine",
    "X-Mine: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eA==",
    "TE: trailers",
    "Trailer: X-T",
    "Upgrade: foo",
    "HTTP2-Settings: AAA",
)


async def test_hop_by_hop_lines_stop_here_both_ways() -> None:
    answer = ok(b"", "200 OK", *HOP, "X-End: 1")
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(get("/x", *HOP, "X-End: 1"))
        names = {line.split(":")[0].lower() for line in HOP}
        assert not names & {name.lower() for name, _ in upstream.received[0].headers}
        assert upstream.received[0].values("x-end") == ["1"]
        assert not (names - {"connection"}) & {name.lower() for name, _ in got.headers}
        assert got.values("connection") == ["close"]
        assert got.values("x-end") == ["1"]


SPOOFED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "Forwarded: for=6.6.6.6",
)


async def test_an_untrusted_peer_cannot_say_where_it_came_from() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        await proxy.ask(get("/x", *SPOOFED))
        received = upstream.received[0]
        assert received.values("x-forwarded-for") == ["127.0.0.1"]
        assert received.values("x-forwarded-proto") == ["http"]
        assert received.values("x-forwarded-host") == ["api.example"]
        assert received.values("forwarded") == []


async def test_a_trusted_peer_is_appended_to() -> None:
    flags = {"trusted_peers": "127.0.0.0/8"}
    async with RawUpstream() as upstream, gateway(upstream.url, flags=flags) as proxy:
        await proxy.ask(get("/x", *SPOOFED))
        received = upstream.received[0]
        assert received.values("x-forwarded-for") == ["6.6.6.6, 127.0.0.1"]
        assert received.values("x-forwarded-proto") == ["https"]
        assert received.values("x-forwarded-host") == ["evil"]
        assert received.values("forwarded") == [
            "for=6.6.6.6",
            'for=127.0.0.1;host="api.example";proto=http',
        ]


async def test_via_is_appended() -> None:
    async with RawUpstream(ok(b"", "200 OK", "Via: 1.1 a")) as upstream:
        async with gateway(upstream.url) as proxy:
            got = await proxy.ask(get("/x", "Via: 1.0 b"))
        assert upstream.received[0].values("via") == ["1.0 b", "1.1 idemproxy"]
        assert got.values("via") == ["1.1 a", "1.1 idemproxy"]


async def test_host_is_kept_and_made_where_there_is_none() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        await proxy.ask(get("/x"))
        await proxy.ask(b"GET /x HTTP/1.0\r\n\r\n")
        assert upstream.received[0].values("host") == ["api.example"]
        assert upstream.received[1].values("host") == [f"127.0.0.1:{upstream.port}"]


async def test_request_id_is_kept_or_made() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        await proxy.ask(get("/x", "X-Request-Id: mine-1"))
        await proxy.ask(get("/x"))
        assert upstream.received[0].values("x-request-id") == ["mine-1"]
        (made,) = upstream.received[1].values("x-request-id")
        assert len(made) == 32


@pytest.mark.parametrize("lines", [(("X-Request-Id", "a b"),), (("X-Request-Id", "a" * 129),)])
def test_request_ids_that_could_forge_log_lines_are_replaced(
    lines: tuple[tuple[str, str], ...],
) -> None:
    assert request_id(lines, "fresh") == ("fresh", (("X-Request-Id", "fresh"),))


def test_two_request_ids_become_one() -> None:
    lines = (("x-request-id", "a"), ("X-Request-ID", "b"))
    assert request_id(lines, "fresh") == ("fresh", (("X-Request-Id", "fresh"),))


async def test_http_1_0_keep_alive() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        for _ in range(2):
            client.write(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.response()).header("connection") == "keep-alive"
        client.write(b"GET /x HTTP/1.0\r\n\r\n")
        assert (await client.response()).header("connection") == "close"
        assert await client.is_closed()


async def test_connection_close_is_honoured() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        client.write(get("/x", "Connection: close"))
        assert (await client.response()).header("connection") == "close"
        assert await client.is_closed()


async def test_max_forwards() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        line = b" /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: "
        assert (await proxy.ask(b"OPTIONS" + line + b"3\r\n\r\n")).status == 200
        assert (await proxy.ask(b"GET" + line + b"0\r\n\r\n")).status == 200
        assert (await proxy.ask(b"TRACE" + line + b"0\r\n\r\n")).status == 501
        assert [r.values("max-forwards") for r in upstream.received] == [["2"], ["0"]]


# ---- the pure part ----------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["host", "Content-Type", "AUTHORIZATION", "x-tenant", " Host "])
def test_connection_may_not_list(field: str) -> None:
    with pytest.raises(Problem):
        check_connection((("Connection", f"close, {field}"),), {"x-tenant"})


@pytest.mark.parametrize("field", ["close", "keep-alive", "x-other", "te", ""])
def test_connection_may_list(field: str) -> None:
    check_connection((("Connection", field),), {"x-tenant"})


def test_end_to_end_keeps_what_is() -> None:
    lines = (("A", "1"), ("connection", "b"), ("B", "2"), ("Content-Length", "3"))
    assert end_to_end(lines) == (("A", "1"), ("Content-Length", "3"))


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("fd00::1", True),
        ("fd00::1%eth0", True),
        ("fe80::1", False),
        ("", True),
        ("nonsense", False),
    ],
)
def test_trusted_peers(peer: str, *, trusted: bool) -> None:
    assert is_trusted(peer, networks("10.0.0.0/8, fd00::/8")) is trusted


def test_forwarded_quotes_what_it_takes_from_the_client() -> None:
    lines = forwarded((("Host", 'a";x="\\'), ("Forwarded", "for=b")), "::1", trusted=True)
    assert ("Forwarded", 'for="[::1]";host="a;x=";proto=http') in lines


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", "a" * 32),
        (f"01-{'a' * 32}-{'b' * 16}-01-more", "a" * 32),
        (f"00-{'A' * 32}-{'b' * 16}-01", ""),
        ("nonsense", ""),
    ],
)
def test_trace_id(value: str, found: str) -> None:
    assert trace_id((("Traceparent", value),)) == found
