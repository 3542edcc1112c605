"""The head of a response, as bytes."""

from __future__ import annotations

import pytest

from proxy.core.upstream import Headers
from proxy.edge.head import head_bytes

DATED: Headers = (("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),)
DATE = b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"


def test_a_whole_response() -> None:
    head = head_bytes(200, (("Content-Type", "text/plain"), *DATED), length=5, close=False)
    assert head == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + DATE + b"Content-Length: 5\r\n\r\n"
    )


def test_framing_is_made_here_and_everything_else_stays_as_it_is() -> None:
    given: Headers = (
        ("content-LENGTH", "77"),
        ("X-a", "\xff"),
        ("Transfer-Encoding", "chunked"),
        ("x-A", ""),
        ("TRAILER", "x"),
        *DATED,
    )
    head = head_bytes(404, given, length=0, close=False)
    assert head == (
        b"HTTP/1.1 404 Not Found\r\nX-a: \xff\r\nx-A: \r\n" + DATE + b"Content-Length: 0\r\n\r\n"
    )
    chunked = head_bytes(200, given[:1], length=None, close=False, chunked=True)
    assert b"content-LENGTH" not in chunked
    assert chunked.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("status", [200, 204, 304, 499, 599])
def test_date_is_added_once(status: int) -> None:
    assert head_bytes(status, (), length=None, close=False).count(b"\r\nDate: ") == 1
    again = head_bytes(status, (("DATE", "x"),), length=None, close=False)
    assert again.lower().count(b"\r\ndate: ") == 1


@pytest.mark.parametrize("status", [101, 103])
def test_an_informational_head_has_neither_date_nor_length(status: int) -> None:
    head = head_bytes(status, (("Upgrade", "websocket"),), length=0, close=False)
    assert head.partition(b"\r\n")[2] == b"Upgrade: websocket\r\n\r\n"


@pytest.mark.parametrize(("status", "said"), [(204, False), (304, True), (200, True)])
def test_204_has_no_length(status: int, *, said: bool) -> None:
    assert (b"Content-Length: 0\r\n" in head_bytes(status, (), length=0, close=False)) is said


@pytest.mark.parametrize(
    ("version", "close", "line"),
    [
        ((1, 1), False, b""),
        ((1, 1), True, b"Connection: close\r\n"),
        ((1, 0), False, b"Connection: keep-alive\r\n"),
        ((1, 0), True, b"Connection: close\r\n"),
    ],
)
def test_connection_says_what_the_version_does_not(
    version: tuple[int, int], line: bytes, *, close: bool
) -> None:
    head = head_bytes(200, DATED, length=1, close=close, version=version)
    first, _, rest = head.partition(b"\r\n")
    assert first == b"HTTP/%d.%d 200 OK" % version
    assert rest == DATE + b"Content-Length: 1\r\n" + line + b"\r\n"


def test_an_unknown_status_has_an_empty_phrase() -> None:
    assert head_bytes(799, DATED, length=0, close=False).startswith(b"HTTP/1.1 799 \r\n")
