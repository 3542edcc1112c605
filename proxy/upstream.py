"""The Upstream seam over HTTP: one call and what became of it. Law: never sent twice.

The one question that matters after a failure is whether a byte may have left: no connection is
``NEVER_SENT`` and the item is free again; everything later is ``UNKNOWN``.
"""

from __future__ import annotations

from typing import Final

from proxy.core.upstream import Call, Fault, Headers, NoReply, Reply
from proxy.edge.coding import TooLarge, Undecodable, decode
from proxy.edge.origin import OriginClient
from proxy.edge.wire import OriginError
from proxy.headers import end_to_end, values, without

_WRITTEN_HERE: Final = frozenset({"content-length", "accept-encoding", "expect"})
_IDENTITY: Final = ("Accept-Encoding", "identity")


class HttpUpstream:
    """``proxy.core.upstream.Upstream`` over the one ``OriginClient``."""

    def __init__(self, origin: OriginClient, max_response: int) -> None:
        self._origin = origin
        self._max_response = max_response

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        """Make one call. Raises nothing but CancelledError."""
        headers = (*without(call.headers, _WRITTEN_HERE), _IDENTITY)
        if call.body or call.method not in {"GET", "HEAD"}:
            headers = (*headers, ("Content-Length", str(len(call.body))))
        try:
            status, lines, body = await self._origin.ask(
                call.method,
                call.target,
                headers,
                call.body,
                timeout=timeout,
                limit=self._max_response,
            )
            return self._decoded(status, end_to_end(lines), body)
        except OriginError as error:
            fault = Fault.UNKNOWN if error.sent else Fault.NEVER_SENT
            slow = error.kind == "timeout" or "in time" in error.detail
            return NoReply(fault, error.detail, timed_out=slow)
        except TooLarge:
            return NoReply(Fault.UNKNOWN, "the response is too large")

    async def close(self) -> None:
        await self._origin.close()

    def _decoded(self, status: int, headers: Headers, body: bytes) -> Reply:
        """Some services encode whatever was asked for. What cannot be decoded keeps its label.
        Raises TooLarge."""
        codings = values(headers, "content-encoding")
        if not body or not codings or codings == ["identity"]:
            return Reply(status, headers, body)
        try:
            plain = decode(
                codings[0] if len(codings) == 1 else "", body, self._max_response, max_ratio=None
            )
        except Undecodable:
            return Reply(status, headers, body)
        return Reply(status, without(headers, {"content-encoding"}), plain)
