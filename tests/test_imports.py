"""Imports go one way: ``rules`` knows nothing of ``proxy``; the core only itself and rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

NEVER = {
    "rules": {"proxy", "aiohttp", "redis", "asyncio", "time", "prometheus_client"},
    "proxy/core": {"aiohttp", "redis", "asyncio", "time", "logging", "prometheus_client"},
}
"""Folder -> top-level modules that nothing in it imports."""

CORE_MAY_USE = ("proxy.core", "rules")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            yield node.module


@pytest.mark.parametrize("folder", NEVER)
def test_a_folder_imports_nothing_from_the_outside_world(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 5
    for file in files:
        for name in imports(file):
            assert name.split(".")[0] not in NEVER[folder], f"{file.name} imports {name}"


def test_the_core_imports_only_itself_and_the_rules() -> None:
    for file in sorted((ROOT / "proxy/core").rglob("*.py")):
        own = [n for n in imports(file) if n.split(".")[0] in {"proxy", "rules"}]
        wrong = [n for n in own if not n.startswith(CORE_MAY_USE)]
        assert not wrong, f"{file.name} imports {wrong}"


def test_the_driver_knows_no_library_of_either_edge() -> None:
    driver = (
        "flow",
        "preparing",
        "forward",
        "adopting",
        "leases",
        "settling",
        "waiting",
        "shadow",
        "lookups",
    )
    for name in driver:
        found = {n.split(".")[0] for n in imports(ROOT / f"proxy/{name}.py")}
        assert not found & {"aiohttp", "redis", "prometheus_client"}, name
