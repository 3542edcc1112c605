"""What the records API is asked and answers. Law: values only; openapi.py makes schemas of them.

An unknown member is refused by name, so that a misspelt ``force`` is never a silent no.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

KeyValue = str | int
KeyForm = KeyValue | list[KeyValue]
"""A key as it stands in JSON: its value, or a list of its values where the rule has several."""

MAX_KEYS = 1000

State = Literal["absent", "held", "doubt", "done", "foreign", "unreadable"]

Line = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Asked(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which records. Either ``scope`` and ``keys``, or ``digests`` from a list or a log line."""

    rule: str
    generation: int | None = None
    """The rule's current one where left out."""
    scope: list[str] = []
    keys: Annotated[list[KeyForm], Meta(max_length=MAX_KEYS)] = []
    digests: Annotated[list[str], Meta(max_length=MAX_KEYS)] = []


class LookupRequest(Asked, kw_only=True, forbid_unknown_fields=True):
    """Read records; changes nothing."""


class ReleaseRequest(Asked, kw_only=True, forbid_unknown_fields=True):
    """Forget records, so that their items can be done again."""

    by: Line
    why: Line
    force: bool = False


class ResolveRequest(Asked, kw_only=True, forbid_unknown_fields=True):
    """Write down what became of doubtful items: done (with its result), or not done."""

    outcome: Literal["done", "not_done"]
    result: Raw | UnsetType = UNSET
    """The item's result, byte for byte what repeats are answered with."""
    processedAt: str | None = None  # noqa: N815 -- the name on the wire
    by: Line
    why: Line
    force: bool = False


class ListRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Walk through the store. A page can be empty and still have a cursor to go on with."""

    states: list[Literal["held", "doubt", "done", "foreign"]] = field(
        default_factory=lambda: ["doubt"]
    )
    limit: Annotated[int, Meta(ge=1, le=MAX_KEYS)] = 100
    cursor: str = ""


class RecordView(Struct, kw_only=True, omit_defaults=True):
    """One record. Times are RFC 3339 UTC; ``result`` is there where the record has one."""

    digest: str
    state: State
    key: KeyForm | None = None
    processedAt: str | None = None  # noqa: N815
    result: Raw | UnsetType = UNSET
    template: bool = False
    attempts: int | None = None
    leaseUntil: str | None = None  # noqa: N815
    live: bool = False
    suspect: bool = False
    sent: bool = False
    doubtSince: str | None = None  # noqa: N815


class Records(Struct, kw_only=True):
    """The answer to lookup, and a page of a list."""

    records: list[RecordView]
    cursor: str = ""
    """Empty at the end of a list."""


class Change(Struct, kw_only=True, omit_defaults=True):
    """What became of one record that was to be changed."""

    digest: str
    was: State
    changed: bool
    key: KeyForm | None = None
    reason: str = ""


class Changes(Struct, kw_only=True):
    """The answer to release and resolve."""

    results: list[Change]


class ProblemDocument(Struct, kw_only=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
