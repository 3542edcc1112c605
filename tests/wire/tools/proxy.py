"""A proxy for a varnishtest script: ``UPSTREAM_PORT FOLDER PORT``; who ran the script stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.fakes.processes import accepts, free_port
from tests.wire.gateway import RULE


def start(upstream: str, folder: Path, port: str) -> int:
    (folder / "rules.yaml").write_text(RULE)
    command = [
        *(sys.executable, "-m", "proxy", "serve", "--rules", str(folder / "rules.yaml")),
        *("--upstream", f"http://127.0.0.1:{upstream}", "--listen", f"127.0.0.1:{port}"),
        *("--admin-listen", f"127.0.0.1:{free_port()}"),
    ]
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    (folder / "pid").write_text(str(process.pid))
    end = time.monotonic() + 20
    while not accepts(int(port)):
        if process.poll() is not None or time.monotonic() > end:
            sys.stdout.write((folder / "proxy.log").read_text())
            return 1
        time.sleep(0.05)
    sys.stdout.write("ready\n")
    return 0


def stop(folder: Path) -> None:
    """End what ``start`` started there, if it did."""
    file = folder / "pid"
    if file.exists():
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(start(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
