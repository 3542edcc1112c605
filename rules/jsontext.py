"""JSON as text: values whose numbers keep their digits, and where in the bytes a value stands.

Law: bytes are only ever sliced, never written again from what was parsed. Whatever is not JSON
(RFC 8259), not UTF-8 or nested deeper than ``MAX_DEPTH`` is a ValueError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import Raw

from rules.jsonshape import MAX_DEPTH, SPACE, TooDeep, check_depth
from rules.pointer import Pointer, index_in


class DuplicateMember(ValueError):
    """A member name stands twice where only one reading of it may exist."""


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A number that is no plain integer, kept by its text. Equal by value: 1.0 equals 1.00."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number | int | float) and _same_number(self, other)

    def __hash__(self) -> int:
        return hash(_decimal(self))


# ---- values -----------------------------------------------------------------------------------

_DOCUMENT: Final = msgspec.json.Decoder(float_hook=Number)
_ANY: Final = msgspec.json.Decoder(Raw)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_ARRAY: Final = msgspec.json.Decoder(list[Raw])
_STRING: Final = msgspec.json.Decoder(str)
_INT_DIGITS: Final = 4000  # Python refuses to read longer integers (sys.int_info)


def parse(data: bytes | str) -> Any:
    """The value: dict, list, str, int, bool, None, and Number for any other number.

    Of a repeated member name the last counts. Raises ValueError.
    """
    if isinstance(data, str):
        data = data.encode()
    try:
        value = _DOCUMENT.decode(data)
    except msgspec.ValidationError:
        value = parse_long_integers(data, Number)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise TooDeep(f"nested deeper than {MAX_DEPTH}") from None
    check_depth(data)
    return value


def parse_long_integers(data: bytes, number: Any) -> Any:
    """Parse a text with an integer of thousands of digits, which msgspec will not: such an
    integer, and every number that is none, becomes ``number(text)``."""
    validate(data)

    def integer(text: str) -> Any:
        return int(text) if len(text) < _INT_DIGITS else number(text)

    return json.loads(data, parse_int=integer, parse_float=number)


def validate(data: bytes) -> None:
    """Raise ValueError unless ``data`` is one JSON text. UTF-8 inside strings is not looked at."""
    try:
        _ANY.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        _translate(error)


def parse_array(data: bytes) -> list[Raw]:
    """The elements of a JSON array, each without the space around it. Raises ValueError."""
    try:
        return _ARRAY.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        _translate(error)


def _parse_object(data: bytes) -> dict[str, Raw]:
    try:
        return _OBJECT.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        _translate(error)


def _translate(error: Exception) -> NoReturn:
    if isinstance(error, RecursionError):
        raise TooDeep(f"nested deeper than {MAX_DEPTH}") from None
    raise ValueError(str(error)) from None


def same_value(a: Any, b: Any) -> bool:
    """JSON equality. Numbers compare by value (1 equals 1.0), true is not 1, and a float that a
    rules file holds is the number that was written there."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Number | int | float) and isinstance(b, Number | int | float):
        return _same_number(a, b)
    if isinstance(a, list) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(v, b[k]) for k, v in a.items())
    return type(a) is type(b) and bool(a == b)


def _same_number(a: Number | int | float, b: Number | int | float) -> bool:
    left, right = _decimal(a), _decimal(b)
    return left == right


