"""What is allowed and yet worth a second look, beside what gives no reason to look."""

from __future__ import annotations

from typing import Any

import pytest

from rules.load import parse_rules
from tests.rules.samples import rules_of, with_changes

VERIFIED = {"scope": ["jwt:/sub"]}
LOOKUP = {"path": "/q?k={key}"}
BLIND: dict[str, Any] = {"upstream.detects_duplicates": False, "upstream.lookup": LOOKUP}


def warned(changes: dict[str, Any]) -> list[tuple[str, str]]:
    found = rules_of(with_changes({**VERIFIED, **changes})).warnings
    return [(w.field.removeprefix("rules[0]."), w.message) for w in found]


@pytest.mark.parametrize(
    ("quiet", "loud", "field", "words"),
    [
        ({"scope": ["jwt:/sub"]}, {"scope": "global"}, "scope", "every other client's results"),
        (
            {"scope": ["header:X-Tenant", "jwt:/sub"]},
            {"scope": ["header:X-Tenant"]},
            "scope",
            "nothing here is verified",
        ),
        ({"scope": ["header:X-Api-Key"]}, {"scope": ["path:t"]}, "scope", "nothing here is veri"),
        ({"scope": ["header:Cookie"]}, {"scope": ["query:t"]}, "scope", "nothing here is verified"),
        (
            {"scope": ["header:X-Api-Key"]},
            {"scope": ["header:Authorization"]},
            "scope",
            "a bearer token that is refreshed",
        ),
        (
            {"scope": [{"jwt": "/sub", "unverified": False}]},
            {"scope": ["header:X-Api-Key", {"jwt": "/sub", "unverified": True}]},
            "scope",
            "any claim it likes",
        ),
        (
            {
                "upstream.duplicate": [],
                "response.duplicate": {"pointer": "/s", "equals": "DUPLICATE"},
            },
            {"upstream.duplicate": []},
            "upstream.duplicate",
            "nothing says how its answer shows them",
        ),
        (BLIND, {**BLIND, "upstream.lookup": None}, "upstream.lookup", "stays OUTCOME_UNKNOWN"),
        (BLIND, {**BLIND, "on_store_failure": "open"}, "on_store_failure", "done twice"),
        (
            {"request.missing_key": "forward"},
            {**BLIND, "request.missing_key": "forward"},
            "request.missing_key",
            "done again on every retry",
        ),
        ({"deadline": "10s"}, {"deadline": "9s"}, "deadline", "shorter than upstream.timeout"),
        ({"wait": "29s"}, {"wait": "30s"}, "wait", "not shorter than the deadline"),
        (
            {"response.fields": {"is_idempotent": None}},
            {"response.fields": {"error": None}},
            "response.fields.error",
            "cannot tell which items failed",
        ),
    ],
)
def test_a_warning(quiet: dict[str, Any], loud: dict[str, Any], field: str, words: str) -> None:
    path = {"match.path": "/{t}/orders"}
    assert warned({**path, **quiet}) == []
    ((found, message),) = warned({**path, **loud})
    assert found == field
    assert words in message


def test_both_sides_of_a_bare_unverified_claim() -> None:
    found = warned({"scope": [{"jwt": "/sub", "unverified": True}]})
    assert [field for field, _ in found] == ["scope", "scope"]


def test_a_rule_behind_another_that_takes_all() -> None:
    where = {"pointer": "/method", "equals": "a"}

    def behind(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
        both = [({"name": "a", **first}), ({"name": "b", **second})]
        files = [(c["name"], with_changes({**VERIFIED, **c})) for c in both]
        return [str(w) for w in parse_rules(files).warnings]

    assert behind({}, {}) == [
        "b:1: rules[0].match: never reached: 'a' handles all of POST /v1/orders"
    ]
    assert behind({}, {"match.where": where}) != []
    assert behind({"match.where": where}, {}) == []
    assert behind({}, {"match.method": "PUT"}) == []
    assert behind({}, {"match.path": "/v2"}) == []
