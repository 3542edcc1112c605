"""A request's body: streamed, or held up to a limit and still streamable. Law: bounded memory.

What was read to judge a request is kept, so that a request which no rule handles after all goes
on as the bytes that came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp.web import BaseRequest, RequestPayloadError

from proxy.budget import Budget
from proxy.errors import Problem
from proxy.headers import from_raw, listed
from proxy.observe import Observer

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientBody:
    """One request's body. Call ``close`` when the request is over."""

    def __init__(
        self, request: BaseRequest, timeout: float, budget: Budget, observer: Observer
    ) -> None:
        self._request = request
        self._timeout = timeout
        self._budget = budget
        self._observer = observer
        self._held: list[bytes] = []
        self._size = 0
        self._ended = not request.body_exists
        self._must_continue = "Expect" in request.headers and "100-continue" in listed(
            from_raw(request.raw_headers), "expect"
        )
        length = request.headers.get("Content-Length")
        self.length = int(length) if length is not None else None
        self.exists = request.body_exists
        self.over_budget = False

    @property
    def awaits_continue(self) -> bool:
        """The client waits for a 100 before it sends anything, and has not been sent one."""
        return self._must_continue and not self._ended

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._ended

    async def hold(self, limit: int) -> bytes | None:
        """The whole body, or None where it is longer than ``limit`` or too much is held already
        (``over_budget``); what came is kept."""
        if self.length is not None and self.length > limit:
            return None
        while not self._ended:
            if self._size > limit:
                return None
            chunk = await self._next()
            self._held.append(chunk)
            self._size += len(chunk)
            if not self._budget.take(len(chunk)):
                self._observer.limit("buffered")
                self.over_budget = True
                return None
        if self._size > limit:
            return None
        if len(self._held) > 1:
            self._held = [b"".join(self._held)]  # once in memory, and not twice
        return self._held[0] if self._held else b""

    async def chunks(self, tap: Callable[[bytes], None] | None = None) -> AsyncIterator[bytes]:
        """What is held, then the rest as it comes; each piece is shown to ``tap`` too."""
        held, self._held = self._held, []
        self._release()
        for chunk in held:
            if tap is not None:
                tap(chunk)
            yield chunk
        while not self._ended:
            if chunk := await self._next():
                if tap is not None:
                    tap(chunk)
                yield chunk

    def close(self) -> None:
        """Forget what is held."""
        self._held = []
        self._release()

    def _release(self) -> None:
        self._budget.give(self._size)
        self._size = 0

    async def _next(self) -> bytes:
        """The next piece, empty at the end."""
        if self._must_continue:
            self._must_continue = False
            if self._request.transport is not None and self._request.version >= (1, 1):
                self._request.transport.write(_CONTINUE)
        content = self._request.content
        try:
            # What came with the head is there already: no timer is needed for it.
            chunk = content.read_nowait()
            if not chunk and not content.at_eof():
                async with asyncio.timeout(self._timeout):
                    chunk = await content.readany()
        except TimeoutError:
            self._observer.limit("body_timeout")
            raise Problem(408, "body-timeout", "no byte came in time") from None
        except RequestPayloadError as error:
            raise Problem(400, "bad-body", "the body is badly framed") from error
        self._ended = not chunk or content.at_eof()
        return chunk
