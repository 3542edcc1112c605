"""The compiled build is compiled where it is said to be: all that is listed, in every process."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import proxy.core.native
import rules.native
from proxy.build import is_compiled, version

ROOT = Path(__file__).parent.parent
EXPECTED = os.environ.get("EXPECT_COMPILED") == "1"
"""`make test-compiled` says so: then nothing may silently be the pure Python."""


def listed() -> list[str]:
    """Names of the modules that setup.py compiles."""
    text = (ROOT / "setup.py").read_text().partition("COMPILED = [")[2].partition("\n]")[0]
    files = re.findall(r'^    "(.+)\.py",$', text, re.MULTILINE)
    return [name.replace("/", ".") for name in files]


def native() -> list[str]:
    """Names of the modules that only the compiled build has."""
    text = (ROOT / "setup.py").read_text().partition("NATIVE = [")[2].partition("]")[0]
    return [name.replace("/", ".") for name in re.findall(r'"(.+?)\.pyx"', text)]


def test_what_is_listed_exists() -> None:
    assert len(listed()) > 30
    assert len(set(listed())) == len(listed())
    for name in listed():
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), name
    assert len(native()) == 2
    for name in native():
        for ending in ("pyx", "pyi"):
            assert (ROOT / f"{name.replace('.', '/')}.{ending}").is_file(), name


@pytest.mark.skipif(not EXPECTED, reason="EXPECT_COMPILED is not set: the pure build")
@pytest.mark.parametrize("name", ["proxy.flow", *listed(), *native()])
def test_it_is_an_extension_of_this_folder(name: str) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).is_relative_to(ROOT)
    assert found.origin.endswith(".so")


def test_the_native_modules_are_asked_where_they_are() -> None:
    assert rules.native.IS_HERE == proxy.core.native.IS_HERE == is_compiled()


def test_the_build_says_what_it_is() -> None:
    assert is_compiled() or not EXPECTED
    assert version().endswith("(compiled)") == is_compiled()


@pytest.mark.process
def test_a_process_that_is_started_from_here_is_of_this_build() -> None:
    words = [sys.executable, "-m", "proxy", "version"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"idemproxy {version()} ")
