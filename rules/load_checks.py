"""What fields must be to one another. Law: one row a relation; a row whose fields could not all
be read is left out, so that one mistake is not reported as two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rules.load_build import Values
from rules.load_kinds import UNUSABLE
from rules.load_scalars import duration_text, parameters
from rules.load_shapes import key_places
from rules.model import ScopePart
from rules.pointer import Pointer


@dataclass(frozen=True, slots=True)
class Check:
    """``judge`` gets the values of ``needs`` and says what is wrong with the field ``at``."""

    at: str
    needs: tuple[str, ...]
    judge: Callable[..., str | None]


def relations(values: Values) -> Iterator[tuple[str, str]]:
    """The mistakes between the fields of one rule: which field, and what is wrong."""
    for check in CHECKS:
        given = [_value(values, name) for name in check.needs]
        if not any(value is UNUSABLE for value in given):
            message = check.judge(*given)
            if message:
                yield check.at, message


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        if values is UNUSABLE:
            return UNUSABLE
        values = values[part]
    return values


# ---- times ------------------------------------------------------------------------------------


def _retention(retention: float, lease: float) -> str | None:
    if retention >= 2 * lease:
        return None
    return f"must be at least twice the lease, {duration_text(2 * lease)}"


def _settles_within(settles: float | None, detects: bool, lookup: Values | None) -> str | None:
    if settles is None:
        return None
    if detects:
        return "has no meaning where the service detects duplicates; leave it out"
    return None if lookup else "has no meaning without a lookup; leave it out, or add one"


# ---- scope ------------------------------------------------------------------------------------


def _scope_names(scope: Sequence[ScopePart] | None, path: str) -> str | None:
    names = parameters(path)
    for part in scope or ():
        if part.kind == "path" and part.name not in names:
            return f"path:{part.name} needs {{{part.name}}} in match.path"
    return None


# ---- keys -------------------------------------------------------------------------------------


def _same_length(what: Sequence[Any] | None, key: Sequence[Any]) -> str | None:
    if not what or len(what) == len(key):
        return None
    return f"needs as many pointers as request.key, {len(key)}"


def _offenders_key(offenders: Values | None, key: Sequence[Any]) -> str | None:
    return _same_length(offenders.get("key") if offenders else None, key)


def _lookup_key(lookup: Values | None, key: Sequence[Any]) -> str | None:
    if lookup is None:
        return None
    beyond = [place for place in key_places(lookup["path"]) if place >= len(key)]
    if beyond:
        return f"the path uses {{key[{max(beyond)}]}}, and request.key has {len(key)}"
    return _same_length(lookup.get("key"), key)


# ---- alignment --------------------------------------------------------------------------------


def _align_key(key: Sequence[Pointer] | None, align: str) -> str | None:
    if align == "key" and not key:
        return "is required with align: key"
    if align != "key" and key:
        return f"has no meaning with align: {align}"
    return None


def _align_lookup(align: str, lookup: Values | None) -> str | None:
    if align == "lookup" and (lookup is None or "keys" in lookup):
        return "align: lookup needs upstream.lookup in the form with one call an item"
    return None


def _no_results(align: str, results: Pointer | None) -> str | None:
    if align == "key" and results is None:
        return "align: key needs results, which are null"
    return None


def _needs_results(condition: Any, results: Pointer | None, lookup: Values | None) -> str | None:
    if condition and results is None and lookup is None:
        return "judges a result, and there is none: results are null and there is no lookup"
    return None


# ---- places in a document ---------------------------------------------------------------------


def _apart(counts: Sequence[Pointer], items: Pointer) -> str | None:
    """Numbers are written beside the list, never into it or over it."""
    for pointer in counts:
        shared = min(len(pointer.tokens), len(items.tokens))
        if pointer.tokens[:shared] == items.tokens[:shared]:
            return f"{pointer.text} overlaps the list at {items.text!r}"
    return None


def _response_counts(counts: Values, results: Pointer | None) -> str | None:
    given = [pointer for pointer in counts.values() if isinstance(pointer, Pointer)]
    if len({pointer.text for pointer in given}) < len(given):
        return "two counts at the same place"
    return _apart(given, results or Pointer("/results"))


def _fields(fields: Values, wrap: str | None) -> str | None:
    names = [name for name in (*fields.values(), wrap) if isinstance(name, str)]
    repeated = [name for name in names if names.count(name) > 1]
    return f"two members of the same name, {repeated[0]!r}" if repeated else None


def _envelope(envelope: bytes, results: Pointer | None) -> str | None:
    if envelope != b"{}" and results is not None and not results.text:
        return "has no meaning where the answer is the list itself"
    return None


_KEY: Final = "request.key"
_RESULTS: Final = "response.results"
_LOOKUP: Final = "upstream.lookup"

CHECKS: Final = (
    Check("retention", ("retention", "lease"), _retention),
    Check(
        "upstream.settles_within",
        ("upstream.settles_within", "upstream.detects_duplicates", _LOOKUP),
        _settles_within,
    ),
    Check("scope", ("scope", "match.path"), _scope_names),
    Check("response.key", ("response.key", "response.align"), _align_key),
    Check("response.key", ("response.key", _KEY), _same_length),
    Check("upstream.offenders", ("upstream.offenders", _KEY), _offenders_key),
    Check(_LOOKUP, (_LOOKUP, _KEY), _lookup_key),
    Check("response.align", ("response.align", _LOOKUP), _align_lookup),
    Check("response.align", ("response.align", _RESULTS), _no_results),
    Check("response.failed", ("response.failed", _RESULTS, _LOOKUP), _needs_results),
    Check("response.duplicate", ("response.duplicate", _RESULTS, _LOOKUP), _needs_results),
    Check("request.counts", ("request.counts", "request.items"), _apart),
    Check("response.counts", ("response.counts", _RESULTS), _response_counts),
    Check("response.fields", ("response.fields", "response.wrap"), _fields),
    Check("response.envelope", ("response.envelope", _RESULTS), _envelope),
)
