"""The Upstream seam over HTTP: one call and what became of it. Law: never sent twice.

The one question that matters after a failure is whether a byte may have left: no connection is
``NEVER_SENT`` and the item is free again; everything later is ``UNKNOWN``.
"""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.core.upstream import Call, Fault, Headers, NoReply, Reply
from proxy.edge.coding import TooLarge, Undecodable, decode
from proxy.edge.origin import OriginClient, OriginError, OriginResponse, Progress
from proxy.headers import end_to_end, values, without

_WRITTEN_HERE: Final = frozenset({"content-length", "accept-encoding", "expect"})


class _TooLongError(Exception):
    """A response larger than the limit: what it said is not known."""


class HttpUpstream:
    """``proxy.core.upstream.Upstream`` over the one ``OriginClient``."""

    def __init__(self, origin: OriginClient, max_response: int) -> None:
        self._origin = origin
        self._max_response = max_response

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        """Make one call. Raises nothing but CancelledError."""
        progress = Progress()
        try:
            async with asyncio.timeout(timeout):
                return await self._call(call, progress)
        except OriginError as error:
            fault = Fault.UNKNOWN if error.sent else Fault.NEVER_SENT
            slow = error.kind == "timeout" or "in time" in error.detail
            return NoReply(fault, error.detail, timed_out=slow)
        except _TooLongError:
            return NoReply(Fault.UNKNOWN, "the response is too large")
        except TimeoutError:
            fault = Fault.UNKNOWN if progress.sent else Fault.NEVER_SENT
            return NoReply(fault, "no response in time", timed_out=True)

    async def close(self) -> None:
        await self._origin.close()

    async def _call(self, call: Call, progress: Progress) -> Reply:
        headers = (*without(call.headers, _WRITTEN_HERE), ("Accept-Encoding", "identity"))
        if call.body or call.method not in {"GET", "HEAD"}:
            headers = (*headers, ("Content-Length", str(len(call.body))))
        response = await self._origin.send(
            call.method, call.target, headers, call.body, progress=progress
        )
        async with response:
            body = await self._read(response)
        return self._decoded(response.status, end_to_end(response.headers), body)

    async def _read(self, response: OriginResponse) -> bytes:
        pieces, size = [], 0
        async for chunk in response.chunks():
            size += len(chunk)
            if size > self._max_response:
                raise _TooLongError
            pieces.append(chunk)
        return b"".join(pieces)

    def _decoded(self, status: int, headers: Headers, body: bytes) -> Reply:
        """Some services encode whatever was asked for. What cannot be decoded keeps its label."""
        codings = values(headers, "content-encoding")
        if not body or not codings or codings == ["identity"]:
            return Reply(status, headers, body)
        try:
            plain = decode(
                codings[0] if len(codings) == 1 else "", body, self._max_response, max_ratio=None
            )
        except TooLarge as error:
            raise _TooLongError from error
        except Undecodable:
            return Reply(status, headers, body)
        return Reply(status, without(headers, {"content-encoding"}), plain)
