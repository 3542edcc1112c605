"""Which changes of a rule would give its stored results another meaning."""

from __future__ import annotations

from typing import Any

import pytest

from rules.generations import cautions, compare
from tests.rules.samples import rules_of, with_changes

LOOKUP: dict[str, Any] = {"path": "/q?k={key}", "result": "/item"}
BASE: dict[str, Any] = {"generation": 2, "upstream.lookup": LOOKUP, "lease": "1m"}

MEANING_CHANGES: list[tuple[str, Any]] = [
    ("scope", ["header:Authorization", "header:X-Tenant"]),
    ("scope", "global"),
    ("request.items", "/rows"),
    ("request.key", ["/id", "/part"]),
    ("request.fingerprint", {"exclude": ["/at"]}),
    ("response.results", None),
    ("response.align", "single"),
    ("response.failed", {"pointer": "/status", "equals": "FAILED"}),
    ("upstream.lookup", {**LOOKUP, "result": "/data"}),
    ("upstream.lookup", {**LOOKUP, "path": "/other?k={key}"}),
    ("upstream.lookup", {**LOOKUP, "found": [{"pointer": "/n", "equals": 1}]}),
]

OTHER_CHANGES: list[tuple[str, Any]] = [
    ("scope", ["header:authorization"]),
    ("mode", "enforce"),
    ("lease", "60s"),
    ("retention", "7d"),
    ("match.path", "/v2/orders"),
    ("request.missing_key", "forward"),
    ("request.fingerprint", {"on_mismatch": "ignore"}),
    ("upstream.timeout", "1s"),
    ("upstream.lookup", {**LOOKUP, "when": "all"}),
    ("upstream.lookup", {**LOOKUP, "compare": {"item": "/a", "result": "/a"}}),
    ("upstream.lookup", None),
    ("response.fields", {"error": "problem"}),
    ("response.counts", {"total": "/n"}),
]


def changed(*pairs: tuple[str, Any], **more: Any) -> str:
    return with_changes({**BASE, **dict(pairs), **more})


@pytest.mark.parametrize(("field", "value"), MEANING_CHANGES, ids=str)
def test_another_meaning_needs_a_higher_generation(field: str, value: Any) -> None:
    old = rules_of(changed())
    found = compare(old, rules_of(changed((field, value))))
    assert len(found) == 1
    assert found[0].field.startswith(f"rules[0].{field}")
    assert found[0].message.endswith("raise generation to 3")
    assert (found[0].file, found[0].line) == ("rules.yaml", 1)
    raised = rules_of(changed((field, value), ("generation", 3)))
    assert compare(old, raised) == []
    assert cautions(old, raised) == []


@pytest.mark.parametrize(("field", "value"), OTHER_CHANGES, ids=str)
def test_other_changes_do_not(field: str, value: Any) -> None:
    assert compare(rules_of(changed()), rules_of(changed((field, value)))) == []


def test_a_lookup_that_is_added_changes_nothing_stored() -> None:
    without = rules_of(changed(("upstream.lookup", None)))
    assert compare(without, rules_of(changed())) == []


def test_a_lower_generation_is_refused() -> None:
    old = rules_of(changed())
    (mistake,) = compare(old, rules_of(changed(("generation", 1))))
    assert mistake.field == "rules[0].generation"
    assert mistake.message.startswith("was 2; a lower one")


def test_without_detection_it_also_asks_for_a_drain() -> None:
    old = rules_of(changed(("upstream.detects_duplicates", False)))
    change = (("upstream.detects_duplicates", False), ("scope", "global"))
    (mistake,) = compare(old, rules_of(changed(*change)))
    assert "raise generation to 3; the service does not detect duplicates, so drain first" in str(
        mistake
    )
    raised = rules_of(changed(*change, ("generation", 3)))
    assert compare(old, raised) == []
    (caution,) = cautions(old, raised)
    assert caution.field == "rules[0].generation"
    assert "drain first" in caution.message


def test_rules_come_and_go() -> None:
    old, other = rules_of(changed()), rules_of(changed(("name", "b"), ("match.path", "/b")))
    none = rules_of("version: 1\nrules: []\n")
    for before, after in ((old, other), (old, none), (none, old)):
        assert compare(before, after) == []
        assert cautions(before, after) == []


def test_a_new_name_forgets() -> None:
    old, renamed = rules_of(changed()), rules_of(changed(("name", "b")))
    assert compare(old, renamed) == []
    (caution,) = cautions(old, renamed)
    assert str(caution).startswith("rules.yaml:1: rules[0].name: was 'orders': nothing")
