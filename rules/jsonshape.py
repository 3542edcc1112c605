"""The shape of a JSON text, its depth and its length, without making a value of it.

Law: time and memory grow with the text alone, whatever a client wrote into it. The text is known
to be JSON (``jsontext.validate``); what is not gets some answer.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, compress
from typing import Final

MAX_DEPTH: Final = 64
SPACE: Final = b" \t\n\r"


class TooDeep(ValueError):
    """Nested deeper than ``MAX_DEPTH``."""


_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(c for c in range(256) if c not in b'[]{}"')
_NO_COMMA: Final = bytes(c for c in range(256) if c not in b'[]{}",')
_STEPS: Final = bytes.maketrans(b"[],", b"\x01\xff\x00")
_IS_COMMA: Final = bytes(c == ord(",") for c in range(256))
_ESCAPED: Final = re.compile(rb'\\["\\]')
_PEELED: Final = 8
_DENSE: Final = 100_000


def check_depth(data: bytes) -> None:
    """Raise TooDeep where ``data``, which is JSON, is nested deeper than ``MAX_DEPTH``.

    Everything but brackets is deleted, then each round peels the innermost level: about a third
    of what a parse costs. What is left of an odd text is walked, once, whatever it is.
    """
    if len(data) <= 2 * MAX_DEPTH:
        return
    left = _without_escapes(data).translate(_BRACKETS, _NO_BRACKET).replace(b'""', b"")
    if b'"' in left:  # a bracket inside a string
        left = _outside_strings(left)
    for _ in range(_PEELED):
        if not left:
            return
        left = left.replace(b"[]", b"")
    if max(_depths(left), default=0) > MAX_DEPTH - _PEELED:
        raise TooDeep(f"nested deeper than {MAX_DEPTH}")


def openers(data: bytes) -> int:
    """How many brackets open in ``data``, those inside strings too.

    ``replace`` looks for one byte with memchr; ``count``, before Python 3.13, takes thrice as long.
    """
    return 2 * len(data) - len(data.replace(b"{", b"")) - len(data.replace(b"[", b""))


def array_length(data: bytes) -> int:
    """How many elements the JSON array ``data`` has, without making an object of each."""
    left = _outside_strings(_without_escapes(data).translate(_BRACKETS, _NO_COMMA))
    depths_of_commas = compress(_depths(left), left.translate(_IS_COMMA))
    commas = Counter(depths_of_commas)[1]
    return commas + 1 if commas or data.strip(SPACE)[1:-1].strip(SPACE) else 0


def _depths(brackets: bytes) -> Iterator[int]:
    """The depth behind each of ``brackets``; a comma is no step."""
    return accumulate(array("b", brackets.translate(_STEPS)))


def _outside_strings(text: bytes) -> bytes:
    """``text``, which has no escapes, without its strings."""
    return b"".join(text.split(b'"')[::2])


def _without_escapes(data: bytes) -> bytes:
    """``data`` with no escaped backslash and no escaped quote: every quote left is a string's
    own. (A backslash stands only in strings, and a run of them pairs up from its start.)"""
    if b"\\" not in data:
        return data
    if data.count(b"\\") > _DENSE:  # the pattern, faster elsewhere, would need 40 times the memory
        return data.replace(rb"\\", b"").replace(rb"\"", b"")
    return _ESCAPED.sub(b"", data)
