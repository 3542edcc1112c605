"""One item's answer as a value. Law: values only; ``rules.render`` writes them."""

from __future__ import annotations

from msgspec import Struct


class ErrorBody(Struct, frozen=True):
    """What went wrong with one item, as its client meets it."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None


class Row(Struct, frozen=True):
    """One item's answer. ``result`` None: there is none, and the template for such an item is
    started from. ``processed_at`` None: left as the service wrote it."""

    result: bytes | None
    is_idempotent: bool
    processed_at: int | None = None
    error: ErrorBody | None = None
