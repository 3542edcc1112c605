"""The head of a service's response that came before. Law: what is not that head, byte for byte but
for its length, is not judged here."""

from __future__ import annotations

from proxy.core.upstream import Headers
from proxy.edge.repeated import HeadPattern

Response = tuple[int, Headers, bytes]
"""Status, the field lines that may be forwarded, and body."""


class KnownHead:
    """A response's head, and what the parser made of it."""

    __slots__ = ("_at", "_code", "_headers", "_pattern")

    def __init__(self, pattern: HeadPattern, code: int, headers: Headers, at: int) -> None:
        self._pattern = pattern
        self._code = code
        self._headers = headers
        self._at = at

    @staticmethod
    def of(message: bytes, response: Response) -> KnownHead | None:
        """``message`` is the whole of what ``response`` was parsed from. None: its length is not
        written in the usual way."""
        code, headers, body = response
        pattern = HeadPattern.of(message)
        if pattern is None or pattern.body(message) != body:
            return None
        names = [name for name, _ in headers]
        return KnownHead(pattern, code, headers, names.index("Content-Length"))

    def read(self, data: bytes) -> Response | None:
        """The response, where ``data`` is this head and a body of the length that it tells."""
        body = self._pattern.body(data)
        if body is None:
            return None
        at, headers = self._at, self._headers
        length = ("Content-Length", str(len(body)))
        return self._code, (*headers[:at], length, *headers[at + 1 :]), body
