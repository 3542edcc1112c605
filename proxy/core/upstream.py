"""The Upstream interface: what one call to the legacy service is, and what became of it.

Law: what is expected is a value. An upstream call never raises but ``CancelledError``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct

Headers = tuple[tuple[str, str], ...]
"""Field lines in order, names in their own case, duplicates kept."""


class Purpose(StrEnum):
    """Why a call is made; a label of ``idemproxy_upstream_calls_total``."""

    BATCH = "batch"
    ISOLATION = "isolation"
    LOOKUP = "lookup"


class KeptHead:
    """A request's head that is sent again and again, as a client sends one on a connection: all but
    the request's own id and the body's length stays. ``id_at``: which of the headers that id is;
    None: it is the client's, and stays as well. ``parts``: what stands before the id and behind
    it, once a head was written."""

    __slots__ = ("id_at", "parts")

    def __init__(self, id_at: int | None) -> None:
        self.id_at = id_at
        self.parts: tuple[bytes, bytes] | None = None


class Call(Struct, frozen=True):
    """``target`` is the raw path and query for the request line; ``headers`` are end-to-end
    headers, complete but for Host defaults and framing, which the client library makes. ``kept``:
    shared by calls of which all but id and body is the same."""

    method: str
    target: str
    headers: Headers
    body: bytes
    purpose: Purpose = Purpose.BATCH
    kept: KeptHead | None = None


class Reply(Struct, frozen=True):
    """A complete response. ``body`` is decoded from its content coding; ``headers`` are its
    end-to-end headers, without Content-Encoding where the body was decoded."""

    status: int
    headers: Headers
    body: bytes


class Fault(StrEnum):
    NEVER_SENT = "never sent"
    """Connection refused, DNS, TLS, no free connection in time: no byte of the request left."""
    UNKNOWN = "unknown"
    """A timeout or reset once bytes may have left, or a response that cannot be read."""


class NoReply(Struct, frozen=True):
    fault: Fault
    detail: str
    timed_out: bool = False


class Upstream(Protocol):
    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        """Make one call; ``timeout`` in seconds covers all of it. Never sends it twice."""

    async def close(self) -> None:
        """Close the connection pool. Idempotent."""
