"""Clients of the notifications service: they send batches, keep count, and forget nothing.

A client does what HTTP clients do: it keeps its connection, leaves it where the answer says
``Connection: close``, and asks the Service for an endpoint when it needs a new one.
"""

from __future__ import annotations

import collections
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PATH = "/api/v1/notifications/batch"


def get(host: str, port: int, path: str, timeout: float = 5.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until(what: str, holds: Callable[[], bool], timeout: float = 30.0) -> float:
    """Wait for a condition, bounded; how long it took."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        try:
            if holds():
                return time.monotonic() - started
        except OSError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"{what}: not within {timeout:g} s")


def item(key: str, padding: int = 0) -> dict[str, Any]:
    return {
        "key": key,
        "receivers": ["ada@example.org"],
        "channel": "EMAIL",
        "templateId": "welcome",
        "templateParams": {"name": key, "text": "x" * padding},
        "strategy": "IMMEDIATE",
    }


@dataclass
class Service:
    """The endpoints that a new connection may go to, as the cluster believes at the moment."""

    endpoints: list[str]
    turn: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pick(self) -> str:
        with self.lock:
            self.turn += 1
            return self.endpoints[self.turn % len(self.endpoints)]

    def set(self, *endpoints: str) -> None:
        with self.lock:
            self.endpoints = list(endpoints)


@dataclass
class Client:
    """One connection at a time. ``post`` answers (status, headers, body) or raises OSError."""

    service: Service
    connection: http.client.HTTPConnection | None = None

    def post(self, items: list[dict[str, Any]]) -> tuple[int, dict[str, str], dict[str, Any]]:
        body = json.dumps({"notifications": items})
        headers = {"X-Tenant-Id": "acme", "Content-Type": "application/json"}
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.service.pick(), 8000, timeout=15)
        try:
            self.connection.request("POST", PATH, body, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(type(error).__name__) from error
        if answer.will_close:
            self.close()
        return answer.status, dict(answer.headers), _json(text)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _json(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def done(result: dict[str, Any]) -> bool:
    """Whether this result says that the item's work is done."""
    return not result.get("error") and result.get("status") != "FAILED"


@dataclass
class Load:
    """Threads that send batches of new keys until they are told to stop, and then, where
    ``retries`` is set, send again what was not answered as done. Every second one keeps no
    connection: it asks for an endpoint at each request."""

    service: Service
    name: str
    retries: bool = False
    size: int = 5
    stopped: threading.Event = field(default_factory=threading.Event)
    saw: collections.Counter[str] = field(default_factory=collections.Counter)
    keys: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, clients: int) -> None:
        for number in range(clients):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(120)

    @property
    def answered(self) -> int:
        return self.saw["200"]

    def _run(self, number: int) -> None:
        client, batch = Client(self.service), 0
        while not self.stopped.is_set():
            batch += 1
            keys = [f"{self.name}-{number}-{batch}-{i}" for i in range(self.size)]
            self.keys += keys
            left = self._send(client, keys)
            deadline = time.monotonic() + 60
            while left and self.retries and time.monotonic() < deadline:
                time.sleep(0.1)  # a client's back-off, and no waiting for a condition
                left = self._send(client, left)
            self.missing += left
            if number % 2:
                client.close()
        client.close()

    def _send(self, client: Client, keys: list[str]) -> list[str]:
        """The keys that the answer does not say are done."""
        try:
            status, _, body = client.post([item(key) for key in keys])
        except ConnectionError as error:
            self.saw[str(error)] += 1
            return keys
        self.saw[str(status)] += 1
        results = body.get("results", [])
        if status != 200 or len(results) != len(keys):
            return keys
        for result in results:
            if problem := result.get("error"):
                self.saw[problem["code"]] += 1
        return [key for key, result in zip(keys, results, strict=True) if not done(result)]
