"""Files that hold an HTTP message, or only its body. Law: pure; what a person saved is believed.

``curl -i`` and a browser's "copy as HTTP" save a start line and headers before the body, with the
body's transfer coding already undone: the headers that describe it are not acted on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proxy.core.upstream import Headers

_REQUEST: Final = re.compile(rb"([A-Z]+) (\S+) HTTP/[0-9.]+\r?\n")
_STATUS: Final = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})[^\n]*\n")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Message:
    """``method`` and ``target`` are of a request, ``status`` is of a response; empty and 0 where
    the file has a body and nothing else."""

    body: bytes
    headers: Headers = ()
    method: str = ""
    target: str = ""
    status: int = 0


def read_request(data: bytes) -> Message:
    start = _REQUEST.match(data)
    if start is None:
        return Message(data)
    headers, body = _split(data[start.end() :])
    return Message(body, headers, start[1].decode(), start[2].decode("utf-8", "replace"))


def read_response(data: bytes) -> Message:
    """Responses of 1xx that come first are skipped."""
    start = _STATUS.match(data)
    if start is None:
        return Message(data)
    headers, body = _split(data[start.end() :])
    status = int(start[1])
    if status < 200 and _STATUS.match(body):
        return read_response(body)
    return Message(body, headers, status=status)


def header(text: str) -> tuple[str, str]:
    """``Name: value``. Raises ValueError."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"a header is written 'Name: value', not {text!r}")
    return name.strip(), value.strip()


def _split(rest: bytes) -> tuple[Headers, bytes]:
    """The header lines and the body behind them."""
    if rest.startswith((b"\r\n", b"\n")):
        return (), rest.split(b"\n", 1)[1]
    end = _END_OF_HEAD.search(rest)
    head, body = (rest[: end.start()], rest[end.end() :]) if end else (rest.rstrip(), b"")
    lines = head.decode("utf-8", "surrogateescape").splitlines()
    return tuple(header(line) for line in lines if line), body
