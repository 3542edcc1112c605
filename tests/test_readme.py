"""What the READMEs say of settings, codes, commands and files is so, both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from proxy.core.fate import RETRYABLE, Code
from proxy.settings import SETTINGS
from rules.load import parse_rules

ROOT = Path(__file__).parent.parent
ENGLISH = (ROOT / "README.md").read_text()
BOTH = {"README.md": ENGLISH, "README.zh-CN.md": (ROOT / "README.zh-CN.md").read_text()}
COMMANDS = (
    "serve",
    "check",
    "explain",
    "demo",
    "records",
    "import",
    "report",
    "top",
    "schema",
    "version",
)


def test_every_setting_is_there_with_its_default_and_no_other() -> None:
    row = r"^\| `(IDEMPROXY_\w+)` \| (?:`([^`]*)`)? *\| (.+) \|$"
    rows = re.findall(row, ENGLISH, re.MULTILINE)
    assert rows == [(s.variable, s.default, s.help) for s in SETTINGS]


@pytest.mark.parametrize("name", BOTH)
def test_every_error_code_is_there_and_no_other(name: str) -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .+ \| (.+) \|$", BOTH[name], re.MULTILINE))
    rows = {code: said for code, said in rows.items() if not code.startswith("IDEMPROXY")}
    assert set(rows) == set(Code)
    retryable = {code for code, said in rows.items() if said in {"yes", "是"}}
    assert retryable == {str(code) for code in RETRYABLE}


@pytest.mark.parametrize("name", BOTH)
def test_every_command_is_named_and_exists(name: str) -> None:
    for command in COMMANDS:
        assert f"`{command}`" in BOTH[name]
        module = "import_" if command == "import" else command
        assert (ROOT / f"proxy/cli/{module}.py").is_file()


@pytest.mark.parametrize("name", BOTH)
def test_every_file_that_is_linked_exists(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", BOTH[name])
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("name", BOTH)
def test_the_rule_that_is_shown_is_one(name: str) -> None:
    (text,) = re.findall(r"<<'EOF'\n(version: 1\n.+?)EOF", BOTH[name], re.DOTALL)
    assert parse_rules([("README", text)]).rules[0].mode == "shadow"
    assert YAML(typ="safe").load(text)["rules"][0]["name"] == "payments"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"`?make ([a-z0-9-]+)", ENGLISH))
    made = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(targets) > 8
    assert targets <= made, targets - made
