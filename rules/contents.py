"""A request body read in one go: its items' values, their canonical text, their keys.

Law: what it gives is what the exact way (``rules.request``) gives, else it gives nothing. Reading
loses space, all but one spelling of a character, and all but the last of the members that share a
name; writing the values canonically makes none of them longer than it was. A body as long as its
own canonical text has therefore lost nothing on the way: no name stands twice in one object.
Clients that write no space, as most do, send such bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from rules.itemkeys import MAX_KEY_BYTES, MAX_KEY_INT, MIN_KEY_INT, SURE_TO_FIT
from rules.jsonshape import MAX_DEPTH, openers
from rules.model import Key
from rules.pointer import Pointer

# A number that is no plain integer stays as its text; an integer of any length is exact anyway.
DOCUMENT: Final = msgspec.json.Decoder(float_hook=Raw)
CANONICAL: Final = msgspec.json.Encoder(order="sorted")
_WINDOW: Final = MAX_DEPTH * 3 // 4
"""Brackets that may open in one stretch of the items' text; the rest is for what is around."""


class Contents(NamedTuple):
    """``items`` are the array's values; ``lines`` their canonical text, each with a line feed
    behind it; ``around`` the canonical text of the body with an empty array. ``is_whole``: it is
    proven that nothing of the body was lost."""

    items: list[Any]
    lines: bytes
    around: bytes
    is_whole: bool


def contents_of(body: bytes, at: Pointer) -> Contents | None:
    """None where the body is not read at once: no array stands at ``at`` or it is to be found by
    an index, or msgspec does not take the text (which may still be JSON)."""
    try:
        document = parent = DOCUMENT.decode(body)
        if at.tokens:
            *way, last = at.tokens
            for token in way:
                parent = parent[token]
            items = parent[last]
            parent[last] = []
        else:
            items, document = document, []
        if type(items) is not list:
            return None
        lines, around = CANONICAL.encode_lines(items), CANONICAL.encode(document)
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError):
        return None
    # The items take a comma less than they have line feeds.
    return Contents(items, lines, around, len(around) + len(lines) - 1 == len(body))


def is_surely_shallow(contents: Contents) -> bool:
    """Whether it is seen at little cost that nothing is nested deeper than ``MAX_DEPTH``: nowhere
    more levels than brackets that open around the items and in one stretch of whole items."""
    if openers(contents.around) > MAX_DEPTH - _WINDOW:
        return False
    lines = contents.lines
    size = lines.find(b"\n") + 1
    in_first = openers(lines[:size])
    if size == len(lines):
        return in_first <= _WINDOW
    # As many items as should fit, and one to spare; the one that a stretch ends in is not counted.
    stretch = size * max(0, _WINDOW // max(1, in_first) - 2)
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", start + stretch) + 1 or len(lines)
        if openers(lines[start:end]) > _WINDOW:
            return False
        start = end
    return True


def plain_keys(items: Sequence[Any], pointers: tuple[Pointer, ...]) -> list[Key] | None:
    """The keys of ``items``, where each has a good one and a pointer's values are all strings or
    all integers."""
    try:
        columns = [_column(items, pointer.tokens) for pointer in pointers]
    except (KeyError, TypeError):
        return None
    return list(zip(*columns, strict=True)) if all(map(_are_good, columns)) else None


def _column(values: Sequence[Any], tokens: tuple[str, ...]) -> Sequence[Any]:
    """What stands at ``tokens`` in each. An element of a list is not found: its index is text."""
    for token in tokens:
        values = [value[token] for value in values]
    return values


def _are_good(values: Sequence[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds == {str}:
        longest = max(map(len, values))
        return longest <= SURE_TO_FIT or all(len(v.encode()) <= MAX_KEY_BYTES for v in values)
    return kinds == {int} and min(values) >= MIN_KEY_INT and max(values) <= MAX_KEY_INT
