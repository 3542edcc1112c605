"""One request as it arrived: what ``proxy.inbound`` makes of a head. Law: values only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from proxy.core.upstream import Headers
from proxy.edge.body import ClientBody
from proxy.edge.server import EdgeRequest


class Head(NamedTuple):
    """A request's head as it came. ``target``: one character for each byte. ``spoken``: the
    version that the client wrote. ``peer``: its address; empty for a unix socket."""

    method: str
    target: str
    spoken: tuple[int, ...]
    raw_headers: Iterable[tuple[bytes, bytes]]
    peer: str


class Arrival(Struct, frozen=True):
    """A head that was judged. ``headers`` are as they came; ``onward`` is what goes to the
    service: end-to-end lines, request id, Via and X-Forwarded-*, with Content-Length where the
    client gave one. ``names``: those of ``headers`` in lower case."""

    method: str
    target: str
    headers: Headers
    names: frozenset[str]
    onward: Headers
    request_id: str
    trace_id: str
    trusted: bool
    upgrade: str

    @property
    def raw_path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def raw_query(self) -> str:
        return self.target.partition("?")[2]


class Inbound(Arrival, frozen=True):
    """One request with its body, as aiohttp hands it over."""

    request: EdgeRequest
    body: ClientBody
