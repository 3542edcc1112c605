"""A judged head, kept for the next request of its connection. Law: only for the same bytes.

A client sends the same head with every batch on a connection, but for Content-Length. Whatever the
proxy makes of a head follows from its bytes, the peer and the rules, so that it is made once: a
sixth of what a batch of one replayed item costs. A head with a request or trace id of its own
differs each time, and is judged each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from proxy.arrival import Arrival
from proxy.calls import follow_from_body
from proxy.core.upstream import KeptHead
from proxy.edge.parsed import RequestHead
from proxy.exchange import Exchange
from proxy.headers import first
from proxy.randomness import random_bytes
from rules.match import RuleSet
from rules.model import Batch

_LARGE: Final = 4096
"""Bytes of a head that is not kept: there is one for each connection."""
_OWN_ID: Final = "X-Request-Id"


class RememberedHead:
    """``exchange``: what was made of the head's first request, and its batch."""

    __slots__ = ("_at", "_exchange", "_kept", "_lines", "_method", "_path", "rules")

    def __init__(
        self, message: RequestHead, rules: RuleSet, arrival: Arrival, exchange: Exchange
    ) -> None:
        self.rules = rules
        self._method = message.method
        self._path = message.path
        self._lines = _lines(message)
        # Without the first batch, which would stay in memory as long as its connection.
        self._exchange = replace(exchange, batch=_NO_BATCH)
        # A client's own id, where it gave a good one, is the same for as long as its head is.
        given = first(arrival.headers, "x-request-id") == exchange.request_id
        self._at = None if given else exchange.headers.index((_OWN_ID, exchange.request_id))
        self._kept: KeptHead | None = None
        if not follow_from_body(exchange.headers):
            self._kept = KeptHead(self._at)

    def fits(self, message: RequestHead, rules: RuleSet) -> bool:
        """Whether ``message`` has this very head, under the same rules."""
        return (
            self.rules is rules
            and self._path == message.path
            and self._method == message.method
            and self._lines == _lines(message)
        )

    @property
    def exchange(self) -> Exchange:
        """The rule and all else but the batch and the request id."""
        return self._exchange

    def with_batch(self, batch: Batch) -> Exchange:
        """The exchange of another request with this head."""
        known, at = self._exchange, self._at
        identity, headers = known.request_id, known.headers
        if at is not None:
            identity = random_bytes(16).hex()
            headers = (*headers[:at], (_OWN_ID, identity), *headers[at + 1 :])
        return Exchange(
            known.rule,
            batch,
            known.method,
            known.target,
            headers,
            known.scope,
            identity,
            known.may_split,
            known.trace_id,
            self._kept,
        )


def is_small(message: RequestHead) -> bool:
    """Whether its head may be remembered."""
    size = sum([len(name) + len(value) for name, value in message.raw_headers])
    return size + len(message.path) <= _LARGE


def _lines(message: RequestHead) -> Sequence[tuple[bytes, bytes]]:
    return [line for line in message.raw_headers if line[0] != b"Content-Length"]


_NO_BATCH: Final = Batch(b"", [], {}, [], lambda: ((0, 0), []))
