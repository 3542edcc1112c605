"""A request body to a batch of items, and a part of a batch back to a body.

Law: an item is its exact bytes, sliced and joined and never written again; outside the array
every byte stays, apart from the counts that the rule names. Reasons why a body cannot be read::

    not_utf8           not UTF-8
    not_json           not one JSON text (a byte order mark, NaN, a lone surrogate, junk behind it)
    too_deep           nested deeper than 64
    no_items           no array stands at the rule's pointer
    duplicate_member   a name stands twice on the way to the items, a count or an item's key
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Raw

from rules.contents import (
    CANONICAL,
    DOCUMENT,
    Contents,
    contents_of,
    is_surely_shallow,
    plain_keys,
)
from rules.itemkeys import key_reader
from rules.jsonshape import TooDeep, array_length, check_depth
from rules.jsontext import DuplicateMember, parse_array, parse_long_integers, span_of, validate
from rules.model import Batch, Rule, Unreadable
from rules.native import item_reader
from rules.packed import PackedKeys
from rules.pointer import Pointer, index_in

FINGERPRINT_BYTES: Final = 16
_HASHER: Final = blake2b(digest_size=FINGERPRINT_BYTES)
_COUNT_FIRST: Final = 250_000
"""With more commas than this the elements are counted before an object is made of each: an array
of 8 MB may hold four million."""


@dataclass(frozen=True, slots=True)
class TooMany:
    """The batch has ``count`` items, more than the rule's ``max_items``."""

    count: int


def read_batch(rule: Rule, body: bytes) -> Batch | Unreadable | TooMany:
    """The batch in ``body``. ``max_bytes`` is the caller's to hold, before this."""
    try:
        if not body.isascii():
            body.decode()
        return _read(rule, body)
    except UnicodeDecodeError as error:
        return Unreadable("not_utf8", f"the body is not UTF-8 at byte {error.start}")
    except TooDeep as error:
        return Unreadable("too_deep", str(error))
    except DuplicateMember as error:
        return Unreadable("duplicate_member", str(error))
    except ValueError as error:
        return Unreadable("not_json", str(error))


def _read(rule: Rule, body: bytes) -> Batch | Unreadable | TooMany:
    request = rule.request
    if (batch := _read_natively(rule, body)) is not None:
        return batch
    if request.ignore_mismatch or _has_many_values(body):
        return _read_exactly(rule, body, None)
    contents = contents_of(body, request.items)
    if contents is None or not contents.is_whole:
        return _read_exactly(rule, body, contents)
    if not is_surely_shallow(contents):
        check_depth(body)
    if len(contents.items) > request.max_items:
        return TooMany(len(contents.items))
    keys = plain_keys(contents.items, request.key)
    if keys is None:
        return _read_exactly(rule, body, contents)
    prints = _of_contents(rule, contents)
    return Batch(body, keys, {}, prints, partial(_cut, body, request.items))


def _read_natively(rule: Rule, body: bytes) -> Batch | None:
    """By the compiled build's reader, where there is one and it takes this body."""
    reader = item_reader(rule)
    read = None if reader is None else reader(body, rule.request.max_items)
    if read is None:
        return None
    for pointer in rule.request.counts:
        span_of(body, pointer)
    packed, prints, span, items = read
    keys = PackedKeys(packed, len(prints), len(rule.request.key))
    return Batch(body, keys, {}, prints, lambda: (span, items))


def _has_many_values(body: bytes) -> bool:
    """Whether so many stand in ``body`` that they are to be counted first."""
    return len(body) > _COUNT_FIRST and any(
        body.count(c) > _COUNT_FIRST for c in (b",", b"[", b"{")
    )


def _read_exactly(
    rule: Rule, body: bytes, contents: Contents | None
) -> Batch | Unreadable | TooMany:
    """Every step by itself, each of which looks for what could be wrong. ``contents``: those of
    the array, if nothing is wrong."""
    request = rule.request
    span = span_of(body, request.items)
    if span is None or body[span[0]] != ord("["):
        validate(body)
        check_depth(body)
        return Unreadable("no_items", f'no array stands at "{request.items.text}"')
    array = body[span[0] : span[1]]
    if len(array) > _COUNT_FIRST and array.count(b",") > _COUNT_FIRST:
        validate(array)
        check_depth(body)
        count = array_length(array)
        raws = parse_array(array) if count <= request.max_items else []
    else:
        raws = parse_array(array)
        count = len(raws)
        check_depth(body)
    if count > request.max_items:
        return TooMany(count)
    for pointer in request.counts:
        span_of(body, pointer)
    items = list(map(bytes, raws))
    keys, problems = key_reader(request.key).read(items, array)
    prints: Sequence[bytes | None]
    if request.ignore_mismatch:
        prints = [None] * count
    else:
        prints = fingerprints(rule, items) if contents is None else _of_contents(rule, contents)
    return Batch(body, keys, problems, prints, lambda: (span, items))


