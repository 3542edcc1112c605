"""docs/guarantees.md names real tests, real invariants, and every promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.model.run import SAFETY

ROOT: Final = Path(__file__).parent.parent
TEXT: Final = (ROOT / "docs" / "guarantees.md").read_text()
NAMED: Final = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
SECTIONS: Final = dict(re.findall(r"^## (\d+)\. (.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL))
_DEFINITION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_named_test_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, _DEFINITION)}


def test_every_promise_has_a_condition_and_a_test() -> None:
    assert list(SECTIONS) == [str(number) for number in range(1, 11)]
    for number, section in SECTIONS.items():
        assert re.search(r"^Conditions?:", section, re.MULTILINE), number
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", section), number


def test_the_models_invariants_are_named_as_they_are() -> None:
    lines = re.findall(r"^- model: (.*)$", TEXT, re.MULTILINE)
    named = {name for line in lines for name in line.split(", ")}
    assert named <= set(SAFETY)


def test_the_simulations_checks_are_named_as_they_are() -> None:
    """The names in brackets stand in the simulation's own code."""
    code = "".join(path.read_text() for path in (ROOT / "tests" / "sim").glob("*.py"))
    lines = re.findall(r"test_the_promises_hold` \((.*)\)", TEXT)
    assert len(lines) >= 8
    for name in {name for line in lines for name in line.split(", ")}:
        assert re.search(rf'"{name}[":]', code), name


def test_a_test_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError):
        test_the_named_test_exists("tests/test_guarantees_doc.py", "test_nothing_of_this_name")
