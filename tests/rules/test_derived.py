from __future__ import annotations

from dataclasses import replace

from rules.derived import _MOST, once_each
from rules.load import parse_rules
from rules.model import Rule

RULES = """
version: 1
rules:
  - name: orders
    match: {path: /orders/batch}
    scope: global
    request: {items: /orders, key: [/id]}
    upstream: {detects_duplicates: true}
    response: {results: /results}
"""


def test_made_once_and_never_for_another() -> None:
    (rule,) = parse_rules([("rules.yaml", RULES)]).rules
    made: list[Rule] = []

    @once_each
    def name(rule: Rule) -> str:
        made.append(rule)
        return rule.name

    assert [name(rule), name(rule)] == ["orders", "orders"]
    assert len(made) == 1
    # As short-lived as after a reload: an id is given again once its rule is gone.
    for number in range(2 * _MOST + 5):
        assert name(replace(rule, name=str(number))) == str(number)
    assert name(rule) == "orders"
