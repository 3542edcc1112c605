"""Whole programs as processes: the proxy, the example services, anything that listens.

Law: loopback and free ports only; every wait is for a condition and has an end; each process is
ended by its own id. Output goes to a file, so that nothing blocks on a full pipe, and a test that
fails can show it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 20.0
STOP_SECONDS = 15.0


class ProcessError(Exception):
    """It ended too early, or was not ready or gone in time. The message shows its output."""


@dataclass(slots=True)
class Process:
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Raises ProcessError where it does not come true in time, or the process has ended."""
        end = time.monotonic() + READY_SECONDS
        while not condition():
            if self.popen.poll() is not None:
                raise ProcessError(f"ended with {self.popen.returncode}:\n{self.output}")
            if time.monotonic() > end:
                raise ProcessError(f"not {what} after {READY_SECONDS} s:\n{self.output}")
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, then its exit code; SIGKILL and ProcessError where it does not end in time."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessError(f"still there after {STOP_SECONDS} s:\n{self.output}") from None

    def kill(self) -> None:
        """SIGKILL: what a crash is."""
        self.popen.kill()
        self.popen.wait()


@dataclass(slots=True)
class Proxy:
    """A running proxy. ``url`` is its data listener, ``admin`` the other one."""

    process: Process
    url: str
    admin: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    """Whether a GET of ``url`` answers with a success."""
    try:
        return ask("GET", url).status == 200
    except (http.client.HTTPException, OSError):
        return False


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Heard:
    """One request on a connection of its own. ``body``: bytes as they are, else as JSON."""
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc, timeout=60)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    own = {} if data is None else {"Content-Type": "application/json"}
    path = url.partition(target.netloc)[2] or "/"
    try:
        connection.request(method, path, data, own | dict(headers or {}))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Heard(answer.status, named, answer.read())
    finally:
        connection.close()


def start(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
    """Start a program with none of this process's IDEMPROXY settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("IDEMPROXY_")}
    with log.open("wb") as sink:
        popen = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=clean | {"PYTHONUNBUFFERED": "1"} | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    return Process(popen, log)


@contextmanager
def listening(argv: Sequence[str], port: int, log: Path) -> Iterator[Process]:
    """A program that listens on ``port`` once it is ready."""
    process = start(argv, log)
    try:
        process.wait_until(lambda: accepts(port), "listening")
        yield process
    finally:
        process.stop()


@contextmanager
def example(name: str, *options: str, log: Path) -> Iterator[str]:
    """``python -m examples.NAME`` on a free port; its base URL."""
    process = start([sys.executable, "-m", f"examples.{name}", "--port", "0", *options], log)
    said = re.compile(r"^listening on (\S+)$", re.MULTILINE)
    try:
        process.wait_until(lambda: said.search(process.output) is not None, "listening")
        found = said.search(process.output)
        assert found is not None
        yield found[1]
    finally:
        process.stop()


def start_proxy(rules: Path, upstream: str, log: Path, **settings: str) -> Proxy:
    """``python -m proxy serve``, ready. ``settings`` by their names, in any case."""
    data, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    given = {"RULES": str(rules), "UPSTREAM": upstream, "LISTEN": data, "ADMIN_LISTEN": admin}
    given |= {name.upper(): value for name, value in settings.items()}
    env = {f"IDEMPROXY_{name}": value for name, value in given.items()}
    process = start([sys.executable, "-m", "proxy", "serve"], log, env)
    running = Proxy(process, f"http://{data}", f"http://{admin}")
    try:
        process.wait_until(lambda: answers(f"{running.admin}/readyz"), "ready")
    except ProcessError:
        process.kill()
        raise
    return running


@contextmanager
def proxy(rules: Path, upstream: str, log: Path, **settings: str) -> Iterator[Proxy]:
    """The proxy in front of ``upstream``. It must end with exit code 0 when told to stop."""
    running = start_proxy(rules, upstream, log, **settings)
    try:
        yield running
    finally:
        code = running.process.stop()
    if code != 0:
        raise ProcessError(f"ended with {code}:\n{running.process.output}")
