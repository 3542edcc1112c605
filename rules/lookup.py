"""Asking the service what it has: the question for a key or many, and what the answer says.

Law: ``Found`` and ``NotFound`` are said only where the answer is definite; whatever else came
back (an error, a body that cannot be read, a contradiction) is ``Unsure``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from rules.condition import Condition
from rules.itemkeys import key_reader
from rules.jsontext import parse, parse_array, same_value, span_of
from rules.model import Found, Key, Looked, Lookup, NotFound, Rule, Unsure
from rules.pointer import MISSING, Pointer

_PLACE: Final = re.compile(r"\{key(?:\[(\d+)\])?\}")
_WRITE: Final = msgspec.json.Encoder().encode


def lookup_target(rule: Rule, key: Key) -> tuple[str, str, bytes | None]:
    """Method, path and body of the question for one key. ``{key}`` is its first value,
    ``{key[1]}`` its second; percent-encoded, slashes too, so that a key can only be a value."""
    lookup = _lookup(rule)

    def value(place: re.Match[str]) -> str:
        return quote(str(key[int(place[1] or 0)]), safe="")

    return lookup.method, _PLACE.sub(value, lookup.path), None


def batch_lookup(rule: Rule, keys: Sequence[Key]) -> tuple[str, str, bytes]:
    """Method, path and body of one question for many keys: ``{"keys": [...]}`` where ``keys`` is
    /keys. A key of one value stands there bare, one of several as a list of them."""
    lookup = _lookup(rule)
    document: Any = [key[0] if len(key) == 1 else key for key in keys]
    for token in reversed(lookup.keys.tokens if lookup.keys else ()):
        document = {token: document}
    return lookup.method, lookup.path, _WRITE(document)


def read_lookup(rule: Rule, status: int, body: bytes) -> Looked:
    """The answer to the question for one key.

    Found: a condition of ``found`` holds; without any, a success that has a value
    other than null at ``result``. Not found: a condition of ``not_found`` holds; without any, a
    404, or a success that can be read and for which ``found`` does not hold.
    """
    lookup = _lookup(rule)
    document, raw = _read(lookup.result, body)
    found = _is_found(lookup, status, document, raw)
    not_found = _holds(lookup.not_found, status, document)
    if not lookup.not_found:
        missing = _is_success(status) and document is not MISSING and not found
        not_found = status == 404 or missing
    if found and not_found:
        return Unsure("the answer says both found and not found")
    if not_found:
        return NotFound()
    if not found:
        return Unsure(f"the lookup answered {status}")
    return Unsure("the answer has no result") if raw is None else Found(raw)


def read_batch_lookup(rule: Rule, status: int, body: bytes, keys: Sequence[Key]) -> list[Looked]:
    """The answer to one question for many keys: one ``Looked`` a key.

    A success lists what the service has, each with its key (compared with its type); a key that
    is not listed is not found. ``found`` and ``not_found`` judge each listed element, and
    ``result`` stands inside it. Elements whose key was not asked for are ignored; one whose key
    cannot be read leaves every key that is not listed unsure.
    """
    lookup = _lookup(rule)
    if not _is_success(status):
        document, _ = _read(lookup.result, body)
        gone = _holds(lookup.not_found, status, document)
        return [NotFound() if gone else Unsure(f"the lookup answered {status}")] * len(keys)
    try:
        listed = _listed(lookup, body)
    except ValueError as error:
        return [Unsure(f"the lookup's answer cannot be read: {error}")] * len(keys)
    times = Counter(key for key, _ in listed)
    raws = dict(listed)
    others: Looked = Unsure("an element has no key") if None in raws else NotFound()
    answers: list[Looked] = []
    for key in keys:
        if times[key] > 1:
            answers.append(Unsure("the key is listed twice"))
        else:
            answers.append(_element(lookup, status, raws[key]) if key in raws else others)
    return answers


def _listed(lookup: Lookup, body: bytes) -> list[tuple[Key | None, bytes]]:
    """Each element and its key. Raises ValueError."""
    body.decode()
    span = span_of(body, lookup.results or Pointer(""))
    if span is None:
        raise ValueError("it has no list")
    array = body[span[0] : span[1]]
    raws = list(map(bytes, parse_array(array)))
    keys, _ = key_reader(lookup.key).read(raws, array)
    return list(zip(keys, raws, strict=True))


def _element(lookup: Lookup, status: int, element: bytes) -> Looked:
    document, raw = _read(lookup.result, element)
    found = _is_found(lookup, status, document, raw)
    gone = _holds(lookup.not_found, status, document) if lookup.not_found else not found
    if found == gone or document is MISSING:
        return Unsure("the element says neither found nor not found, or both")
    if gone:
        return NotFound()
    return Unsure("the element has no result") if raw is None else Found(raw)


def _is_found(lookup: Lookup, status: int, document: Any, raw: bytes | None) -> bool:
    """A condition of ``found`` asks for a success too, unless it names its statuses."""
    success = _is_success(status)
    if not lookup.found:
        return success and raw is not None and raw != b"null"
    return any((success or c.statuses) and c.holds(status, document) for c in lookup.found)


def _read(result: Pointer, body: bytes) -> tuple[Any, bytes | None]:
    """The parsed body, MISSING where it cannot be read; the exact bytes of the result in it."""
    try:
        document = parse(body)
        span = span_of(body, result)
    except ValueError:
        return MISSING, None
    return document, None if span is None else body[span[0] : span[1]]


def _holds(conditions: Sequence[Condition], status: int, document: Any) -> bool:
    return any(condition.holds(status, document) for condition in conditions)


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _lookup(rule: Rule) -> Lookup:
    if rule.upstream.lookup is None:
        raise ValueError(f"the rule {rule.name!r} has no lookup")
    return rule.upstream.lookup


def same_content(rule: Rule, item: bytes, result: bytes) -> bool | None:
    """Whether the service has the content that the item has, by ``lookup.compare``; where both
    have none, they are equal. None where the rule does not compare."""
    lookup = rule.upstream.lookup
    if lookup is None or lookup.compare is None:
        return None
    in_item, in_result = lookup.compare
    try:
        wanted, had = in_item.get(parse(item)), in_result.get(parse(result))
    except ValueError:
        return False
    return wanted is had if MISSING in (wanted, had) else same_value(wanted, had)
