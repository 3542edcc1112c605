"""Conditions: every part, alone, together and negated; what does not apply is false."""

from __future__ import annotations

from typing import Any

import pytest

from rules.condition import Condition
from rules.jsontext import parse
from rules.pointer import MISSING, Pointer
from tests.rules.making import matching

A = Pointer("/a")


@pytest.mark.parametrize(
    ("statuses", "status", "holds"),
    [
        ((409,), 409, True),
        ((409,), 408, False),
        (("5xx",), 599, True),
        (("5xx",), 499, False),
        ((409, "5xx"), 500, True),
        ((409,), None, False),
        ((), None, True),
    ],
)
def test_status(statuses: tuple[int | str, ...], status: int | None, holds: bool) -> None:
    assert Condition(statuses=statuses).holds(status, MISSING) is holds


@pytest.mark.parametrize(
    ("parts", "text", "holds"),
    [
        ({}, '{"a": null}', True),
        ({}, "{}", False),
        ({"exists": True}, '{"a": null}', True),
        ({"exists": True}, "{}", False),
        ({"exists": False}, "{}", True),
        ({"exists": False}, '{"a": 1}', False),
        ({"equals": 1}, '{"a": 1}', True),
        ({"equals": 1}, '{"a": 1.0}', True),
        ({"equals": 1}, '{"a": "1"}', False),
        ({"equals": 1}, '{"a": true}', False),
        ({"equals": None}, '{"a": null}', True),
        ({"equals": None}, "{}", False),
        ({"within": ["x", 2]}, '{"a": 2}', True),
        ({"within": ["x", 2]}, '{"a": 3}', False),
        ({"matches": matching("^1")}, '{"a": 12345678901234567890123}', True),
        ({"matches": matching(r"\.0$")}, '{"a": 1.0}', True),
        ({"matches": matching("b")}, '{"a": "abc"}', True),
        ({"matches": matching("^b")}, '{"a": "abc"}', False),
        ({"matches": matching("")}, '{"a": null}', False),
        ({"matches": matching("")}, '{"a": []}', False),
        ({"exists": True, "equals": 2}, '{"a": 1}', False),
    ],
)
def test_pointer(parts: dict[str, Any], text: str, holds: bool) -> None:
    assert Condition(pointer=A, **parts).holds(None, parse(text)) is holds


def test_any_element() -> None:
    some = Condition(any_in=A, any_where=Condition(pointer=Pointer("/c"), equals=1))
    assert some.holds(None, {"a": [{"c": 2}, {"c": 1}]})
    assert not some.holds(None, {"a": [{"c": 2}]})
    assert not some.holds(None, {"a": []})
    assert not some.holds(None, {"a": {"c": 1}})
    assert Condition(any_in=A).holds(None, {"a": [0]})


def test_every_part_must_hold() -> None:
    both = Condition(statuses=(409,), pointer=A, equals=1)
    assert both.holds(409, {"a": 1})
    assert not both.holds(409, {"a": 2})
    assert not both.holds(400, {"a": 1})


def test_negated() -> None:
    absent = Condition(negated=Condition(pointer=A, equals=1))
    assert absent.holds(200, {"a": 2})
    assert not absent.holds(200, {"a": 1})
    assert Condition(negated=Condition(statuses=(409,))).holds(200, MISSING)


def test_without_a_document_only_statuses_can_hold() -> None:
    for condition in (
        Condition(pointer=A),
        Condition(pointer=A, exists=False),
        Condition(any_in=A),
        Condition(negated=Condition(pointer=A)),
        Condition(statuses=(200,), pointer=A, exists=False),
    ):
        assert condition.needs_document
        assert not condition.holds(200, MISSING)
    assert not Condition(statuses=(200,)).needs_document
    assert not Condition(negated=Condition(statuses=(200,))).needs_document
