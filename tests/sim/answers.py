"""What a client reads in an answer: one ``Told`` an item. Law: it takes nothing on trust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from proxy.core.fate import Code
from proxy.exchange import Answer
from tests.sim.oracle import Told, ViolationError

_ROWS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
Item = tuple[str, str]
"""Key and value."""


def is_definite(told: Told) -> bool:
    return told.code is None or not told.retryable


def read_answer(answer: Answer, attempt: int, tenant: str, wanted: Sequence[Item]) -> list[Told]:
    """What an answer says of each item, in order; the service's own answer speaks of all."""
    whole: dict[str, Any] = _ROWS.decode(answer.body)
    if "results" not in whole:
        return [_refused(answer, attempt, (tenant, key), value) for key, value in wanted]
    rows = _LIST.decode(whole["results"])
    if len(rows) != len(wanted):
        raise ViolationError(f"OrderAndCount: {len(rows)} results for {len(wanted)} items")
    return [
        _read_row(bytes(row), attempt, (tenant, key), value)
        for row, (key, value) in zip(rows, wanted, strict=True)
    ]


def _refused(answer: Answer, attempt: int, name: tuple[str, str], value: str) -> Told:
    codes = {
        401: Code.UPSTREAM_REFUSED,
        409: Code.ISOLATION_LIMIT,
        422: Code.UPSTREAM_REJECTED,
        429: Code.UPSTREAM_UNAVAILABLE,
        503: Code.UPSTREAM_UNAVAILABLE,
    }
    if answer.status not in codes:
        raise ViolationError(f"OwnAnswer: {answer}")
    code = codes[answer.status]
    return Told(attempt, name, value, code, answer.status != 422, b"", b"", False, None)


def _read_row(row: bytes, attempt: int, name: tuple[str, str], value: str) -> Told:
    read = orjson.loads(row)
    error = read.get("error")
    if read.get("key", name[1]) != name[1] or read.get("tenant", name[0]) != name[0]:
        raise ViolationError(f"OrderAndCount: {read} in the place of {name}")
    return Told(
        attempt,
        name,
        value,
        error["code"] if error else None,
        bool(error and error["retryable"]),
        row,
        bare(row),
        read["isIdempotent"],
        read.get("processedAt"),
    )


def bare(row: bytes) -> bytes:
    """A result as it was before the rule's fields were spliced in before its closing brace."""
    head, found, _ = row.partition(b'"isIdempotent":')
    return head.rstrip(b",") + b"}" if found else row
