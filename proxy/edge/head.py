"""A response's head as bytes. Law: the framing is made here, whatever the given lines say of it."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from proxy.core.upstream import Headers
from proxy.headers import FRAMING

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


@lru_cache(maxsize=2)
def _date_line(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}"


@lru_cache(maxsize=256)
def _status_line(status: int, version: tuple[int, int]) -> str:
    return f"HTTP/{version[0]}.{version[1]} {status} {_PHRASES.get(status, '')}"


def head_bytes(
    status: int,
    headers: Headers,
    *,
    length: int | None,
    close: bool,
    chunked: bool = False,
    version: tuple[int, int] = (1, 1),
) -> bytes:
    """A response's head, with the empty line that ends it.

    ``headers`` are written as they are, but for their framing lines: it is made from ``length``
    (bytes; None: none is said) or ``chunked``, and left out where a response has none (RFC 9110
    section 8.6: 1xx and 204). Date is added where it is missing. ``version``: what is answered in,
    (1, 0) or (1, 1).
    """
    lines = [_status_line(status, version)]
    dated = status < 200
    for name, value in headers:
        lower = name.lower()
        if lower in FRAMING:
            continue
        if lower == "date":
            dated = True
        lines.append(f"{name}: {value}")
    if not dated:
        lines.append(_date_line(int(time.time())))
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif length is not None and status >= 200 and status != 204:
        lines.append(f"Content-Length: {length}")
    if status != 101:
        if close:
            lines.append("Connection: close")
        elif version < (1, 1):
            lines.append("Connection: keep-alive")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")
