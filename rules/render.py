"""One answer body: the rule's fields added to each result, the list put in its place, recounted.

Law: what the service wrote stays byte for byte. A field is spliced in before an object's closing
brace; only members of the rule's own field names are replaced or taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Final

import msgspec

from rules.derived import once_each
from rules.jsonshape import SPACE
from rules.jsontext import escaped_spelling, members, span_of, validate
from rules.model import Fields, Rule
from rules.native import ended, ended_each, member_finder
from rules.pointer import Pointer
from rules.row import ErrorBody, Row
from rules.rows import AlikeRows

_WRITE: Final = msgspec.json.Encoder().encode
_ADDED_RESULTS: Final = Pointer("/results")
_Counts = tuple[tuple[str, Pointer], ...]
_Places = list[tuple[int, int, str | None]] | None
_CLOSE: Final = ord("}")


def processed_at_text(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-23T10:00:00.000Z``."""
    return f"{_second_text(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


# ---- one item ----------------------------------------------------------------------------------


class _Painter:
    """Adds one rule's fields to results; what many rows share is made once."""

    def __init__(
        self, fields: Fields, failed_item: bytes, done_items: tuple[bytes, bytes], wrap: str | None
    ) -> None:
        self._fields = fields
        self._failed_item = failed_item
        self._done_items = done_items
        named = (fields.is_idempotent, fields.processed_at, fields.error)
        self._names = frozenset(name for name in named if name is not None)
        self._quoted = list(map(_WRITE, self._names))
        self._are_letters = all(name.isascii() and name.isalnum() for name in self._names)
        self._escaped = escaped_spelling(self._names)
        self._wrap = None if wrap is None else b"{" + _WRITE(wrap) + b":"
        flag, time = fields.is_idempotent, fields.processed_at
        lead = b"" if flag is None else b",%s:" % _WRITE(flag)
        self._flags = (lead and lead + b"false", lead and lead + b"true")
        self._time_name = b"" if time is None else b",%s:" % _WRITE(time)
        # Bounded: nearly all rows of an answer share an ending, few share it with other answers.
        self._ending = lru_cache(maxsize=1024)(self._made_ending)

    def array(self, rows: Sequence[Row]) -> bytes:
        """The JSON array of all the rows."""
        if isinstance(rows, AlikeRows):
            results = rows.results
            if ended is not None and self._are_letters:
                ending = self._ending(rows.is_idempotent, rows.processed_at)
                listed = ended(results, ending, self._quoted)
                if listed is not None:
                    return listed
        else:
            results = [row.result or b"" for row in rows]
        endings = self._endings(rows, results)
        if ended_each is not None and self._are_letters:
            shown = [
                self.paint(rows[place]) if ending is None else result
                for place, (result, ending) in enumerate(zip(results, endings, strict=True))
            ]
            listed = ended_each(shown, endings, self._quoted)
            if listed is not None:
                return listed
        if self._has_names(b"".join(results)):
            return b"".join((b"[", b",".join(map(self.paint, rows)), b"]"))
        painted = [
            self.paint(rows[place]) if ending is None else result[:-1] + ending
            for place, (result, ending) in enumerate(zip(results, endings, strict=True))
        ]
        return b"".join((b"[", b",".join(painted), b"]"))

    def _endings(self, rows: Sequence[Row], results: Sequence[bytes]) -> list[bytes | None]:
        """What follows each one's members, with the closing brace; None where more is to be done.

        Nearly every row of nearly every answer, an object with members and no space around it,
        takes one, and mostly the same as the row before it."""
        if isinstance(rows, AlikeRows):
            same = self._ending(rows.is_idempotent, rows.processed_at)
            return [same if _takes_ending(result) else None for result in results]
        endings: list[bytes | None] = []
        flag = False
        time: int | None = None
        ending = self._ending(flag, time)
        for row, result in zip(rows, results, strict=True):
            if row.error is None and _takes_ending(result):
                if row.processed_at != time or row.is_idempotent is not flag:
                    flag, time = row.is_idempotent, row.processed_at
                    ending = self._ending(flag, time)
                endings.append(ending)
            else:
                endings.append(None)
        return endings

    def paint(self, row: Row) -> bytes:
        """One row."""
        result = row.result
        if result is None and row.error is None:
            result = self._done_items[row.is_idempotent]
        base = self._object(result, row.error)
        if base is None:
            assert result is not None  # noqa: S101 - for the type checker
            return result
        values = self._values(row)
        if self._has_names(base):
            return self._replaced(base, values, row.processed_at is None and row.error is None)
        spliced = _members_text(values)
        comma = b"," if spliced and base[1:-1].strip(SPACE) else b""
        return b"".join((base[:-1], comma, spliced, b"}"))

    def _made_ending(self, is_idempotent: bool, processed_at: int | None) -> bytes:
        """What follows the members of a success, with the closing brace."""
        ending = self._flags[is_idempotent]
        if self._time_name and processed_at is not None:
            ending += b'%s"%s"' % (self._time_name, processed_at_text(processed_at).encode())
        return ending + b"}"

    def _has_names(self, text: bytes) -> bool:
        """Whether a member of the fields' names may stand in ``text``."""
        if b"\\" in text and self._escaped.search(text):
            return True
        return any(quoted in text for quoted in self._quoted)

    def _object(self, result: bytes | None, error: ErrorBody | None) -> bytes | None:
        """The object that takes the fields; None where the bare result is the answer."""
        base = (self._failed_item if result is None else result).strip(SPACE)
        if base.startswith(b"{"):
            return base
        if self._wrap is not None:
            return self._wrap + base + b"}"
        if error is None:
            return None
        template = self._failed_item.strip(SPACE)
        return template if template.startswith(b"{") else b"{}"

    def _values(self, row: Row) -> dict[str, bytes]:
        """The fields that the row has, and their values."""
        fields, error = self._fields, row.error
        values: dict[str, bytes] = {}
        if fields.is_idempotent is not None:
            is_idempotent = row.is_idempotent and error is None
            values[fields.is_idempotent] = b"true" if is_idempotent else b"false"
        if fields.processed_at is not None and row.processed_at is not None and error is None:
            values[fields.processed_at] = b'"%s"' % processed_at_text(row.processed_at).encode()
        if fields.error is not None and error is not None:
            values[fields.error] = _error_text(error)
        return values

    def _replaced(self, base: bytes, values: dict[str, bytes], keep_time: bool) -> bytes:
        """``base`` with members of the fields' names replaced where they stand, or taken out with
        one comma where the row has no value for them."""
        found = members(base)
        left = dict(values)
        parts = [base[: found[0].at] if found else base[:-1]]
        kept = False
        for place, member in enumerate(found):
            text = base[member.at : member.end]
            if member.name in self._names and not (
                keep_time and member.name == self._fields.processed_at
            ):
                value = left.pop(member.name, None)
                if value is None:
                    continue
                text = base[member.at : member.start] + value
            parts += [base[found[place - 1].end : member.at] if kept else b"", text]
            kept = True
        parts.append(base[found[-1].end : -1] if found else b"")
        comma = b"," if kept and left else b""
        return b"".join([*parts, comma, _members_text(left), b"}"])


