"""What a complete upstream response says: of the call, of each item, of the items at fault.

Law: a result is its exact bytes. Results are given only where every one of them belongs to one
sent item beyond doubt; otherwise the answer is None, and the caller knows nothing of its items.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rules.derived import once_each
from rules.itemkeys import key_reader
from rules.jsonshape import check_depth
from rules.jsontext import parse, parse_array, span_of, text_of
from rules.model import Align, Batch, Key, Offenders, Rule, Verdict
from rules.native import array_reader
from rules.pointer import MISSING, Pointer

_MESSAGE_MEMBERS: Final = ("message", "detail", "errorMessage", "error", "errors", "title")
_TEXT_SHOWN: Final = 300
_TEXT_SEARCHED: Final = 64 * 1024
_UNREAD: Final = object()


class Response:
    """A complete response. ``document`` is parsed when first asked for; MISSING where the body
    is not JSON. ``array``: where in the body the results stand, once that was found out."""

    __slots__ = ("_document", "array", "body", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.array: tuple[int, int] | None = None
        self._document: Any = _UNREAD

    @property
    def document(self) -> Any:
        if self._document is _UNREAD:
            try:
                self._document = parse(self.body)
            except ValueError:
                self._document = MISSING
        return self._document

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def verdict(rule: Rule, response: Response) -> Verdict:
    """What the response says of the whole call: the first of the rule's conditions that holds,
    else REFUSED for a 4xx (408 and 499 are timeouts, and say nothing), else UNKNOWN."""
    known = _by_status(rule)
    said = known.get(response.status)
    if said is None:
        said, by_status = _judged(rule, response)
        if by_status:
            known[response.status] = said
    return said


@once_each
def _by_status(_rule: Rule) -> dict[int, Verdict]:
    """What a status says alone, once that was found out."""
    return {}


def _judged(rule: Rule, response: Response) -> tuple[Verdict, bool]:
    """The verdict, and whether it is the status's alone."""
    status = response.status
    kind = f"{status // 100}xx"
    by_status = True
    for meaning, conditions in rule.upstream.verdicts:
        for condition in conditions:
            statuses = condition.statuses
            if statuses and status not in statuses and kind not in statuses:
                continue  # what most conditions come to, and without a call
            by_status = by_status and not condition.needs_document
            document = response.document if condition.needs_document else MISSING
            if condition.holds(status, document):
                return meaning, by_status
    if 400 <= status < 500 and status not in (408, 499):
        return Verdict.REFUSED, by_status
    return Verdict.UNKNOWN, by_status


# ---- results -----------------------------------------------------------------------------------


def results(rule: Rule, response: Response, keys: Sequence[Key | None]) -> Sequence[bytes] | None:
    """The result of each sent item, in the order sent; ``keys`` are the sent items' keys,
    which are looked at with ``align: key``: else only their number counts.

    None where they cannot be matched one to one, and with ``align: lookup``, where the response
    holds none that could be.
    """
    at = rule.response.results
    if at is None:
        return [rule.response.accepted_item] * len(keys)
    if rule.response.align is Align.SINGLE and len(keys) != 1:
        return None
    try:
        if not response.body.isascii():
            response.body.decode()
        if rule.response.failed is not None or rule.response.duplicate is not None:
            check_depth(response.body)  # each result is parsed, and must be able to
        reader = array_reader(at)
        found = None if reader is None else reader(response.body)
        if found is not None:
            start, end, raws = found
            response.array = (start, end)
            return _aligned(rule, raws, response.body, (start, end), keys)
        span = span_of(response.body, at)
        if span is None:
            return None
        return _read_exactly(rule, response.body[span[0] : span[1]], keys)
    except ValueError:
        return None


def _read_exactly(rule: Rule, value: bytes, keys: Sequence[Key | None]) -> Sequence[bytes] | None:
    is_list = value.startswith(b"[")
    if not is_list:
        if rule.response.align is not Align.SINGLE:
            return None
        parse(value)
        return [value]
    return _aligned(rule, list(map(bytes, parse_array(value))), value, (0, len(value)), keys)


def _aligned(
    rule: Rule,
    raws: Sequence[bytes],
    body: bytes,
    span: tuple[int, int],
    keys: Sequence[Key | None],
) -> Sequence[bytes] | None:
    """The elements of the array at ``span`` of ``body`` as the results of what was sent."""
    if len(raws) != len(keys) or rule.response.align is Align.LOOKUP:
        return None
    if rule.response.align is not Align.KEY:
        return raws
    return _by_key(rule, list(raws), body[span[0] : span[1]], keys)


