"""Real redis-server processes: one, one with replicas and Sentinels, a Cluster.

Law: loopback, free ports, a directory of its own each; every wait is for a condition and has an
end; each process is ended by its own id. A program that is not there is an error, never a skip.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis

READY_SECONDS = 40.0


class RedisServerError(Exception):
    """It is not installed, ended too early, or was not ready in time. Shows its log."""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RedisServerError(f"{name} is not on PATH: apt-get install redis-server")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RedisServerError(f"not {what} after {seconds} s")
        time.sleep(0.01)


def fields(text: bytes) -> dict[str, str]:
    """INFO and its like."""
    lines = (line.partition(":") for line in text.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}


class RedisServer:
    """One process. It also listens on a unix socket, which ``command`` uses whatever TLS says."""

    def __init__(self, *options: str, binary: str = "redis-server", persist: bool = False) -> None:
        self.port = free_port()
        self._program = program(binary)
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self.folder = Path(self._folder.name)
        self.socket = self.folder / "s"
        self._options = [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--unixsocket", str(self.socket), "--save", "", "--enable-debug-command", "yes"),
            *("--appendonly", "yes" if persist else "no", "--appendfsync", "always"),
            *("--loglevel", "notice", "--logfile", str(self.folder / "log")),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._control: redis.Redis | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen([self._program, *self._options])
        eventually(self._answers, "ready")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RedisServerError(f"ended with {self._process.returncode}:\n{self.log}")
        try:
            self.command("PING")
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return False
        except redis.AuthenticationError:
            return True
        return True

    def command(self, *words: Any) -> Any:
        if self._control is None:
            self._control = redis.Redis(
                unix_socket_path=str(self.socket), socket_timeout=10, protocol=2
            )
            self._control.response_callbacks.clear()  # replies as they come: bytes and lists
        return self._control.execute_command(*words)  # type: ignore[no-untyped-call]

    def info(self, field: str) -> str:
        return fields(self.command("INFO", "everything")).get(field, "")

    def is_in_step(self) -> bool:
        """A replica that has its master's data."""
        return self.info("master_link_status") == "up"

    def kill(self) -> None:
        """SIGKILL: what a crash is."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        if self._control is not None:
            self._control.close()
        self._folder.cleanup()


@contextmanager
def standalone(
    *options: str, binary: str = "redis-server", persist: bool = False
) -> Iterator[RedisServer]:
    server = RedisServer(*options, binary=binary, persist=persist)
    try:
        server.start()
        yield server
    finally:
        server.close()


class RedisCluster:
    """Masters that share the slots evenly, each with as many replicas as asked for."""

    def __init__(self, masters: int = 3, replicas: int = 0, binary: str = "redis-server") -> None:
        self.masters = [self._node(binary) for _ in range(masters)]
        self.replicas = [self._node(binary) for _ in range(masters * replicas)]

    @staticmethod
    def _node(binary: str) -> RedisServer:
        options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        timing = ("--cluster-node-timeout", "1500", "--cluster-replica-validity-factor", "0")
        return RedisServer(*options, *timing, binary=binary)

    @property
    def nodes(self) -> list[RedisServer]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.masters)

    def start(self) -> None:
        for number, node in enumerate(self.nodes, 1):
            node.start()
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number)
        first = self.masters[0]
        for node in self.nodes[1:]:
            bus = node._options[node._options.index("--cluster-port") + 1]
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for index, node in enumerate(self.masters):
            low = index * 16384 // len(self.masters)
            high = (index + 1) * 16384 // len(self.masters) - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", low, high)
        for index, node in enumerate(self.replicas):
            master = self.node_id(self.masters[index % len(self.masters)])
            eventually(partial(self._knows, node, master), "introduced")
            node.command("CLUSTER", "REPLICATE", master)
        self.wait_until_ok()
        for node in self.replicas:
            eventually(node.is_in_step, "replicating")

    def wait_until_ok(self) -> None:
        eventually(lambda: all(map(self._is_ok, self.nodes)), "an agreed cluster")

    def _is_ok(self, node: RedisServer) -> bool:
        state = fields(node.command("CLUSTER", "INFO"))
        known = state["cluster_known_nodes"] == str(len(self.nodes))
        return state["cluster_state"] == "ok" and known

    @staticmethod
    def _knows(node: RedisServer, node_id: str) -> bool:
        return node_id in node.command("CLUSTER", "NODES").decode()

    @staticmethod
    def node_id(node: RedisServer) -> str:
        return str(node.command("CLUSTER", "MYID").decode())

    def owner(self, slot: int) -> RedisServer:
        return next(node for node in self.nodes if self._serves(node, slot))

    def _serves(self, node: RedisServer, slot: int) -> bool:
        for first, last, (_, port, *_), *_ in node.command("CLUSTER", "SLOTS"):
            if first <= slot <= last and port == node.port:
                return True
        return False

    def begin_move(self, slot: int, target: RedisServer) -> RedisServer:
        """The slot is then half here, half there: ASK and TRYAGAIN. Returns the source."""
        source = self.owner(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))
        return source

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer, count: int) -> int:
        keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, count)
        for key in keys:
            source.command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        return len(keys)

    def end_move(self, slot: int, target: RedisServer) -> None:
        for node in (target, *(node for node in self.masters if node is not target)):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))

    def move(self, slot: int, target: RedisServer) -> None:
        source = self.begin_move(slot, target)
        while self.move_keys(slot, source, target, 100):
            pass
        self.end_move(slot, target)

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextmanager
def cluster(
    masters: int = 3, replicas: int = 0, binary: str = "redis-server"
) -> Iterator[RedisCluster]:
    made = RedisCluster(masters, replicas, binary)
    try:
        made.start()
        yield made
    finally:
        made.close()


class SentinelGroup:
    """A master, a replica, and three Sentinels that fail over within about a second."""

    name = "main"

    def __init__(self, replicas: int = 1, sentinels: int = 3) -> None:
        self.servers = [RedisServer() for _ in range(1 + replicas)]
        self._wanted = sentinels
        self._folder = tempfile.TemporaryDirectory(prefix="sentinel-")
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self.ports: list[int] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{self.name}"

    def start(self) -> None:
        first, *others = self.servers
        first.start()
        for server in others:
            server.start()
            server.command("REPLICAOF", "127.0.0.1", first.port)
            eventually(server.is_in_step, "replica")
        for number in range(self._wanted):
            self._start_sentinel(number, first.port)
        for port in self.ports:
            eventually(partial(self._sees_all, port), "seen by every sentinel")

    def _start_sentinel(self, number: int, master_port: int) -> None:
        port = free_port()
        path = Path(self._folder.name) / f"{number}.conf"
        path.write_text(
            f"port {port}\nbind 127.0.0.1\nlogfile {path}.log\n"
            f"sentinel monitor {self.name} 127.0.0.1 {master_port} {self._wanted // 2 + 1}\n"
            f"sentinel down-after-milliseconds {self.name} 500\n"
            f"sentinel failover-timeout {self.name} 2000\n"
        )
        command = [program("redis-server"), str(path), "--sentinel"]
        self._sentinels.append(subprocess.Popen(command))
        self.ports.append(port)

    def _sees_all(self, port: int) -> bool:
        try:
            flat = self._ask(port, "MASTER")
        except redis.ConnectionError:
            return False
        state = dict(zip(flat[::2], flat[1::2], strict=True))
        return (
            int(state[b"num-slaves"]) == len(self.servers) - 1
            and int(state[b"num-other-sentinels"]) == self._wanted - 1
        )

    def _ask(self, port: int, question: str) -> Any:
        with contextlib.closing(redis.Redis(port=port, socket_timeout=5, protocol=2)) as client:
            client.response_callbacks.clear()
            words = ("SENTINEL", question, self.name)
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    @property
    def master(self) -> RedisServer:
        _, port = self._ask(self.ports[0], "GET-MASTER-ADDR-BY-NAME")
        return next(server for server in self.servers if server.port == int(port))

    def wait_for_failover(self, old: RedisServer) -> RedisServer:
        eventually(lambda: self.master is not old, "failed over")
        new = self.master
        eventually(lambda: new.info("role") == "master", "promoted")
        return new

    def failover(self) -> RedisServer:
        """Kill the master and wait for the new one."""
        old = self.master
        old.kill()
        return self.wait_for_failover(old)

    def step_down(self) -> RedisServer:
        """A planned failover: the old master becomes a replica and keeps its connections."""
        old = self.master
        self._ask(self.ports[0], "FAILOVER")
        new = self.wait_for_failover(old)
        eventually(lambda: old.info("role") == "slave", "stepped down")
        return new

    def close(self) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait()
        for server in self.servers:
            server.close()
        self._folder.cleanup()


@contextmanager
def sentinel(replicas: int = 1, sentinels: int = 3) -> Iterator[SentinelGroup]:
    made = SentinelGroup(replicas, sentinels)
    try:
        made.start()
        yield made
    finally:
        made.close()