def _takes_ending(result: bytes) -> bool:
    """Whether it is an object with members and no space around it."""
    return result.startswith(b'{"') and result[-1] == _CLOSE


def _members_text(values: dict[str, bytes]) -> bytes:
    return b",".join([b"%s:%s" % (_WRITE(name), value) for name, value in values.items()])


def _error_text(error: ErrorBody) -> bytes:
    body: dict[str, str | bool | int] = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
    }
    if error.retry_after_ms is not None:
        body["retryAfterMs"] = error.retry_after_ms
    return _WRITE(body)


@once_each
def _painter_of(rule: Rule) -> _Painter:
    response = rule.response
    done = (response.accepted_item, response.duplicate_result)
    return _Painter(response.fields, response.failed_item, done, response.wrap)


def with_fields(rule: Rule, row: Row) -> bytes:
    """One item of the answer: its result with the rule's fields.

    A success has ``is_idempotent`` and ``processed_at`` and no error; a failure has
    ``is_idempotent`` false and the error. Without a result it starts from a template of the
    rule: ``accepted_item``, ``duplicate_result`` or ``failed_item``. A result that is no object
    goes into ``wrap``; without it a success stays bare, and a failure starts from ``failed_item``.
    """
    return _painter_of(rule).paint(row)


# ---- the whole body ----------------------------------------------------------------------------


def render(
    rule: Rule, base: bytes, rows: Sequence[Row], array: tuple[int, int] | None = None
) -> bytes:
    """The answer: ``base`` (the service's own body, or the rule's envelope) with the list of
    results replaced and the counts rewritten; what is missing on the way to them is made.

    Without ``response.results`` the list is added at /results; a body that is no object becomes
    ``{"results": [...]}``. ``array``: where the list stands in ``base``, where that is known.
    """
    listed = _painter_of(rule).array(rows)
    response = rule.response
    if base is response.envelope:
        base, places = _frame(rule)
    else:
        places = _places(base, _list_at(response.results), tuple(response.counts.items()), array)
    if places is None:
        return _rendered(rule, base, listed, rows)
    numbers = _counted(rows) if response.counts else {}
    parts: list[bytes] = []
    position = 0
    for start, end, name in places:
        value = listed if name is None else b"%d" % numbers[name]
        parts += (base[position:start], value)
        position = end
    parts.append(base[position:])
    return b"".join(parts)


def _list_at(results: Pointer | None) -> Pointer:
    return _ADDED_RESULTS if results is None else results