def _decimal(value: Number | int | float) -> Decimal | str:
    """The value; the text itself where its exponent is beyond any arithmetic. ``int`` is named
    beside ``float``, for compiled code makes a double of what is said to be a float."""
    text = value.text if isinstance(value, Number) else str(value)
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def text_of(value: Any) -> str | None:
    """A string itself, a number by its text, true or false; None for null and containers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return value.text
    return str(value) if isinstance(value, int | float) else None


# ---- spelling ----------------------------------------------------------------------------------

_SHORT_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "\b": "b", "\f": "f", "\n": "n"}
_SHORT_ESCAPES.update({"\r": "r", "\t": "t"})

json_string: Final = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def escaped_spelling(names: frozenset[str]) -> re.Pattern[bytes]:
    """Finds every escape with which some character of ``names`` can be written. In a text where
    it finds none, a string that equals one of the names stands as ``json_string`` writes it."""
    characters = sorted(set("".join(names)))
    units = [c.encode("utf-16-be").hex() for c in characters]
    codes = [f"u{unit[:4]}" for unit in units]
    codes += [_SHORT_ESCAPES[c] for c in characters if c in _SHORT_ESCAPES]
    any_of = "|".join(map(re.escape, codes)) or "(?!)"
    return re.compile(rf"\\(?:{any_of})".encode(), re.IGNORECASE)


# ---- where a value stands ----------------------------------------------------------------------

_MEMBER: Final = re.compile(rb'\s*[{,]\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*')
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]')
_SCALAR: Final = re.compile(rb"[^\s,\]}]+")
_GAP: Final = re.compile(rb"[\s,]*")


class Member(NamedTuple):
    """One member of an object: its value is ``data[start:end]``, its quoted name begins at
    ``at``."""

    name: str
    start: int
    end: int
    at: int


def members(data: bytes) -> list[Member]:
    """Every member of the object ``data``, in order; a repeated name stands there repeatedly.

    msgspec says how long each value is. Without any space, every place follows from that; the sum
    comes out at the end of ``data`` only where no name repeats, for of those one value is kept.
    Else the names are walked along, and each guess checked.
    """
    values = _parse_object(data)
    found: list[Member] = []
    at = 1
    for name, value in values.items():
        start = at + len(name.encode()) + 3
        end = start + len(memoryview(value))
        found.append(Member(name, start, end, at))
        at = end + 1
    return found if at == len(data) else list(_walk(data, values))


def _walk(data: bytes, values: dict[str, Raw]) -> Iterator[Member]:
    position = 0
    while found := _MEMBER.match(data, position):
        quoted, start = found[1], found.end()
        name = _STRING.decode(quoted) if b"\\" in quoted else quoted[1:-1].decode()
        position = _value_end(data, start, bytes(values[name]))
        yield Member(name, start, position, found.start(1))


def _value_end(data: bytes, start: int, guess: bytes) -> int:
    """Where the value at ``start`` ends. A JSON value is never the beginning of another one,
    numbers apart, so a guess that fits and is followed by a delimiter is right."""
    end = start + len(guess)
    if data.startswith(guess, start) and data[end] in b",} \t\n\r":
        return end
    if data[start] not in b'"[{':
        scalar = _SCALAR.match(data, start)
        assert scalar is not None  # noqa: S101 - data is JSON: a value stands here
        return scalar.end()
    depth = 0
    for token in _TOKEN.finditer(data, start):
        first = token[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth == 0:
            return token.end()
    raise ValueError("not JSON")  # pragma: no cover - data is JSON, so every bracket closes


def span_of(data: bytes, pointer: Pointer, *, strict: bool = True) -> tuple[int, int] | None:
    """Where the value at ``pointer`` stands in the JSON text ``data``, or None.

    Raises DuplicateMember where a name repeats on the way (not ``strict``: the last one counts,
    as for most parsers), and ValueError where ``data`` is seen not to be JSON; ``validate`` makes
    sure.
    """
    end = len(data.rstrip(SPACE))
    start = len(data) - len(data.lstrip(SPACE))
    if start >= end:
        return None
    for token in pointer.tokens:
        inner = _span_in(data[start:end], token, strict)
        if inner is None:
            return None
        start, end = start + inner[0], start + inner[1]
    return start, end


def _span_in(data: bytes, token: str, strict: bool) -> tuple[int, int] | None:
    if data.startswith(b"["):
        return _element_span(data, token)
    if not data.startswith(b"{"):
        return None
    found = [m for m in members(data) if m.name == token]
    if strict and len(found) > 1:
        raise DuplicateMember(f"the member {token!r} stands {len(found)} times")
    return (found[-1].start, found[-1].end) if found else None


def _element_span(data: bytes, token: str) -> tuple[int, int] | None:
    elements = parse_array(data)
    index = index_in(token, len(elements))
    if index is None:
        return None
    start, end = 0, 1
    for element in elements[: index + 1]:
        gap = _GAP.match(data, end)
        assert gap is not None  # noqa: S101 - the pattern matches nothing as well
        start = gap.end()
        end = start + len(memoryview(element))
    return start, end
