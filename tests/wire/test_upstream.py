"""The Upstream seam over HTTP: what came back, and above all whether a byte may have left."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.upstream import Call, Fault, Headers, NoReply, Reply
from proxy.edge.origin import OriginClient
from proxy.settings import defaults
from proxy.upstream import HttpUpstream
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.fakes.upstream_tls import Certificates, make_certificates
from tests.wire.gateway import until

HEADERS: Headers = (("Host", "api.example"), ("X-A", "1"), ("Accept-Encoding", "br"))
CALL = Call("POST", "/batch?x=%2f", HEADERS, b'{"a":1}')


@asynccontextmanager
async def http_upstream(url: str, **flags: str) -> AsyncIterator[HttpUpstream]:
    settings = defaults(upstream=url, **flags)
    upstream = HttpUpstream(OriginClient(settings), settings.upstream_max_response)
    try:
        yield upstream
    finally:
        await upstream.close()
        await upstream.close()


async def test_a_call_as_it_is_on_the_wire() -> None:
    answer = ok(b"body", "201 Created", "X-B: 1", "Connection: x-b", "Set-Cookie: a=1")
    async with RawUpstream(answer) as service, http_upstream(service.url) as upstream:
        reply = await upstream.call(CALL, 5)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.body) == (201, b"body")
        assert ("Set-Cookie", "a=1") in reply.headers
        assert "X-B" not in dict(reply.headers)
        (received,) = service.received
        assert received.line == "POST /batch?x=%2f HTTP/1.1"
        assert received.headers == (
            ("Host", "api.example"),
            ("X-A", "1"),
            ("Accept-Encoding", "identity"),
            ("Content-Length", "7"),
        )
        assert received.body == CALL.body


async def test_cookies_are_not_kept_and_redirects_not_followed() -> None:
    answer = ok(b"", "307 Temporary Redirect", "Location: /other", "Set-Cookie: a=1")
    async with RawUpstream(answer) as service, http_upstream(service.url) as upstream:
        for _ in range(2):
            reply = await upstream.call(CALL, 5)
            assert isinstance(reply, Reply)
            assert reply.status == 307
        assert [r.target for r in service.received] == ["/batch?x=%2f"] * 2
        assert not service.received[1].values("cookie")
        assert service.connections == 1


async def test_a_get_without_a_body_has_no_length() -> None:
    async with RawUpstream() as service, http_upstream(service.url) as upstream:
        await upstream.call(Call("GET", "/x?", (), b""), 5)
        await upstream.call(Call("POST", "/x", (), b""), 5)
        assert service.received[0].target == "/x?"
        assert service.received[0].values("content-length") == []
        assert service.received[0].values("host") == [f"127.0.0.1:{service.port}"]
        assert service.received[1].values("content-length") == ["0"]


async def test_an_encoded_answer_is_decoded_or_keeps_its_label() -> None:
    async with RawUpstream() as service, http_upstream(service.url) as upstream:
        service.answer = ok(gzip.compress(b"body"), "200 OK", "Content-Encoding: gzip")
        assert await upstream.call(CALL, 5) == Reply(200, (("Content-Length", "24"),), b"body")
        service.answer = ok(b"odd", "200 OK", "Content-Encoding: compress")
        reply = await upstream.call(CALL, 5)
        assert isinstance(reply, Reply)
        assert reply.body == b"odd"
        assert ("Content-Encoding", "compress") in reply.headers


# ---- what did not work ------------------------------------------------------------------------


async def fault(upstream: HttpUpstream, call: Call = CALL, timeout: float = 5) -> NoReply:
    reply = await upstream.call(call, timeout)
    assert isinstance(reply, NoReply), reply
    return reply


async def test_refused_is_never_sent() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with http_upstream(url) as upstream:
            assert (await fault(upstream)).fault is Fault.NEVER_SENT


async def test_no_such_name_is_never_sent() -> None:
    async with http_upstream("http://no-such-name.invalid:1") as upstream:
        assert (await fault(upstream)).fault is Fault.NEVER_SENT


async def test_no_such_unix_socket_is_never_sent(tmp_path: Path) -> None:
    async with http_upstream(f"unix://{tmp_path}/none") as upstream:
        assert (await fault(upstream)).fault is Fault.NEVER_SENT


async def test_a_handshake_that_does_not_end_is_never_sent() -> None:
    async def silent(wire: Wire) -> None:
        await wire.reader.read()

    async with RawUpstream(script=silent) as service:
        url = service.url.replace("http:", "https:")
        async with http_upstream(url, upstream_connect_timeout="100ms") as upstream:
            reply = await fault(upstream)
            assert (reply.fault, reply.timed_out) == (Fault.NEVER_SENT, True)
        async with http_upstream(url) as upstream:
            reply = await fault(upstream, timeout=0.1)
            assert (reply.fault, reply.timed_out) == (Fault.NEVER_SENT, True)


async def test_no_free_connection_is_never_sent_and_comes_back() -> None:
    async def stuck(_: Received, __: Wire) -> None:
        await asyncio.Event().wait()

    flags = {"upstream_connections": "1", "upstream_connect_timeout": "250ms"}
    async with RawUpstream(stuck) as service, http_upstream(service.url, **flags) as upstream:
        first = asyncio.create_task(upstream.call(CALL, 0.6))
        await until(lambda: len(service.received) == 1)
        reply = await fault(upstream)
        assert (reply.fault, reply.timed_out) == (Fault.NEVER_SENT, True)
        slow = await first
        assert isinstance(slow, NoReply)
        assert (slow.fault, slow.timed_out) == (Fault.UNKNOWN, True)
        service.answer = ok(b"free")
        reply_now = await upstream.call(CALL, 5)
        assert isinstance(reply_now, Reply)


CUT_OFF = {
    "closed at once": b"",
    "half a head": b"HTTP/1.1 200 O",
    "not HTTP": b"SSH-2.0-x\r\n",
    "a bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "only a 1xx": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("name", CUT_OFF)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_what_is_cut_off_or_garbled_is_unknown_and_sent_once(name: str, method: str) -> None:
    async def script(wire: Wire) -> None:
        head = await wire.read_head()
        assert head is not None
        service.received.append(await wire.read_body(head))
        await wire.send(CUT_OFF[name])

    async with RawUpstream(script=script) as service, http_upstream(service.url) as upstream:
        reply = await fault(upstream, Call(method, "/", (), b"x"))
        assert (reply.fault, reply.timed_out) == (Fault.UNKNOWN, False)
        assert len(service.received) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_a_stale_connection_is_unknown_and_sent_once(method: str) -> None:
    async def once(_: Received, wire: Wire) -> None:
        await wire.send(ok())
        await wire.reader.readexactly(1)
        wire.abort()
        raise ConnectionResetError

    async with RawUpstream(once) as service, http_upstream(service.url) as upstream:
        assert isinstance(await upstream.call(Call("GET", "/", (), b""), 5), Reply)
        assert (await fault(upstream, Call(method, "/", (), b""))).fault is Fault.UNKNOWN
        assert (len(service.received), service.connections) == (1, 1)


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    async def close(_: Received, wire: Wire) -> None:
        await wire.send(ok())
        wire.writer.close()

    async with RawUpstream(close) as service, http_upstream(service.url) as upstream:
        for _ in range(3):
            assert isinstance(await upstream.call(CALL, 5), Reply)
            await asyncio.sleep(0.02)  # the end has to arrive; nothing tells that it has
        assert service.connections == 3


async def test_a_reset_behind_an_unframed_body_is_unknown() -> None:
    async def reset(_: Received, wire: Wire) -> None:
        await wire.send(b'HTTP/1.1 200 OK\r\n\r\n{"complete":"json"}')
        await asyncio.sleep(0.05)  # the bytes have to leave before the reset throws them away
        wire.reset()

    async with RawUpstream(reset) as service, http_upstream(service.url) as upstream:
        assert (await fault(upstream)).fault is Fault.UNKNOWN


async def test_no_response_in_time_is_unknown() -> None:
    async def half(_: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await asyncio.Event().wait()

    async with RawUpstream(half) as service, http_upstream(service.url) as upstream:
        reply = await fault(upstream, timeout=0.2)
        assert (reply.fault, reply.timed_out) == (Fault.UNKNOWN, True)


@pytest.mark.parametrize("framing", ["length", "chunked", "gzip"])
async def test_a_response_too_large_is_unknown(framing: str) -> None:
    answers = {
        "length": (ok(b"a" * 1024), ok(b"a" * 1025)),
        "chunked": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n%s\r\n0\r\n\r\n"
            % (b"a" * 1024),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n%s\r\n0\r\n\r\n"
            % (b"a" * 1025),
        ),
        "gzip": (
            ok(gzip.compress(b"a" * 1024), "200 OK", "Content-Encoding: gzip"),
            ok(gzip.compress(b"a" * 1025), "200 OK", "Content-Encoding: gzip"),
        ),
    }
    async with (
        RawUpstream() as service,
        http_upstream(service.url, upstream_max_response="1KiB") as upstream,
    ):
        service.answer, too_large = answers[framing]
        reply = await upstream.call(CALL, 5)
        assert isinstance(reply, Reply)
        assert len(reply.body) == 1024
        service.answer = too_large
        assert (await fault(upstream)).fault is Fault.UNKNOWN


async def test_cancelling_gives_the_connection_up() -> None:
    async def stuck(_: Received, __: Wire) -> None:
        await asyncio.Event().wait()

    async with (
        RawUpstream(stuck) as service,
        http_upstream(service.url, upstream_connections="1") as upstream,
    ):
        call = asyncio.create_task(upstream.call(CALL, 5))
        await until(lambda: len(service.received) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        service.answer = ok()
        assert isinstance(await upstream.call(CALL, 5), Reply)
        assert service.connections == 2


# ---- TLS and unix sockets ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def tls_service(certificates: Certificates, *, ask_client: bool) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        try:
            while (head := await wire.read_head()) is not None:
                await wire.read_body(head)
                await wire.send(ok(b"over TLS"))
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_tls_with_a_private_ca(certificates: Certificates) -> None:
    async with tls_service(certificates, ask_client=False) as port:
        url = f"https://localhost:{port}"
        async with http_upstream(url, upstream_ca_file=certificates.ca) as upstream:
            reply = await upstream.call(CALL, 5)
            assert isinstance(reply, Reply)
            assert reply.body == b"over TLS"
        async with http_upstream(url) as upstream:
            assert (await fault(upstream)).fault is Fault.NEVER_SENT
        named_otherwise = f"https://127.0.0.1:{port}"
        async with http_upstream(named_otherwise, upstream_ca_file=certificates.ca) as upstream:
            assert (await fault(upstream)).fault is Fault.NEVER_SENT


async def test_tls_with_a_client_certificate(certificates: Certificates) -> None:
    async with tls_service(certificates, ask_client=True) as port:
        url, ca = f"https://localhost:{port}", certificates.ca
        flags = {
            "upstream_ca_file": ca,
            "upstream_cert_file": certificates.client_cert,
            "upstream_key_file": certificates.client_key,
        }
        async with http_upstream(url, **flags) as upstream:
            assert isinstance(await upstream.call(CALL, 5), Reply)
        async with http_upstream(url, upstream_ca_file=ca) as upstream:
            # With TLS 1.3 the request leaves before the service has judged the certificate.
            assert (await fault(upstream)).fault in (Fault.UNKNOWN, Fault.NEVER_SENT)


async def test_a_unix_socket(tmp_path: Path) -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        head = await wire.read_head()
        assert head is not None
        heads.append(await wire.read_body(head))
        await wire.send(ok(b"unix"))
        writer.close()

    path = str(tmp_path / "socket")
    server = await asyncio.start_unix_server(serve, path)
    for url in (f"unix://{path}", f"http+unix://{path}"):
        async with http_upstream(url) as upstream:
            reply = await upstream.call(Call("POST", "/x", (), b"y"), 5)
            assert isinstance(reply, Reply)
            assert reply.body == b"unix"
    assert heads[0].values("host") == ["localhost"]
    server.close()
