"""Make `build/compiled`, or the folder that is named: a copy of the sources with the extension
modules in place.

The copy is brought up to date each time; the extension modules are made anew only when what they
are made from has changed, for that takes minutes. What is missing is installed as `.ci/need` does.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / (sys.argv[1] if sys.argv[1:] else "build/compiled")
STAMP = COPY / "build" / "made-from"
SKIPPED = {"build", "dist", "node_modules", "artifacts", "results", "__pycache__"}
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h"}
DEBIAN = Path("/etc/debian_version")


def main() -> int:
    follow(COPY)
    made_from = digest()
    if STAMP.exists() and STAMP.read_text() == made_from:
        return 0
    install_tools()
    for old in COPY.rglob("*.so"):
        old.unlink()
    print("compiling: two minutes or so", flush=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=COPY,
        env=os.environ | {"IDEMPROXY_COMPILE": "1", "PYTHONHASHSEED": "0"},
        check=False,
    )
    if done.returncode == 0:
        STAMP.write_text(made_from)
    return done.returncode


def follow(folder: Path) -> None:
    """The copy's sources are what the repository's are now."""
    here, there = set(sources(ROOT)), set(sources(folder))
    for path in there - here:
        (folder / path).unlink()
    for path in here:
        copy = folder / path
        if path in there and filecmp.cmp(ROOT / path, copy, shallow=False):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy)


def sources(root: Path) -> Iterator[Path]:
    """Everything that no tool made, relative to ``root``."""
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [f for f in folders if f not in SKIPPED and (f == ".ci" or f[0] != ".")]
        for name in files:
            if not name.endswith((".so", ".pyc")) and not (here / name).is_symlink():
                yield (here / name).relative_to(root)


def digest() -> str:
    """Of all that the extension modules follow from."""
    summed = hashlib.sha256(f"{sys.version} {version('mypy')} {version('cython')} {COPY}".encode())
    for part in ("setup.py", "pyproject.toml", "proxy", "rules"):
        path = COPY / part
        made_from = [f for f in path.rglob("*") if f.suffix in SOURCES]
        for file in sorted(made_from) if path.is_dir() else [path]:
            summed.update(f"{file} ".encode() + file.read_bytes())
    return summed.hexdigest()


def install_tools() -> None:
    """A C compiler with the C library's headers, and those of this very Python."""
    need("gcc", "gcc")
    if not Path("/usr/include/stdlib.h").exists():
        need("-p", "libc6-dev")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        if not (DEBIAN.exists() and headers.is_relative_to("/usr/include")):
            sys.exit(f"no Python.h in {headers}: install the headers of {sys.executable}")
        need("-p", "python3-dev")


def need(*words: str) -> None:
    subprocess.run(["sh", str(ROOT / ".ci" / "need"), *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
