"""Reading conditions. Law: a condition that could never be judged as written is a mistake.

Two kinds: one for an upstream's answer, with a status, and one for what has none: a request's
body, one result, one element of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from rules.condition import Condition
from rules.load_kinds import UNUSABLE, At, Got, Kind, Schema, UnusableError, list_of, present
from rules.load_scalars import BOOLEAN, JSON, POINTER, REGEX, STATUSES
from rules.load_yaml import Node
from rules.pointer import MISSING

_TESTS: Final = ("equals", "in", "matches", "exists")


def _read_condition(at: At, kinds: dict[str, Kind]) -> Got:
    before = len(at.mistakes)
    if "status" in at.members() and "status" not in kinds:
        at.wrong("asks for a status, and there is none to judge here")
    got = present(at, kinds)
    if len(at.mistakes) == before and (message := _ill_formed(got)):
        at.note(message)
    if len(at.mistakes) > before:
        raise UnusableError
    values = {name: one.value for name, one in got.items()}
    any_in, any_where = values.get("any", (None, None))
    condition = Condition(
        statuses=values.get("status", ()),
        pointer=values.get("pointer"),
        equals=values.get("equals", MISSING),
        within=values.get("in"),
        matches=values.get("matches"),
        exists=values.get("exists"),
        any_in=any_in,
        any_where=any_where,
        negated=values.get("not"),
    )
    return Got(condition, {name: one.plain for name, one in got.items()})


def _ill_formed(got: Mapping[str, Got]) -> str | None:
    tests = [name for name in _TESTS if name in got]
    if not got:
        return "an empty condition; give it a status, pointer, any or not"
    if "pointer" in got and len(tests) != 1:
        return "a pointer takes exactly one of equals, in, matches, exists"
    if tests and "pointer" not in got:
        return f"{tests[0]} needs a pointer beside it"
    return None


def _read_any(at: At) -> Got:
    """``any``: where a list is, and the condition that one of its elements must meet."""
    members = dict(at.members())
    list_node = members.pop("list", None)
    if list_node is None:
        at.note("is required", "list")
    elements = POINTER.read(at.child("list", list_node)) if list_node else Got(UNUSABLE, None)
    where = BODY_CONDITION.read(replace(at, node=Node(at.node.line, members)))
    if elements.value is UNUSABLE or where.value is UNUSABLE:
        raise UnusableError
    return Got((elements.value, where.value), {"list": elements.plain, **where.plain})


def _read_values(at: At) -> Got:
    got = [JSON.read(item) for item in at.items()]
    if not got or any(g.value is UNUSABLE for g in got):
        at.wrong("expected a list of at least 1 value")
    return Got(tuple(g.value for g in got), [g.plain for g in got])


def _body_kinds() -> dict[str, Kind]:
    return {
        "pointer": POINTER,
        "equals": JSON,
        "in": _VALUES,
        "matches": REGEX,
        "exists": BOOLEAN,
        "any": _ANY,
        "not": BODY_CONDITION,
    }


def _answer_kinds() -> dict[str, Kind]:
    return {"status": STATUSES, **_body_kinds(), "not": CONDITION}


_VALUES: Final = Kind("list of values", {"type": "array", "minItems": 1}, _read_values)
_ANY: Final = Kind("list and condition", {"$ref": "#/$defs/any"}, _read_any)
BODY_CONDITION: Final = Kind(
    "condition without status",
    {"$ref": "#/$defs/bodyCondition"},
    lambda at: _read_condition(at, _body_kinds()),
)
CONDITION: Final = Kind(
    "condition", {"$ref": "#/$defs/condition"}, lambda at: _read_condition(at, _answer_kinds())
)
CONDITIONS: Final = list_of(CONDITION, words="list of conditions")


# ---- as JSON Schema ---------------------------------------------------------------------------

_SAYS: Final = {
    "status": "Statuses, or classes such as 5xx; one of them must be the answer's.",
    "pointer": "Where the value to judge stands; beside it exactly one of the four tests.",
    "equals": "The value must be equal, as JSON.",
    "in": "The value must be equal to one of these.",
    "matches": "A regular expression that is found in the value; numbers as their text.",
    "exists": "Whether something must stand there, or must not.",
    "any": "Some element of the list there meets the condition beside `list`.",
    "not": "A condition that must not hold.",
    "list": "Where the list stands.",
}


def _closed(kinds: dict[str, Kind], extra: Schema) -> Schema:
    """A pointer with exactly one test, or no test at all, and no other member."""
    properties = {name: {**kind.schema, "description": _SAYS[name]} for name, kind in kinds.items()}
    no_test: list[Schema] = [{"not": {"required": [name]}} for name in ("pointer", *_TESTS)]
    judged: Schema = {"required": ["pointer"], "oneOf": [{"required": [t]} for t in _TESTS]}
    made: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "anyOf": [judged, {"allOf": no_test}],
    }
    return {**made, **extra}


def definitions() -> Schema:
    """The ``$defs`` that the conditions' schemas refer to."""
    element = _closed({"list": POINTER, **_body_kinds()}, {"required": ["list"]})
    return {
        "condition": _closed(_answer_kinds(), {"minProperties": 1}),
        "bodyCondition": _closed(_body_kinds(), {"minProperties": 1}),
        "any": {**element, "minProperties": 2},
    }
