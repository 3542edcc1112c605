"""The kinds that take more than one form: scopes, offenders, lookups.

Law: a form is chosen by the members that stand there, and what belongs to another form is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from rules.load_conditions import BODY_CONDITION, CONDITIONS
from rules.load_kinds import (
    UNUSABLE,
    At,
    Field,
    Got,
    Kind,
    Schema,
    UnusableError,
    list_of,
    nullable,
    present,
    section,
)
from rules.load_scalars import (
    BOOLEAN,
    FIELD_NAME,
    INNER,
    KEY,
    LOOKUP_PATH,
    METHOD,
    POINTER,
    REGEX,
    choice,
)
from rules.model import ScopePart

# ---- scope ------------------------------------------------------------------------------------

_PART: Final = re.compile(
    rf"(?:(header):({FIELD_NAME})|(query|path):([^\s{{}}]+)|(jwt):((?:/(?:[^~/]|~[01])*)+))"
)
_CLAIM: Final = {"jwt": INNER, "unverified": BOOLEAN}


def _read_part(at: At) -> Got:
    if isinstance(at.node.value, dict):
        return _read_claim(at)
    text = at.node.value
    found = _PART.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        at.wrong("expected header:NAME, query:NAME, path:NAME or jwt:/POINTER")
    kind, name = (part for part in found.groups() if part is not None)
    name = name.lower() if kind == "header" else name
    return Got(ScopePart(kind, name), f"{kind}:{name}")


def _read_claim(at: At) -> Got:
    """The long form, ``{jwt: /sub, unverified: true}``: the only way to trust a bare claim."""
    got = present(at, _CLAIM)
    if missing := [name for name in _CLAIM if name not in got]:
        at.note("is required in this form", missing[0])
    if missing or any(one.value is UNUSABLE for one in got.values()):
        raise UnusableError
    part = ScopePart("jwt", got["jwt"].value.text, unverified=got["unverified"].value)
    plain = {"jwt": part.name, "unverified": True} if part.unverified else f"jwt:{part.name}"
    return Got(part, plain)


def _read_scope(at: At) -> Got:
    if at.node.value == "global":
        return Got(None, "global")
    if isinstance(at.node.value, str):
        at.wrong('expected a list such as ["header:Authorization"], or the word global')
    if at.node.value == []:
        at.wrong("an empty scope; say global where all clients share their keys")
    return _PARTS.reader(at)


_PART_SCHEMA: Final[Schema] = {
    "anyOf": [
        {"type": "string", "pattern": f"^{_PART.pattern}$"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": list(_CLAIM),
            "properties": {name: kind.schema for name, kind in _CLAIM.items()},
        },
    ]
}
_PARTS: Final = list_of(Kind("scope part", _PART_SCHEMA, _read_part), 1)
SCOPE: Final = Kind(
    "list of scope parts, or `global`",
    {"anyOf": [_PARTS.schema, {"const": "global"}]},
    _read_scope,
)


# ---- forms ------------------------------------------------------------------------------------

_Forms = Mapping[str, Mapping[str, Field]]


def _closed(form: Mapping[str, Field], at: At) -> Got:
    """One form read; as a value the form's own fields, without the others'."""
    got = section(form).reader(at)
    if any(value is UNUSABLE for value in got.value.values()):
        raise UnusableError
    return got


def _kind_of(forms: _Forms, reader: Callable[[At], Got]) -> Kind:
    schema = {"oneOf": [section(form).schema for form in forms.values()]}
    fields: dict[str, Field] = {}
    for form in forms.values():
        fields |= {name: one for name, one in form.items() if name not in fields}
    return Kind("section", schema, reader, fields)


def _read_true(at: At) -> Got:
    if at.node.value is not True:
        at.wrong("expected true")
    return Got(True, True)


def _read_pattern(at: At) -> Got:
    got = REGEX.reader(at)
    if "key" not in got.value.groupindex:
        at.wrong("has no group (?P<key>...), which names the item at fault")
    return got


_IN_FORM: Final = "required in its form"
_TRUE: Final = Kind("`true`", {"const": True}, _read_true)
_PATTERN: Final = Kind(
    "regular expression", {"type": "string", "pattern": r"\(\?P<key>"}, _read_pattern
)
_LIST: Final = {
    "list": Field(POINTER, says="Where the rejection lists what is wrong.", default_words=_IN_FORM),
    "where": Field(
        nullable(BODY_CONDITION), None, "Which elements of the list speak of an item at fault."
    ),
}
_OFFENDERS: Final[_Forms] = {
    "index": {
        **_LIST,
        "index": Field(
            POINTER,
            says="Where in an element the item's index in the batch stands.",
            default_words=_IN_FORM,
        ),
    },
    "key": {
        **_LIST,
        "key": Field(
            KEY,
            says="Where in an element the item's key stands.",
            default_words=_IN_FORM,
        ),
    },
    "position": {
        **_LIST,
        "position": Field(
            _TRUE,
            says="Element i of the list speaks of item i of the batch.",
            default_words=_IN_FORM,
        ),
    },
    "pattern": {
        "pointer": Field(
            POINTER,
            says="Where a text stands that names the item at fault.",
            default_words=_IN_FORM,
        ),
        "pattern": Field(
            _PATTERN,
            says="A regular expression whose group `key` is the key, as text; several values stand"
            " as `a, b`.",
            default_words=_IN_FORM,
        ),
    },
}


def _read_offenders(at: At) -> Got:
    members = at.members()
    chosen = [name for name in ("index", "key", "position") if name in members]
    if "pointer" in members or "pattern" in members:
        if others := [name for name in ("list", "where", *chosen) if name in members]:
            at.wrong(f"{others[0]} does not go with pointer and pattern")
        return _closed(_OFFENDERS["pattern"], at)
    if len(chosen) != 1:
        at.wrong("needs exactly one of index, key, position, pattern")
    return _closed(_OFFENDERS[chosen[0]], at)


OFFENDERS: Final = nullable(_kind_of(_OFFENDERS, _read_offenders))


# ---- lookups ----------------------------------------------------------------------------------

_COMPARE: Final = section(
    {
        "item": Field(POINTER, says="A value of the item."),
        "result": Field(POINTER, says="The value of the found result that must be equal to it."),
    }
)
_LOOKUP: Final = {
    "path": Field(
        LOOKUP_PATH,
        says="Path and query; `{key}` is the key, `{key[1]}` the second of several,"
        " percent-encoded. In the batch form without keys.",
    ),
    "found": Field(
        nullable(CONDITIONS),
        None,
        "Conditions on the answer (batch form: on an element of it): the service has the item."
        " Null: a success that has a value other than null at `result`.",
    ),
    "not_found": Field(
        nullable(CONDITIONS),
        None,
        "Conditions on the same: the service does not have it. Null: a 404, or a success for which"
        " `found` does not hold; in the batch form, what is not listed.",
    ),
    "result": Field(
        POINTER, "", "Where in the answer (batch form: in an element) the item's result stands."
    ),
    "when": Field(
        choice("suspect", "all"),
        "suspect",
        "Which items are looked up before they are forwarded: those whose earlier attempt is in"
        " doubt, or all.",
    ),
    "compare": Field(
        nullable(_COMPARE), None, "What must be equal for a found result to be this item's."
    ),
}
_LOOKUPS: Final[_Forms] = {
    "single": {
        "method": Field(
            METHOD, "GET", "The lookup's method.", '`"GET"`; `"POST"` in the batch form'
        ),
        **_LOOKUP,
    },
    "batch": {
        "method": Field(METHOD, "POST", "The lookup's method."),
        **_LOOKUP,
        "keys": Field(
            POINTER,
            says="Batch form: where in the lookup's body the keys go.",
            default_words=_IN_FORM,
        ),
        "results": Field(
            POINTER,
            says="Batch form: where in the answer the elements are.",
            default_words=_IN_FORM,
        ),
        "key": Field(
            KEY, says="Batch form: where in an element its key stands.", default_words=_IN_FORM
        ),
    },
}
_BATCH_ONLY: Final = ("keys", "results", "key")


def _read_lookup(at: At) -> Got:
    members = at.members()
    is_batch = any(name in members for name in _BATCH_ONLY)
    got = _closed(_LOOKUPS["batch" if is_batch else "single"], at)
    placed = key_places(got.value["path"])
    if is_batch and placed:
        at.wrong("the batch form has its keys in the body, not in the path")
    if not is_batch and not placed:
        at.wrong("the path has no {key}, so that every item would get the same answer")
    return got


def key_places(path: str) -> set[int]:
    """Which of an item's key values a lookup path uses: 0 for ``{key}``, 1 for ``{key[1]}``."""
    return {int(index or 0) for index in re.findall(r"\{key(?:\[([0-9]+)\])?\}", path)}


LOOKUP: Final = nullable(_kind_of(_LOOKUPS, _read_lookup))
