"""One connection to the service, as aiohttp's parser drives it.

Law: whatever is not the head that came before, byte for byte, is the parser's to judge, which
then finds the connection as if nothing had happened.

Not compiled: mypyc makes no subclass of the library's class.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.edge.known import KnownHead, Response
from proxy.headers import end_to_end, from_raw

_READ_BUFFER: Final = 2**16
_MAX_LINE: Final = 64 * 1024
_MAX_HEADERS: Final = 256
_TRIES: Final = 16
"""Heads in a row that differ, after which none is kept any more: each has something of its own."""


class Watcher(Protocol):
    """Who waits for a response without a task."""

    def look(self) -> None:
        """Something has come, or has gone wrong."""

    def take(self, response: Response) -> None:
        """The whole response has come."""


class OriginProtocol(ResponseHandler):
    """``watch``: who is told of what comes, until it sets this to None. ``disturbed``: something
    came or went wrong since somebody set this to False."""

    watch: Watcher | None = None
    disturbed: bool = True
    _method: str | None = None  # of the request whose response has no parser yet
    _known: KnownHead | None = None
    _first: bytes = b""  # what a response began with, while that is looked at
    _tries: int = _TRIES

    def expect(self, method: str) -> None:
        """A request is about to be written."""
        self._method = method
        if self._tail:
            self._begin_to_parse()

    def data_received(self, data: bytes) -> None:
        self.disturbed = True
        if self._method is not None:
            known, watch = self._known, self.watch
            if known is not None and watch is not None and self._method != "HEAD":
                response = known.read(data)
                if response is not None:
                    self._method = None
                    self._tries = _TRIES
                    watch.take(response)
                    return
            self._begin_to_parse()
            self._first = data
        super().data_received(data)
        if self.watch is not None:
            self.watch.look()
        self._first = b""

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        self.disturbed = True
        super().set_exception(exc, *cause)
        if self.watch is not None:
            self.watch.look()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.disturbed = True
        if self._method is not None:
            self._begin_to_parse()
        super().connection_lost(exc)
        if self.watch is not None:
            self.watch.look()

    def is_waiting(self) -> bool:
        """The response, or the rest of it, is still to come."""
        if self._exception is not None:
            return False
        if not self._buffer:
            return True
        content: StreamReader = self._buffer[0][0][1]
        return not (content.is_eof() or content.exception() or self._reading_paused)

    def take_whole(self) -> Response | None:
        """The response that has come, where its framing says that this is all of it. None: it is
        to be read as any other."""
        if self._exception is not None or len(self._buffer) != 1:
            return None
        head: Any  # the stubs promise a tuple: see ``ResponseHead``
        content: StreamReader
        head, content = self._buffer[0][0]
        framed = head.chunked or "Content-Length" in head.headers
        if head.code < 200 or not framed or content is EMPTY_PAYLOAD:
            return None
        if content.exception() or not content.is_eof():
            return None
        # Reading it would have what is not paused resume.
        pieces = content._buffer  # noqa: SLF001
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._buffer.clear()
        response = head.code, end_to_end(from_raw(head.raw_headers)), body
        if self._first and self._tries and not head.chunked:
            self._tries -= 1
            self._known = KnownHead.of(self._first, response)
        return response

    def _begin_to_parse(self) -> None:
        method, self._method = self._method, None
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            max_headers=_MAX_HEADERS,
        )