def _by_key(
    rule: Rule, raws: list[bytes], array: bytes, keys: Sequence[Key | None]
) -> list[bytes] | None:
    """Results by the keys that they echo, compared with their types. Results that echo none go
    to the items that have none, in order."""
    echoed, _ = key_reader(rule.response.key).read(raws, array)
    if Counter(echoed) != Counter(keys):
        return None
    found = {key: raw for key, raw in zip(echoed, raws, strict=True) if key is not None}
    if len(found) + echoed.count(None) != len(raws):
        return None
    keyless = iter([raw for key, raw in zip(echoed, raws, strict=True) if key is None])
    return [next(keyless) if key is None else found[key] for key in keys]


def is_failed(rule: Rule, raw: bytes) -> bool:
    """Whether the result says that its item failed."""
    condition = rule.response.failed
    return condition is not None and condition.holds(None, parse(raw))


def is_duplicate(rule: Rule, raw: bytes) -> bool:
    """Whether the result says that the service had this item before."""
    condition = rule.response.duplicate
    return condition is not None and condition.holds(None, parse(raw))


# ---- offenders ---------------------------------------------------------------------------------


def offenders(
    rule: Rule, response: Response, batch: Batch, indexes: Sequence[int]
) -> dict[int, str] | None:
    """Which of the sent items ``indexes`` a rejection names: position in ``indexes`` -> what the
    upstream says of it. None where it names none of them; others that it names are ignored."""
    form = rule.upstream.offenders
    found: Iterator[tuple[int, str]] = iter(())
    if form is not None and form.list_at is not None:
        found = _in_list(form, form.list_at, response, batch, indexes)
    elif form is not None and form.text is not None:
        found = _in_text(form.pattern, form.text, response, batch, indexes)
    named: dict[int, str] = {}
    for position, message in found:
        named.setdefault(position, message)
    return named or None


def _in_list(
    form: Offenders, at: Pointer, response: Response, batch: Batch, indexes: Sequence[int]
) -> Iterator[tuple[int, str]]:
    elements = at.get(response.document)
    if not isinstance(elements, list) or (form.by_position and len(elements) != len(indexes)):
        return
    positions = {batch.keys[i]: p for p, i in enumerate(indexes) if batch.keys[i] is not None}
    for place, element in enumerate(elements):
        if form.where is not None and not form.where.holds(response.status, element):
            continue
        position = place if form.by_position else None
        if form.index is not None:
            position = _index(form.index.get(element), len(indexes))
        elif form.key:
            position = positions.get(_key_in(form.key, element) or ())
        if position is not None:
            yield position, _message_in(element) or rejection_message(response)


def _index(value: Any, length: int) -> int | None:
    """An index into what was sent: a number, or its digits in a string."""
    text = text_of(value) or ""
    index = int(text) if text.isdecimal() and len(text) < 10 else length
    return index if index < length and not isinstance(value, bool) else None


def _key_in(pointers: tuple[Pointer, ...], element: Any) -> Key | None:
    values = tuple(p.get(element) for p in pointers)
    return values if all(type(v) in (str, int) for v in values) else None


def _in_text(
    pattern: str, at: Pointer, response: Response, batch: Batch, indexes: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Keys that a message names, compared as text; several values stand as ``a, b``. A text that
    two items share names neither."""
    text = text_of(at.get(response.document)) if at.tokens else response.text
    if text is None:
        return
    texts = [_key_text(batch.keys[i]) for i in indexes]
    shared = Counter(texts)
    positions = {t: p for p, t in enumerate(texts) if t is not None and shared[t] == 1}
    message = rejection_message(response)
    for match in re.finditer(pattern, text[:_TEXT_SEARCHED]):
        position = positions.get(match["key"])
        if position is not None:
            yield position, message


def _key_text(key: Key | None) -> str | None:
    return None if key is None else ", ".join(map(str, key))


# ---- messages ----------------------------------------------------------------------------------


def rejection_message(response: Response) -> str:
    """The best words for people in an error body; never empty."""
    return (
        _message_in(response.document)
        or response.text.strip()[:_TEXT_SHOWN]
        or f"HTTP {response.status}"
    )


def _message_in(value: Any, depth: int = 3) -> str | None:
    if isinstance(value, str):
        return value.strip()[:_TEXT_SHOWN] or None
    if depth and isinstance(value, list) and value:
        return _message_in(value[0], depth - 1)
    if depth and isinstance(value, dict):
        for name in _MESSAGE_MEMBERS:
            message = _message_in(value.get(name), depth - 1)
            if message:
                return message
    return None
