"""The rules files that are shipped as examples are right, by the loader and by the JSON Schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from rules.load import load_rules
from rules.schema import json_schema
from tests.fakes.processes import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*/rules*.yaml"))


def test_there_is_one_for_each_example() -> None:
    assert {path.parent.name for path in EXAMPLES} == {"legacy", "notifications", "datasette"}
    assert all((path.parent / "README.md").is_file() for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_loads_and_enforces(path: Path) -> None:
    (rule,) = load_rules(str(path)).rules
    assert rule.mode == "enforce"
    assert rule.upstream.lookup is not None
    jsonschema.validate(YAML(typ="safe").load(path), json_schema())