def _cut(body: bytes, at: Pointer) -> tuple[tuple[int, int], list[bytes]]:
    """Where the items of a body stand that is known to be good, and their bytes."""
    span = span_of(body, at)
    assert span is not None  # noqa: S101 - the items were read from there
    return span, list(map(bytes, parse_array(body[span[0] : span[1]])))


def sub_body(rule: Rule, batch: Batch, indexes: Sequence[int]) -> bytes:
    """The body with only these items, in this order; the very body where they are all, in order."""
    if len(indexes) == len(batch) and list(indexes) == list(range(len(batch))):
        return batch.whole
    array = b"[" + b",".join([batch.raws[i] for i in indexes]) + b"]"
    edits = [(*batch.span, array)]
    for pointer in rule.request.counts:
        span = span_of(batch.whole, pointer)
        if span is not None and _is_number_beside(batch, span):
            edits.append((*span, str(len(indexes)).encode()))
    return _edited(batch.whole, edits)


def _is_number_beside(batch: Batch, span: tuple[int, int]) -> bool:
    """Whether a number stands there, and outside the array."""
    is_number = batch.whole[span[0]] in b"-0123456789"
    return is_number and (span[1] <= batch.span[0] or batch.span[1] <= span[0])


def _edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    parts = []
    position = 0
    for start, end, text in sorted(set(edits)):
        parts += [data[position:start], text]
        position = end
    return b"".join([*parts, data[position:]])


# ---- fingerprints ------------------------------------------------------------------------------


_VALUES: Final = msgspec.json.Decoder(list[Any], float_hook=Raw)


def fingerprints(rule: Rule, raws: Sequence[bytes]) -> list[bytes]:
    """A digest of each item's content: of its canonical JSON (members sorted by name, no space,
    strings by their characters, numbers by their text), without what the rule excludes.

    Of a repeated member name the last counts. The integer ``-0`` is ``0``.
    """
    try:
        values = _VALUES.decode(b"[" + b",".join(raws) + b"]")
    except msgspec.ValidationError:
        values = [_value(raw) for raw in raws]
    return _digests(CANONICAL.encode_lines(_compared(rule, values)))


def _of_contents(rule: Rule, contents: Contents) -> list[bytes]:
    """The same, of items that are read already, and may be changed."""
    if not rule.request.fingerprint_exclude:
        return _digests(contents.lines)
    return _digests(CANONICAL.encode_lines(_compared(rule, contents.items)))


def _compared(rule: Rule, values: list[Any]) -> list[Any]:
    """``values`` without what the rule excludes, which is taken out of them."""
    exclude = _in_order_of_removal(rule.request.fingerprint_exclude)
    return [_without(value, exclude) for value in values] if exclude else values


def _digests(lines: bytes) -> list[bytes]:
    """Of each line; canonical JSON has no line feed of its own."""
    copy, digests = _HASHER.copy, []
    for line in lines.split(b"\n")[:-1]:
        hasher = copy()  # cheaper than a call with digest_size
        hasher.update(line)
        digests.append(hasher.digest())
    return digests


def _value(raw: bytes) -> Any:
    try:
        return DOCUMENT.decode(raw)
    except msgspec.ValidationError:
        return parse_long_integers(raw, Raw)


@lru_cache(maxsize=1024)
def _in_order_of_removal(pointers: tuple[Pointer, ...]) -> tuple[Pointer, ...]:
    """Higher indexes first, so that removing one element does not move the next one to remove."""

    def rank(pointer: Pointer) -> list[tuple[int, str]]:
        return [(index_in(t, 2**63) or 0, t) for t in pointer.tokens]

    return tuple(sorted(pointers, key=rank, reverse=True))


def _without(value: Any, exclude: tuple[Pointer, ...]) -> Any:
    for pointer in exclude:
        if not pointer.tokens:
            return None
        *way, last = pointer.tokens
        parent = value
        for token in way:
            parent = _child(parent, token)
        if isinstance(parent, dict):
            parent.pop(last, None)
        elif isinstance(parent, list):
            index = index_in(last, len(parent))
            if index is not None:
                del parent[index]
    return value


def _child(value: Any, token: str) -> Any:
    if isinstance(value, dict):
        return value.get(token)
    if isinstance(value, list):
        index = index_in(token, len(value))
        return None if index is None else value[index]
    return None
