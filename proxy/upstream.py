"""The Upstream seam over HTTP: one call and what became of it. Law: never sent twice.

The one question that matters after a failure is whether a byte may have left: no connection is
``NEVER_SENT`` and the item is free again; everything later is ``UNKNOWN``.
"""

from __future__ import annotations

from typing import Final

from proxy.core.prompt import Told
from proxy.core.upstream import Call, Fault, Headers, KeptHead, NoReply, Reply
from proxy.edge.coding import TooLarge, Undecodable, decode
from proxy.edge.known import Response
from proxy.edge.origin import OriginClient
from proxy.edge.wire import OriginError
from proxy.headers import values, without

_WRITTEN_HERE: Final = frozenset({"content-length", "accept-encoding", "expect"})
_IDENTITY: Final = ("Accept-Encoding", "identity")


class HttpUpstream:
    """``proxy.core.upstream.Upstream`` over the one ``OriginClient``."""

    def __init__(self, origin: OriginClient, max_response: int) -> None:
        self._origin = origin
        self._max_response = max_response

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        """Make one call. Raises nothing but CancelledError."""
        try:
            response = await self._origin.ask(
                call.method,
                call.target,
                _headers(call),
                call.body,
                timeout=timeout,
                limit=self._max_response,
            )
        except OriginError as error:
            return _no_reply(error)
        return self.reply(response)

    def ask(self, call: Call, timeout: float, to: Told) -> bool:
        """As ``proxy.core.prompt.PromptUpstream``."""
        data = self._as_bytes(call)
        asker = _Asker(self, to)
        return self._origin.begin(
            call.method, data, timeout=timeout, limit=self._max_response, to=asker
        )

    def reply(self, response: Response) -> Reply | NoReply:
        status, headers, body = response
        try:
            return self._decoded(status, headers, body)
        except TooLarge:
            return NoReply(Fault.UNKNOWN, "the response is too large")

    async def close(self) -> None:
        await self._origin.close()

    def _as_bytes(self, call: Call) -> bytes:
        """The request as it is written; a head that is kept is made once."""
        kept, body = call.kept, call.body
        if kept is None or not body:
            return self._origin.head(call.method, call.target, _headers(call)) + body
        parts = kept.parts
        if parts is None:
            parts = kept.parts = self._parts(call, kept)
        own = b"" if kept.id_at is None else call.headers[kept.id_at][1].encode("latin-1")
        return b"".join((parts[0], own, parts[1], b"%d\r\n\r\n" % len(body), body))

    def _parts(self, call: Call, kept: KeptHead) -> tuple[bytes, bytes]:
        """What stands before the request's id, and what behind it, up to the length."""
        whole = self._origin.head(call.method, call.target, _headers(call))
        head, length, _ = whole.rpartition(b"Content-Length: ")
        if kept.id_at is None:
            return head + length, b""
        name, identity = call.headers[kept.id_at]
        lead = f"\r\n{name}: ".encode("latin-1")
        before, _, behind = head.partition(lead + identity.encode("latin-1"))
        return before + lead, behind + length

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


class _Asker:
    """Makes of a response what the driver is told."""

    __slots__ = ("_to", "_upstream")

    def __init__(self, upstream: HttpUpstream, to: Told) -> None:
        self._upstream = upstream
        self._to = to

    def set_result(self, result: Response, /) -> None:
        self._to.set_result(self._upstream.reply(result))

    def set_exception(self, exception: BaseException, /) -> None:
        if isinstance(exception, OriginError):
            self._to.set_result(_no_reply(exception))
        else:
            self._to.set_exception(exception)


def _headers(call: Call) -> Headers:
    headers = (*without(call.headers, _WRITTEN_HERE), _IDENTITY)
    if call.body or call.method not in {"GET", "HEAD"}:
        headers = (*headers, ("Content-Length", str(len(call.body))))
    return headers


def _no_reply(error: OriginError) -> NoReply:
    fault = Fault.UNKNOWN if error.sent else Fault.NEVER_SENT
    slow = error.kind == "timeout" or "in time" in error.detail
    return NoReply(fault, error.detail, timed_out=slow)
