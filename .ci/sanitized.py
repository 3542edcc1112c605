"""The native modules' tests under the address and undefined-behaviour sanitizers.

They are built anew for it, in `build/sanitized`, beside the pure rest. A reader that went one byte
too far in a client's text would end this run; the ordinary one would hardly ever notice.
"""

from __future__ import annotations

import os
import subprocess
import sys

import compiled

COPY = compiled.ROOT / "build" / "sanitized"
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
TESTS = [
    "tests/rules/test_native.py",
    "tests/core/test_native_pack.py",
    "tests/core/test_keys.py",
    "tests/store/test_plain_wire.py",
]
TESTS += ["tests/rules/test_request_fuzz.py", "tests/rules/test_contents.py"]


def main() -> int:
    compiled.follow(COPY)
    compiled.install_tools()
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    environment = {"IDEMPROXY_COMPILE": "native", "CFLAGS": FLAGS, "LDFLAGS": FLAGS}
    subprocess.run(build, cwd=COPY, env=os.environ | environment, check=True)
    words = ["gcc", "-print-file-name=libasan.so"]
    library = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    # Its own allocator would hide what lies behind a bytes object's end; leaks are the
    # interpreter's, which frees nothing as it ends.
    environment = {
        "LD_PRELOAD": library,
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": ".",
    }
    for words in (["-c", "import rules._scan, proxy.core._pack"], ["-m", "pytest", *TESTS]):
        done = subprocess.run(
            [sys.executable, *words], cwd=COPY, env=os.environ | environment, check=False
        )
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
