"""What a client is told, item by item. Law: read as bytes; what does not fit is said so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from tests.chaos.ledger import Name

_FIELDS: Final = re.compile(
    rb'^(?P<bare>\{.*?),?"isIdempotent":(?P<flag>true|false),"processedAt":"(?P<at>[^"]+)"\}$',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Item:
    name: Name
    value: str

    @property
    def is_bad(self) -> bool:
        return self.value.startswith("bad")


@dataclass(frozen=True, slots=True)
class Told:
    """What one answer told of one item. ``code`` None: a success, and ``bare`` is its result
    without the fields that the rule adds."""

    attempt: int
    proxy: int
    item: Item
    sent: float
    heard: float
    code: str | None = None
    retryable: bool = False
    retry_after: float = 0.0
    message: str = ""
    raw: bytes = b""
    bare: bytes = b""
    is_idempotent: bool = False
    processed_at: int = 0


class Nonsense(Exception):
    """An answer that a proxy must never give."""


class _Body(msgspec.Struct):
    results: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client."""

    attempt: int
    proxy: int
    items: Sequence[Item]
    sent: float


WHOLE: Final = {
    401: ("UPSTREAM_REFUSED", True),
    409: ("IN_PROGRESS", True),
    422: ("UPSTREAM_REJECTED", False),
    429: ("UPSTREAM_UNAVAILABLE", True),
    503: ("STORE_UNAVAILABLE", True),
}
"""Answers to a whole batch: the service's own, of which nothing was done, and the proxy's 503."""


def read_answer(asked: Asked, status: int, body: bytes, heard: float) -> list[Told]:
    """One ``Told`` for each item, in order. Raises Nonsense."""
    try:
        results = msgspec.json.decode(body, type=_Body).results
    except msgspec.MsgspecError:
        return [_whole(asked, item, status, body, heard) for item in asked.items]
    if len(results) != len(asked.items):
        raise Nonsense(f"{len(results)} results for {len(asked.items)} items: {body[:500]!r}")
    pairs = zip(asked.items, results, strict=True)
    return [_one(asked, item, bytes(raw), heard) for item, raw in pairs]


def _whole(asked: Asked, item: Item, status: int, body: bytes, heard: float) -> Told:
    if status not in WHOLE:
        raise Nonsense(f"status {status} and no results: {body[:500]!r}")
    code, retryable = WHOLE[status]
    message = body[:200].decode(errors="replace")
    return Told(
        asked.attempt, asked.proxy, item, asked.sent, heard, code, retryable, message=message
    )


def _one(asked: Asked, item: Item, raw: bytes, heard: float) -> Told:
    said: dict[str, Any] = msgspec.json.decode(raw)
    error = said.get("error")
    if error is not None:
        if said.get("isIdempotent") is not False or "id" in said:
            raise Nonsense(f"an error and a result at once: {raw!r}")
        return Told(
            *(asked.attempt, asked.proxy, item, asked.sent, heard),
            code=error["code"],
            retryable=error["retryable"],
            retry_after=error.get("retryAfterMs", 0) / 1000,
            message=error["message"],
            raw=raw,
        )
    match = _FIELDS.match(raw)
    if match is None:
        raise Nonsense(f"neither a success nor an error: {raw!r}")
    return Told(
        *(asked.attempt, asked.proxy, item, asked.sent, heard),
        raw=raw,
        bare=match["bare"] + b"}",
        is_idempotent=match["flag"] == b"true",
        processed_at=milliseconds(match["at"].decode()),
    )


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
