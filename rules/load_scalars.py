"""The kinds of single values: words, numbers, durations, sizes, pointers, templates.

Law: what a value means is decided here once; durations become seconds and sizes bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from rules.load_kinds import At, Got, Kind, Schema, described, list_of, nullable
from rules.pointer import Pointer

# ---- durations and sizes ----------------------------------------------------------------------

_SECONDS: Final = {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400"}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
LONGEST: Final = 3650 * 86400.0

_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|kB|KB|MB|GB|KiB|MiB|GiB)")
LARGEST: Final = 2**30


def parse_duration(text: str) -> float:
    """Seconds of ``10s``, ``250ms``, ``1.5h``, ``7d``. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a duration such as 10s or 250ms, got {text!r}")
    return float(Decimal(found[1]) * Decimal(_SECONDS[found[2]]))


def parse_size(text: str) -> int:
    """Bytes of ``8MiB``, ``64KiB``, ``10kB``. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a size such as 64KiB, 8MiB or 10MB, got {text!r}")
    return int(Decimal(found[1]) * _BYTES[found[2]])


def duration_text(seconds: float) -> str:
    """The one way a duration is written: in the largest unit that is whole, days from two on."""
    ms = round(seconds * 1000)
    if ms and ms % 86_400_000 == 0 and ms > 86_400_000:
        return f"{ms // 86_400_000}d"
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0s"


def size_text(size: int) -> str:
    """The one way a size is written."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def duration(minimum: float = 0.001) -> Kind:
    """Text with a unit, or a plain number of seconds."""

    def read(at: At) -> Got:
        value = at.node.value
        if isinstance(value, str):
            try:
                value = parse_duration(value)
            except ValueError as error:
                at.wrong(str(error))
        if isinstance(value, bool) or not isinstance(value, int | float):
            at.wrong(f"expected a duration such as 10s, got {described(at.node)}")
        if not minimum <= value <= LONGEST:
            shortest = duration_text(minimum)
            at.wrong(f"must be from {shortest} to {duration_text(LONGEST)}")
        return Got(float(value), duration_text(value))

    some = "(?=.*[1-9])" if minimum else ""
    text: Schema = {"type": "string", "pattern": f"^{some}{_DURATION.pattern}$"}
    number: Schema = {"type": "number", "minimum": minimum, "maximum": LONGEST}
    return Kind("duration", {"anyOf": [text, number]}, read)


def _read_size(at: At) -> Got:
    value = at.node.value
    if isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError as error:
            at.wrong(str(error))
    if isinstance(value, bool) or not isinstance(value, int):
        at.wrong(f"expected a size such as 64KiB, got {described(at.node)}")
    if not 1 <= value <= LARGEST:
        at.wrong(f"must be from 1B to {size_text(LARGEST)}")
    return Got(value, size_text(value))


SIZE: Final = Kind(
    "size",
    {
        "anyOf": [
            {"type": "string", "pattern": f"^(?=.*[1-9]){_SIZE.pattern}$"},
            {"type": "integer", "minimum": 1, "maximum": LARGEST},
        ]
    },
    _read_size,
)


# ---- words and numbers ------------------------------------------------------------------------


def choice(*words: str | int) -> Kind:
    shown = ", ".join(str(w) for w in words)

    def read(at: At) -> Got:
        value = at.node.value
        if isinstance(value, bool) or value not in words:
            at.wrong(f"expected one of {shown}; got {described(at.node)}")
        return Got(value, value)

    return Kind(" \\| ".join(f"`{w}`" for w in words), {"enum": list(words)}, read)


def word(pattern: str, example: str, kind: str, lower: bool = False) -> Kind:
    """Text that a regular expression matches whole."""
    compiled = re.compile(pattern)

    def read(at: At) -> Got:
        value = at.node.value
        if not isinstance(value, str) or compiled.fullmatch(value) is None:
            at.wrong(f"expected a {kind} such as {example}, got {described(at.node)}")
        value = value.lower() if lower else value
        return Got(value, value)

    return Kind(kind, {"type": "string", "pattern": f"^(?:{pattern})$"}, read)


def whole(minimum: int, maximum: int | None = None) -> Kind:
    def read(at: At) -> Got:
        value = at.node.value
        if isinstance(value, float) and value.is_integer():  # JSON Schema calls 1.0 an integer too
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            at.wrong(f"expected a whole number, got {described(at.node)}")
        _in_range(at, value, minimum, maximum)
        return Got(value, value)

    return Kind("whole number", _bounded("integer", minimum, maximum), read)


def number(minimum: float, maximum: float | None = None) -> Kind:
    def read(at: At) -> Got:
        value = at.node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            at.wrong(f"expected a number, got {described(at.node)}")
        _in_range(at, value, minimum, maximum)
        return Got(float(value), value)

    return Kind("number", _bounded("number", minimum, maximum), read)


