"""The JSON Schema accepts what the loader accepts, as far as a schema can say, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from rules.fields import FILE
from rules.load import load_rules, parse_rules
from rules.load_kinds import Kind
from rules.schema import json_schema
from tests.rules import cases, cases_shapes
from tests.rules.cases import Case
from tests.rules.samples import LONG, SHORT, with_changes

ROOT = Path(__file__).parents[2]
CASES = cases.CASES + cases_shapes.CASES
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXAMPLES = sorted(ROOT.glob("examples/**/rules*.yaml")) + sorted(
    ROOT.glob("k8s/**/rules/**/rules.yaml")
)


def document(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("text", [SHORT, LONG, "version: 1\nrules: []\n"])
def test_good_files(text: str) -> None:
    VALIDATOR.validate(document(text))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_judges_as_the_loader_does(case: Case) -> None:
    VALIDATOR.validate(document(with_changes(case.good)))
    assert VALIDATOR.is_valid(document(with_changes(case.bad))) == case.loader_only


def test_what_the_loader_fills_in_is_valid_too() -> None:
    for text in (SHORT, LONG):
        (rule,) = parse_rules([("r", text)]).rules
        VALIDATOR.validate({"version": 1, "rules": [rule.source]})


@pytest.mark.parametrize(
    "bad",
    [
        {"version": 2, "rules": []},
        {"version": 1},
        {"rules": []},
        {"version": 1, "rules": {}},
        {"version": 1, "rules": [], "rule": 1},
        {"version": 1, "rules": [7]},
        [],
    ],
)
def test_bad_files(bad: Any) -> None:
    assert not VALIDATOR.is_valid(bad)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_are_valid_and_load(path: Path) -> None:
    VALIDATOR.validate(document(path.read_text()))
    assert load_rules(str(path)).rules


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 3


def named(kind: Kind, path: str = "") -> Iterator[str]:
    for name, field in kind.fields.items():
        inner = f"{path}.{name}" if path else name
        yield inner
        yield from named(field.kind, inner)


def properties(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every property of the schema by dotted name, through lists and forms."""
    for name, inner in schema.get("properties", {}).items():
        full = f"{path}.{name}" if path else name
        yield full
        yield from properties(inner, full)
    for form in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from properties(form, path)
    if "items" in schema:
        yield from properties(schema["items"], path)


def test_it_names_the_fields_of_the_table_and_no_others() -> None:
    of_table = set(named(FILE))
    of_schema = {n for n in properties(SCHEMA) if not n.startswith("rules.scope.")}
    assert of_schema == of_table
    assert len(of_table) > 70


def test_every_field_is_described() -> None:
    def fields(kind: Kind) -> Iterator[tuple[str, str]]:
        for name, field in kind.fields.items():
            yield name, field.says
            yield from fields(field.kind)

    assert not [name for name, says in fields(FILE) if not says.endswith((".", "wins."))]


@pytest.mark.process
def test_check_jsonschema_accepts_it(tmp_path: Path) -> None:
    """The program that people put into their CI."""
    program = Path(sys.executable).parent / "check-jsonschema"
    schema, good, bad = (tmp_path / name for name in ("schema.json", "good.yaml", "bad.yaml"))
    made = subprocess.run(
        [sys.executable, "-m", "proxy", "schema"], capture_output=True, check=True, cwd=ROOT
    )
    schema.write_bytes(made.stdout)
    good.write_text(LONG)
    bad.write_text(LONG.replace("mode: off", "mode: on"))

    def passes(*arguments: str) -> bool:
        ended = subprocess.run([program, *arguments], capture_output=True, check=False)
        return ended.returncode == 0

    assert passes("--check-metaschema", str(schema))
    assert passes("--schemafile", str(schema), str(good))
    assert not passes("--schemafile", str(schema), str(bad))
