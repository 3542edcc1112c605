"""What `make bench` runs on: a Python that says it was built as the image's, or Debian's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "optimised"
DEBIANS = "/usr/bin/python3"


def chosen(python: Path | str) -> str:
    words = ["sh", str(SCRIPT), str(python)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def a_python(folder: Path, options: str | None) -> Path:
    """One that was configured with ``options``: the script's question is asked of them."""
    (folder / "sysconfig.py").write_text(f"def get_config_var(name):\n    return {options!r}\n")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_a_python_that_says_it_is_optimised_is_taken(tmp_path: Path) -> None:
    python = a_python(tmp_path, "'--with-lto' '--enable-optimizations'")
    assert chosen(python) == str(python)


@pytest.mark.parametrize("options", [None, "'--prefix=/opt'"])
def test_another_gives_way_to_debians_where_there_is_one(
    tmp_path: Path, options: str | None
) -> None:
    python = a_python(tmp_path, options)
    gives_way = Path("/etc/debian_version").exists() and not is_too_old(DEBIANS)
    assert chosen(python) == (DEBIANS if gives_way else str(python))


def is_too_old(python: str) -> bool:
    if not os.access(python, os.X_OK):
        return False  # it would be installed
    words = [python, "-c", "import sys; print(sys.version_info < (3, 11))"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout == "True\n"
