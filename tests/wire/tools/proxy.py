"""For the varnishtest scripts: ``start UPSTREAM_PORT FOLDER PORT`` and ``stop FOLDER``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


def stop(folder: Path) -> int:
    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "start":
        sys.exit(start(sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
    sys.exit(stop(Path(sys.argv[2])))
