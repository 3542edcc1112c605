"""Every process of the benchmark, on loopback, and what each has used of the processors."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not come up")


class Server:
    """One contender: its processes, and where it listens. ``cwd``: where they are started."""

    def __init__(
        self, name: str, port: int, words: list[str], folder: Path, cwd: Path = ROOT
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        self.env: dict[str, str] = {}
        self.words = words
        self.cwd = cwd
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.words, stdout=log, stderr=log, env={**os.environ, **self.env}, cwd=self.cwd
            )
        until(self._accepts, f"{self.name} (see {self.log})")
        return self

    def _accepts(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.log.read_text()[-2000:]}")
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # ---- what it used ---------------------------------------------------------------------

    def pids(self) -> list[int]:
        """It and its children: nginx's work is done by its worker."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += [int(child) for child in children]
        return found

    def cpu(self) -> float:
        """Seconds of processor time so far, of all threads, from the scheduler's own count."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory(self, field: str = "VmRSS") -> float:
        """Resident megabytes; VmHWM for the most there ever was."""
        total = 0
        for pid in self.pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
        return total * 1024 / 1e6


class Stack:
    """All the servers, each started when it is first asked for. ``sources``: the folder that ours
    is started from, this one or the compiled copy of it."""

    def __init__(self, sources: Path = ROOT) -> None:
        self.sources = sources
        self._folder = tempfile.TemporaryDirectory(prefix="idemproxy-bench-")
        self.folder = Path(self._folder.name)
        self._running: dict[str, Server] = {}
        self.slow_port = free_port()
        self.socket = self.folder / "redis.sock"

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for server in reversed(self._running.values()):
            server.stop()
        self._folder.cleanup()

    def get(self, name: str) -> Server:
        if name not in self._running:
            maker: Callable[[str], Server] = {
                "direct": self._upstream,
                "direct-slow": self._slow,
                "redis": self._redis,
                "nginx": self._nginx_proxy,
                "aiohttp": self._forwarder,
                "lua": self._dedupe,
            }.get(name, self.ours)
            self._running[name] = maker(name).start()
        return self._running[name]

    def drop(self, name: str) -> None:
        self._running.pop(name).stop()

    def _nginx(self, name: str, port: int, template: str, **values: object) -> Server:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)  # a contender may be started anew
        values |= {"folder": folder, "here": HERE, "port": port}
        servers = Template((HERE / "nginx" / template).read_text()).substitute(values)
        head = (HERE / "nginx" / "head.conf").read_text()
        config = folder / "nginx.conf"
        config.write_text(Template(head).substitute(values, servers=servers))
        words = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "early.log")]
        return Server(name, port, words, self.folder)

    def _upstream(self, name: str) -> Server:
        return self._nginx(name, free_port(), "upstream.conf", slow_port=self.slow_port)

    def _slow(self, name: str) -> Server:
        """The upstream's other listener: the same process, 20 ms later."""
        upstream = self.get("direct")
        slow = Server(name, self.slow_port, ["sleep", "infinity"], self.folder)
        slow.url = upstream.url.replace(str(upstream.port), str(self.slow_port))
        return slow

    def _nginx_proxy(self, name: str) -> Server:
        return self._nginx(name, free_port(), "proxy.conf", upstream=self.get("direct").port)

    def _dedupe(self, name: str) -> Server:
        ports = {"upstream": self.get("direct").port, "redis": self.get("redis").port}
        return self._nginx(name, free_port(), "dedupe.conf", **ports)

    def _forwarder(self, name: str) -> Server:
        port = free_port()
        words = [sys.executable, str(HERE / "forwarder.py"), str(port), self.get("direct").url]
        return Server(name, port, words, self.folder)

    def _redis(self, name: str) -> Server:
        port = free_port()
        words = ["redis-server", "--port", str(port), "--unixsocket", str(self.socket)]
        words += ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        return Server(name, port, words, self.folder)

    def ours(self, name: str) -> Server:
        """``ours``, and with other words behind a dash: unix (store socket), slow (upstream)."""
        port, redis = free_port(), self.get("redis")
        upstream = self.get("direct-slow" if "slow" in name else "direct")
        words = [sys.executable, "-m", "proxy", "serve"]
        server = Server(name, port, words, self.folder, self.sources)
        store = f"unix://{self.socket}" if "unix" in name else f"redis://127.0.0.1:{redis.port}/0"
        server.env = {
            "IDEMPROXY_UPSTREAM": upstream.url,
            "IDEMPROXY_LISTEN": f"127.0.0.1:{port}",
            "IDEMPROXY_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
            "IDEMPROXY_STORE": store,
            "IDEMPROXY_RULES": str(HERE / "rules.yaml"),
            "IDEMPROXY_LOG_LEVEL": "error",
            "IDEMPROXY_STORE_TIMEOUT": "5s",
        }
        return server


def post(url: str, body: bytes) -> tuple[int, bytes]:
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"Content-Type": "application/json", "X-Tenant-Id": "bench"}
    connection.request("POST", "/api/v1/notifications/batch", body, headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()
