"""The values that rules and batches are made of. Law: frozen data, no parsing and no I/O.

Field names follow the rules file (docs/writing-rules.md); durations are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from rules.condition import Condition
from rules.pointer import Pointer

Key = tuple[str | int, ...]
"""The values at a rule's key pointers, in order. ``1`` and ``"1"`` are different keys."""


class Mode(StrEnum):
    OFF = "off"
    SHADOW = "shadow"
    ENFORCE = "enforce"


class Verdict(StrEnum):
    """What a complete upstream response says of the whole call (DESIGN section 4)."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Align(StrEnum):
    POSITION = "position"
    KEY = "key"
    LOOKUP = "lookup"
    SINGLE = "single"


class Problem(StrEnum):
    """Why an item of a readable batch has no key."""

    MISSING_KEY = "MISSING_KEY"
    INVALID_KEY = "INVALID_KEY"


@dataclass(frozen=True, slots=True)
class Match:
    method: str
    path: str
    where: Condition | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    percent: float = 100.0
    rest: Mode = Mode.OFF
    override_header: str | None = None


@dataclass(frozen=True, slots=True)
class ScopePart:
    """One part of a scope: kind is header, query, path or jwt; name is a header name, a query or
    path parameter, or a JSON Pointer into the token's claims."""

    kind: str
    name: str
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class RequestRule:
    items: Pointer
    key: tuple[Pointer, ...]
    forward_missing_key: bool = False
    fingerprint_exclude: tuple[Pointer, ...] = ()
    ignore_mismatch: bool = False
    counts: tuple[Pointer, ...] = ()
    max_items: int = 1000
    max_bytes: int = 8 * 1024 * 1024
    reject_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Offenders:
    """How a rejection names the items at fault. Exactly one of the forms is set: a list with
    ``index`` or ``key`` or ``by_position``, or ``text`` with ``pattern`` (group ``key``)."""

    list_at: Pointer | None = None
    where: Condition | None = None
    index: Pointer | None = None
    key: tuple[Pointer, ...] = ()
    by_position: bool = False
    text: Pointer | None = None
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Isolate:
    max_calls: int = 128
    per_second: float = 100.0


@dataclass(frozen=True, slots=True)
class Lookup:
    """A query of the legacy service for what it has. Single form: one call an item. Batch form
    (``keys`` and ``results`` set): one call for many."""

    method: str
    path: str
    found: tuple[Condition, ...] = ()
    not_found: tuple[Condition, ...] = ()
    result: Pointer = field(default_factory=lambda: Pointer(""))
    always: bool = False
    compare: tuple[Pointer, Pointer] | None = None
    keys: Pointer | None = None
    results: Pointer | None = None
    key: tuple[Pointer, ...] = ()

    @property
    def is_batch(self) -> bool:
        return self.keys is not None


@dataclass(frozen=True, slots=True)
class UpstreamRule:
    detects_duplicates: bool
    timeout: float = 10.0
    max_items: int | None = None
    concurrency: int = 1
    verdicts: tuple[tuple[Verdict, tuple[Condition, ...]], ...] = ()
    """duplicate, rejected, unavailable, refused, success, in this order; the first that holds."""
    offenders: Offenders | None = None
    isolate: Isolate = field(default_factory=Isolate)
    lookup: Lookup | None = None
    settles_within: float | None = None
    signed_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    is_idempotent: str | None = "isIdempotent"
    processed_at: str | None = "processedAt"
    error: str | None = "error"


@dataclass(frozen=True, slots=True)
class ResponseRule:
    results: Pointer | None
    """None where the service gives no item results; the list is then added at /results."""
    align: Align = Align.POSITION
    key: tuple[Pointer, ...] = ()
    failed: Condition | None = None
    duplicate: Condition | None = None
    fields: Fields = field(default_factory=Fields)
    counts: Mapping[str, Pointer] = field(default_factory=dict)
    """total, succeeded, idempotent, failed -> where the number stands."""
    envelope: bytes = b"{}"
    accepted_item: bytes = b"{}"
    failed_item: bytes = b"{}"
    duplicate_result: bytes = b"{}"
    """The templates are JSON texts, serialised once when the rule is loaded."""
    wrap: str | None = None
    partial_status: int | None = 200
    """None: the status of the first failing call (``upstream`` in the file)."""


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    match: Match
    scope: tuple[ScopePart, ...] | None
    """None is the word ``global``."""
    request: RequestRule
    upstream: UpstreamRule
    response: ResponseRule
    generation: int = 1
    mode: Mode = Mode.OFF
    rollout: Rollout = field(default_factory=Rollout)
    retention: float = 86400.0
    lease: float = 30.0
    wait: float = 2.0
    deadline: float = 30.0
    max_result_bytes: int = 64 * 1024
    fail_open: bool = True
    source: Mapping[str, Any] = field(default_factory=dict)
    """The rule as loaded, defaults filled in: what /v1/rules shows, and generations compare."""


class Batch:
    """One readable request body. The sequences are as long as the batch.

    ``raws[i]`` is item i's exact bytes; ``keys[i]`` its key, or None where ``problems`` says why;
    ``fingerprints[i]`` its content's digest, or None where the rule does not compare content.
    ``whole`` is the body as it came (decoded from its content coding), ``span`` where in it the
    array stands, from its ``[`` to behind its ``]``.

    A whole batch is forwarded, and one that is known replayed, without its items' bytes: ``cut``
    gives span and items, and is called when one of them is first asked for.
    """

    __slots__ = ("_cut", "_parts", "fingerprints", "keys", "problems", "whole")

    def __init__(
        self,
        whole: bytes,
        keys: Sequence[Key | None],
        problems: Mapping[int, Problem],
        fingerprints: Sequence[bytes | None],
        cut: Callable[[], tuple[tuple[int, int], Sequence[bytes]]],
    ) -> None:
        self.whole: Final = whole
        self.keys: Final = keys
        self.problems: Final = problems
        self.fingerprints: Final = fingerprints
        self._cut: Final = cut
        self._parts: tuple[tuple[int, int], Sequence[bytes]] | None = None

    @property
    def span(self) -> tuple[int, int]:
        return self._cut_once()[0]

    @property
    def raws(self) -> Sequence[bytes]:
        return self._cut_once()[1]

    def _cut_once(self) -> tuple[tuple[int, int], Sequence[bytes]]:
        if self._parts is None:
            self._parts = self._cut()
        return self._parts

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A body that the rule cannot read. ``reason`` is one of the names in ``rules.request``."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """The service has the item. ``raw``: its result's exact bytes."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class NotFound:
    """The service says that it does not have the item."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """The lookup said nothing that can be relied on."""

    detail: str = ""


Looked = Found | NotFound | Unsure