@once_each
def _frame(rule: Rule) -> tuple[bytes, _Places]:
    """The rule's own envelope with the list and every count in it, and where they stand: many
    answers start from it."""
    results, counts = rule.response.results, tuple(rule.response.counts.items())
    at = _list_at(results)
    body = _base_for(rule.response.envelope, results)
    for pointer in (at, *(pointer for _, pointer in counts)):
        body = _with_value(body, pointer.tokens, b"0")
    return body, _places(body, at, counts)


def _places(
    base: bytes, at: Pointer, counts: _Counts, array: tuple[int, int] | None = None
) -> _Places:
    """Where in ``base`` the list (name None) and the counts stand, in order. None where one of
    them does not, or stands in another."""
    try:
        spans = _spans(base, [at, *(pointer for _, pointer in counts)], array)
    except ValueError:
        return None
    names = (None, *(name for name, _ in counts))
    found = [(*span, name) for span, name in zip(spans, names, strict=True) if span is not None]
    found.sort(key=itemgetter(0))
    apart = all(left[1] <= right[0] for left, right in pairwise(found))
    return found if apart and len(found) == len(names) else None


def _spans(
    base: bytes, pointers: list[Pointer], array: tuple[int, int] | None
) -> list[tuple[int, int] | None]:
    """Where the values at ``pointers`` stand. One look at the members serves all those that are
    members of the body itself, as mostly all of them are."""
    if not base.startswith(b"{") or any(len(pointer.tokens) != 1 for pointer in pointers):
        return [span_of(base, pointer, strict=False) for pointer in pointers]
    finder = member_finder(tuple([pointer.tokens[0] for pointer in pointers]))
    if finder is not None:
        found = finder(base, *(array or (-1, -1)))
        if found is not None:
            return found
    by_name = {member.name: (member.start, member.end) for member in members(base)}
    return [by_name.get(pointer.tokens[0]) for pointer in pointers]


def _rendered(rule: Rule, base: bytes, listed: bytes, rows: Sequence[Row]) -> bytes:
    """The answer where the list or a count does not stand in ``base`` yet."""
    at = _list_at(rule.response.results)
    span = _span_or_none(base, at)
    if span is not None:  # the counts are found quicker with the list out of the way
        base = b"".join((base[: span[0]], b"[]", base[span[1] :]))
    else:
        base = _with_value(_base_for(base, rule.response.results), at.tokens, b"[]")
    for name, number in _counted(rows).items():
        pointer = rule.response.counts.get(name)
        if pointer is not None:
            base = _with_value(base, pointer.tokens, b"%d" % number)
    return _with_value(base, at.tokens, listed)


def _span_or_none(base: bytes, pointer: Pointer) -> tuple[int, int] | None:
    try:
        return span_of(base, pointer, strict=False)
    except ValueError:
        return None


def _base_for(base: bytes, results: Pointer | None) -> bytes:
    """``base`` where the list can be put into it, else an empty object."""
    return base if _opens_with(base, b"{" if results is None else b"{[") else b"{}"


def _opens_with(base: bytes, brackets: bytes) -> bool:
    """Whether ``base`` is JSON, an object or an array as ``brackets`` says."""
    try:
        validate(base)
    except ValueError:
        return False
    return base.lstrip(SPACE)[0] in brackets


def _counted(rows: Sequence[Row]) -> dict[str, int]:
    """Replayed items are successes too."""
    if isinstance(rows, AlikeRows):
        idempotent = len(rows) if rows.is_idempotent else 0
        return {"total": len(rows), "succeeded": len(rows), "idempotent": idempotent, "failed": 0}
    failed = sum([row.error is not None for row in rows])
    idempotent = sum([row.is_idempotent and row.error is None for row in rows])
    return {
        "total": len(rows),
        "succeeded": len(rows) - failed,
        "idempotent": idempotent,
        "failed": failed,
    }


def _with_value(data: bytes, tokens: tuple[str, ...], value: bytes) -> bytes:
    """``data`` with ``value`` at ``tokens``. Where nothing stands, members are added at the end of
    the innermost object there is, or an element at the end of a list; a scalar on the way gives
    place to an object."""
    if not tokens:
        return value
    data = data.strip(SPACE)
    is_list = data.startswith(b"[")
    if not is_list and not data.startswith(b"{"):
        data = b"{}"
    span = span_of(data, _pointer(tokens[0]), strict=False)
    if span is not None:
        inner = _with_value(data[span[0] : span[1]], tokens[1:], value)
        return b"".join((data[: span[0]], inner, data[span[1] :]))
    inner = _with_value(b"{}", tokens[1:], value)
    comma = b"," if data[1:-1].strip(SPACE) else b""
    name = b"" if is_list else _WRITE(tokens[0]) + b":"
    return b"".join((data[:-1], comma, name, inner, data[-1:]))


def _pointer(token: str) -> Pointer:
    return Pointer("/" + token.replace("~", "~0").replace("/", "~1"))
