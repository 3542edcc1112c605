"""What became of one item: its outcome, result and error. Law: values and two tables, nothing else.

A ``Fate`` is what the client is told of one item. The codes and which of them a client may
retry are the contract's; ``OUTCOME_UNKNOWN`` alone depends on the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, cast

from msgspec.structs import replace

from proxy.core.record import Done
from rules.row import ErrorBody, Row


class Outcome(StrEnum):
    """The label of ``idemproxy_items_total``."""

    NEW = "new"
    REPLAYED = "replayed"
    ECHOED = "echoed"
    MISMATCH = "mismatch"
    IN_PROGRESS = "in_progress"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    INVALID = "invalid"


SUCCESSES: Final = (Outcome.NEW, Outcome.REPLAYED, Outcome.ECHOED)


class Code(StrEnum):
    MISSING_KEY = "MISSING_KEY"
    INVALID_KEY = "INVALID_KEY"
    PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH"
    IN_PROGRESS = "IN_PROGRESS"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    UPSTREAM_REJECTED = "UPSTREAM_REJECTED"
    UPSTREAM_REFUSED = "UPSTREAM_REFUSED"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_DUPLICATE_NOT_FOUND = "UPSTREAM_DUPLICATE_NOT_FOUND"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    ISOLATION_LIMIT = "ISOLATION_LIMIT"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"


OUTCOME_OF: Final[dict[Code, Outcome]] = {
    Code.MISSING_KEY: Outcome.INVALID,
    Code.INVALID_KEY: Outcome.INVALID,
    Code.PAYLOAD_MISMATCH: Outcome.MISMATCH,
    Code.IN_PROGRESS: Outcome.IN_PROGRESS,
    Code.OUTCOME_UNKNOWN: Outcome.UNKNOWN,
    Code.UPSTREAM_REJECTED: Outcome.REJECTED,
    Code.UPSTREAM_FAILED: Outcome.REJECTED,
    Code.UPSTREAM_REFUSED: Outcome.UNAVAILABLE,
    Code.UPSTREAM_UNAVAILABLE: Outcome.UNAVAILABLE,
    Code.UPSTREAM_DUPLICATE_NOT_FOUND: Outcome.UNAVAILABLE,
    Code.ISOLATION_LIMIT: Outcome.UNAVAILABLE,
    Code.STORE_UNAVAILABLE: Outcome.UNAVAILABLE,
}

RETRYABLE: Final[frozenset[Code]] = frozenset(
    {
        Code.IN_PROGRESS,
        Code.UPSTREAM_UNAVAILABLE,
        Code.UPSTREAM_REFUSED,
        Code.UPSTREAM_DUPLICATE_NOT_FOUND,
        Code.ISOLATION_LIMIT,
        Code.STORE_UNAVAILABLE,
    }
)


class Fate(Row, frozen=True):
    """What the client is told of one item, as ``rules.render`` takes it.

    ``result``: the service's own bytes, or None where there are none (a template stands in).
    ``processed_at``: milliseconds of the epoch; None for a failure. ``error`` None: a success.
    """

    outcome: Outcome = Outcome.NEW

    @property
    def succeeded(self) -> bool:
        return self.error is None

    @property
    def code(self) -> Code | None:
        return None if self.error is None else cast(Code, self.error.code)

    @property
    def retryable(self) -> bool:
        return self.error is not None and self.error.retryable

    @property
    def retry_after_ms(self) -> int | None:
        """When a retry can make sense, where that is known."""
        return None if self.error is None else self.error.retry_after_ms


def new(result: bytes | None, processed_at: int) -> Fate:
    """Done just now, by this request."""
    return Fate(result, False, processed_at)


def replayed(result: bytes | None, processed_at: int) -> Fate:
    """Done before: from its record, or adopted from the service."""
    return Fate(result, True, processed_at, None, Outcome.REPLAYED)


def from_record(record: Done) -> Fate:
    return Fate(record.result, True, record.processed_at, None, Outcome.REPLAYED)


def from_records(records: Sequence[Done]) -> list[Fate]:
    """The same for many: the enum's member is looked up once."""
    outcome = Outcome.REPLAYED
    return [Fate(r.result, True, r.processed_at, None, outcome) for r in records]


def failed(
    code: Code,
    message: str,
    *,
    result: bytes | None = None,
    retryable: bool | None = None,
    retry_after_ms: int | None = None,
) -> Fate:
    """An error. ``retryable`` None: as the table says."""
    may_retry = code in RETRYABLE if retryable is None else retryable
    error = ErrorBody(code, message, may_retry, retry_after_ms)
    return Fate(result, False, None, error, OUTCOME_OF[code])


def echo_of(first: Fate) -> Fate:
    """A repeat of (key, content) inside one batch: the first one's result, or its error."""
    if not first.succeeded:
        return first
    return replace(first, is_idempotent=True, outcome=Outcome.ECHOED)