def _in_range(at: At, value: float, minimum: float, maximum: float | None) -> None:
    if value < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum:g}" if maximum is None else f"from {minimum:g} to {maximum:g}"
        at.wrong(f"must be {limits}, got {described(at.node)}")


def _bounded(kind: str, minimum: float, maximum: float | None) -> Schema:
    upper = {} if maximum is None else {"maximum": maximum}
    return {"type": kind, "minimum": minimum, **upper}


def _read_boolean(at: At) -> Got:
    if not isinstance(at.node.value, bool):
        at.wrong(f"expected true or false, got {described(at.node)}")
    return Got(at.node.value, at.node.value)


BOOLEAN: Final = Kind("true or false", {"type": "boolean"}, _read_boolean)

FIELD_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
HEADER: Final = word(FIELD_NAME, "X-Tenant-Id", "header name", lower=True)
METHOD: Final = word(r"[A-Z]+", "POST", "method")
NAME: Final = word(r"[a-z0-9][a-z0-9-]{0,62}", "orders", "name of a-z, 0-9 and -")
MEMBER: Final = word(r"(?s:.+)", "isIdempotent", "member name")

_PARAMETER: Final = r"\{[A-Za-z_][A-Za-z0-9_-]*\}"
_SEGMENT: Final = rf'(?:{_PARAMETER}|[!"$-.0->@-z|~]*)'  # no space, and none of # / ? { }
_KEY_PATH: Final = r'/(?:[!"$-z|~]|\{key(?:\[[0-9]{1,2}\])?\})*'


def parameters(path: str) -> list[str]:
    """The names in a path template: ``tenant`` of ``/t/{tenant}/orders``."""
    return [found[1:-1] for found in re.findall(_PARAMETER, path)]


def _read_path(at: At) -> Got:
    got = _PATH_WORD.reader(at)
    names = parameters(got.value)
    if len(set(names)) < len(names):
        at.wrong("two parameters of the same name")
    return got


_PATH_WORD: Final = word(f"(?:/{_SEGMENT})+", "/v1/t/{tenant}/orders", "path")
PATH: Final = Kind("path", _PATH_WORD.schema, _read_path)
LOOKUP_PATH: Final = word(_KEY_PATH, '"/v1/orders?key={key}"', "path")


# ---- pointers, expressions, templates ---------------------------------------------------------


def _read_pointer(at: At) -> Got:
    value = at.node.value
    if not isinstance(value, str):
        at.wrong(f"expected a JSON Pointer such as /items, got {described(at.node)}")
    try:
        return Got(Pointer(value), value)
    except ValueError as error:
        at.wrong(str(error))


def _read_inner(at: At) -> Got:
    got = _read_pointer(at)
    if not got.value.text:
        at.wrong('"" is the whole document; expected a JSON Pointer into it, such as /total')
    return got


_TOKENS: Final = r"(?:/(?:[^~/]|~[01])*)"
POINTER: Final = Kind("JSON Pointer", {"type": "string", "pattern": f"^{_TOKENS}*$"}, _read_pointer)
INNER: Final = Kind("JSON Pointer", {"type": "string", "pattern": f"^{_TOKENS}+$"}, _read_inner)
KEY: Final = list_of(POINTER, 1, "list of JSON Pointers, at least one")


def _read_regex(at: At) -> Got:
    value = at.node.value
    if not isinstance(value, str):
        at.wrong(f"expected a regular expression in quotes, got {described(at.node)}")
    try:
        return Got(re.compile(value), value)
    except (re.error, OverflowError, RecursionError) as error:
        at.wrong(f"not a regular expression: {error}")


REGEX: Final = Kind("regular expression", {"type": "string"}, _read_regex)


def _read_json(at: At) -> Got:
    value = at.node.plain()
    try:
        orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as error:
        at.wrong(f"cannot be written as JSON: {error}")
    return Got(value, value)


JSON: Final = Kind("any value", {}, _read_json)


def _read_template(at: At) -> Got:
    at.members()
    got = _read_json(at)
    return Got(orjson.dumps(got.value), got.plain)


TEMPLATE: Final = Kind("JSON object", {"type": "object"}, _read_template)

Statuses = Sequence[int | str]


def _read_status(at: At) -> Got:
    value: Any = at.node.value
    is_code = isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599
    is_class = isinstance(value, str) and re.fullmatch("[1-5]xx", value) is not None
    if not (is_code or is_class):
        at.wrong(f"expected a status from 100 to 599, or a class such as 5xx, got {value!r}")
    return Got(value, value)


_STATUS: Final = Kind(
    "status",
    {
        "anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^[1-5]xx$"},
        ]
    },
    _read_status,
)
STATUSES: Final = list_of(_STATUS, 1, "list of statuses")
POSITIVE_OR_NULL: Final = nullable(whole(1))
