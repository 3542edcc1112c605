"""What a process of ours holds, and what a record costs in Redis beyond its key and its result."""

from __future__ import annotations

import json
from typing import Any

from bench.load import Cell, Wrk, redis
from bench.servers import Stack, post

RECORDS = 20_000
BATCH = 1000


def measure(stack: Stack, wrk: Wrk, seconds: int) -> dict[str, float]:
    ours = stack.get("ours-fresh")
    found = {"idle": ours.memory(), "record": _record(stack)}
    for mix in ("new", "replayed"):
        wrk.run(Cell("ours-fresh", 1000, mix), seconds)
    found["loaded"] = ours.memory("VmHWM")
    return found


def _record(stack: Stack) -> float:
    """Used memory before and after many records, less their keys and results."""
    redis(stack, "flushall")
    url, results = stack.get("ours-fresh").url, 0
    before = _used(stack)
    for start in range(0, RECORDS, BATCH):
        body = _batch(range(start, start + BATCH))
        status, _ = post(url, body)
        assert status == 200
        results += sum(_plain_results(post(stack.get("direct").url, body)[1]))
    grown = _used(stack) - before
    assert int(redis(stack, "dbsize")) == RECORDS
    key = len(redis(stack, "randomkey").strip())
    return (grown - results) / RECORDS - key


def _batch(numbers: range) -> bytes:
    items = [{"key": f"memory-{n:08d}", "channel": "EMAIL"} for n in numbers]
    return json.dumps({"notifications": items}, separators=(",", ":")).encode()


def _plain_results(answer: bytes) -> list[int]:
    """How long each of the service's own results is, which is what is stored."""
    texts = answer[len(b'{"results":[') : answer.rindex(b"]")].split(b"},{")
    return [len(text) + 2 for text in texts[1:-1]] + [len(text) + 1 for text in texts[:1] * 2]


def _used(stack: Stack) -> int:
    lines = redis(stack, "info", "memory").splitlines()
    return next(int(line.split(":")[1]) for line in lines if line.startswith("used_memory:"))


def ids(stack: Stack) -> dict[str, Any]:
    """A 64-bit id on its way through: what the service said, and what the client gets."""
    redis(stack, "flushall")
    shown = {}
    for name in ("direct", "ours", "lua"):
        _, answer = post(stack.get(name).url, _batch(range(1)))
        start = answer.index(b'"id":') + 5
        shown[name] = answer[start:].split(b",")[0].split(b"}")[0].decode()
    return shown
