"""Every mistake a rules file can hold is refused, and its nearest neighbour is not."""

from __future__ import annotations

import pytest

from rules.load_yaml import MAX_NODES
from rules.model import Rule
from tests.rules import cases, cases_shapes
from tests.rules.cases import Case
from tests.rules.samples import SHORT, mistakes_of, rules_of, with_changes


@pytest.mark.parametrize("case", cases.CASES + cases_shapes.CASES, ids=str)
def test_one_field(case: Case) -> None:
    assert mistakes_of(with_changes(case.good)) == []
    found = mistakes_of(with_changes(case.bad))
    assert [m.field for m in found] == [f"rules[0].{case.field}"]
    assert case.words in found[0].message


@pytest.mark.parametrize(
    "name",
    [
        "name",
        "match.path",
        "scope",
        "request.items",
        "request.key",
        "upstream.detects_duplicates",
        "response.results",
    ],
)
def test_what_is_required(name: str) -> None:
    (mistake,) = mistakes_of(with_changes({name: ...}))
    assert (mistake.field, mistake.message) == (f"rules[0].{name}", "is required")


def text_of(*changes: tuple[str, str]) -> str:
    text = SHORT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "rules.yaml:1: the file is empty"),
        ("# only a remark\n", "rules.yaml:1: the file is empty"),
        ("[]", "rules.yaml:1: expected a mapping, got a list"),
        ("version: 1\n", "rules.yaml:1: rules: is required"),
        ("rules: []\n", "rules.yaml:1: version: is required"),
        ("version: 2\nrules: []\n", "rules.yaml:1: version: expected one of 1; got 2"),
        ("version: 1\nrules:\n", "rules.yaml:2: rules: expected a list, got nothing"),
        ("version: 1\nrules: []\nrule: 1\n", "rules.yaml:3: rule: unknown field; did you mean"),
        ("version: 1\nrules: [\n", "rules.yaml:3: not YAML: "),
        ("version: 1\n\trules: []\n", "rules.yaml:2: not YAML: "),
        ("version: 1\n---\nrules: []\n", "rules.yaml:2: not YAML: but found another document"),
        ("version: \x00", "rules.yaml: not YAML: unacceptable character"),
        ("[" * 3000, "rules.yaml: not YAML: "),
        ("version: 1\nrules: *x\n", "rules.yaml:2: not YAML: found undefined alias"),
        ("version: 1\nrules: &r [*r]\n", "rules.yaml:2: rules[0]: an alias that holds itself"),
        (text_of(("/orders,", "!x /orders,")), "rules.yaml:6: rules[0].request.items: cannot read"),
        (text_of(("key:", "<<:")), "rules.yaml:6: rules[0].request.<<: merge keys are not"),
        (text_of(("key:", "1: 2, key:")), "rules.yaml:6: rules[0].request: a name must be a st"),
        (text_of(("key:", "[a]: 2, key:")), "rules.yaml:6: rules[0].request: a name must be a st"),
        (SHORT + "    lease: .inf\n", "rules.yaml:9: rules[0].lease: cannot read '.inf': JSON has"),
        (SHORT + "    lease: 1e999\n", "rules.yaml:9: rules[0].lease: cannot read '1e999': JSON"),
        (SHORT + f"    lease: {'9' * 5000}\n", "rules.yaml:9: rules[0].lease: cannot read '9999"),
        (SHORT + "    name: b\n", "rules.yaml:9: rules[0].name: given twice, first in line 3"),
    ],
)
def test_the_file_itself(text: str, wanted: str) -> None:
    assert str(mistakes_of(text)[0]).startswith(wanted)


def test_a_mistake_in_the_yaml_is_said_once() -> None:
    assert len(mistakes_of(SHORT + "    lease: .nan\n")) == 1


def test_aliases_are_followed_to_an_end() -> None:
    deep = ["x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(1, 12):
        inner = ", ".join([f"*x{i - 1}"] * 10)
        deep.append(f"x{i}: &x{i} [{inner}]")
    found = [m for m in mistakes_of("\n".join(deep)) if "too large" in m.message]
    assert len(found) == 1
    assert MAX_NODES < 10**12


def test_an_alias_stands_for_its_value() -> None:
    text = text_of(("items: /orders", "items: &p /orders"), ("key: [/id]", "key: [*p]"))
    (rule,) = rules_of(text).rules
    assert rule.request.key == (rule.request.items,)


def only(text: str) -> Rule:
    (rule,) = rules_of(text).rules
    return rule


def test_yaml_numbers_and_words() -> None:
    text = """
    accepted_item: {a: 0x10, b: 0o10, c: 010, d: 1_000, e: 1.50, f: yes, g: 2026-01-01, h: ~,
                    i: True, j: "1", k: -3}"""
    rule = only(SHORT.replace("results: /results}", "results: /results," + text + "}"))
    assert rule.response.accepted_item == (
        b'{"a":16,"b":8,"c":10,"d":1000,"e":1.5,"f":"yes","g":"2026-01-01","h":null,'
        b'"i":true,"j":"1","k":-3}'
    )
