"""One connection to the service, as aiohttp's parser drives it. Law: it adds looks, no changes.

Not compiled: mypyc makes no subclass of the library's class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.edge.parsed import ResponseHead


class OriginProtocol(ResponseHandler):
    """``watch`` is called when something has come, and when the connection has failed."""

    watch: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.watch is not None:
            self.watch()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        if self.watch is not None:
            self.watch()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.watch is not None:
            self.watch()

    def is_waiting(self) -> bool:
        """The response, or the rest of it, is still to come."""
        if self._exception is not None:
            return False
        if not self._buffer:
            return True
        content: StreamReader = self._buffer[0][0][1]
        return not (content.is_eof() or content.exception() or self._reading_paused)

    def take_whole(self, limit: int) -> tuple[ResponseHead, bytes] | None:
        """The response that has come, where its framing says that this is all of it, and its body
        is of ``limit`` bytes at most. None: it is to be read as any other."""
        if self._exception is not None or len(self._buffer) != 1:
            return None
        head: Any  # the stubs promise a tuple: see ``ResponseHead``
        content: StreamReader
        head, content = self._buffer[0][0]
        message: ResponseHead = head
        framed = message.chunked or "Content-Length" in message.headers
        if message.code < 200 or not framed or content is EMPTY_PAYLOAD or content.exception():
            return None
        # Reading it would have what is not paused resume.
        pieces = content._buffer  # noqa: SLF001
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(body) > limit:
            return None
        self._buffer.clear()
        return message, body
