"""One driver over an embedded store and a small legacy service: what most flow tests stand on."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from typing import Any

import orjson
from ruamel.yaml import YAML

from proxy.core.keys import KeyMaker
from proxy.core.upstream import Headers, Upstream
from proxy.exchange import Answer, Exchange
from proxy.flow import Flow
from proxy.observe import BatchReport, Observer
from proxy.store.base import Store
from proxy.store.memory import MemoryStore
from rules.load import parse_rules
from rules.model import Batch, Rule
from rules.request import read_batch
from tests.fakes.prompt import Prompt, PromptUpstream
from tests.fakes.service import Service

LOOKUP = {
    "method": "GET",
    "path": "/items?key={key}",
    "result": "/item",
}
BATCH_LOOKUP = {
    "method": "POST",
    "path": "/items/find",
    "keys": "/keys",
    "results": "/found",
    "key": ["/key"],
}


def make_rule(**changes: Any) -> Rule:
    """The rule of ``Service``. ``upstream__timeout="5s"`` sets ``upstream.timeout``."""
    text: dict[str, Any] = {
        "name": "items",
        "match": {"path": "/items/batch"},
        "mode": "enforce",
        "scope": "global",
        "request": {"items": "/items", "key": ["/key"]},
        "upstream": {"detects_duplicates": True},
        "response": {"results": "/results"},
    }
    for name, value in changes.items():
        *folders, leaf = name.split("__")
        place = text
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    yaml = YAML(typ="safe", pure=True)
    out = StringIO()
    yaml.dump({"version": 1, "rules": [text]}, out)
    return parse_rules([("rules.yaml", out.getvalue())]).rules[0]


def items(*keys: Any, **values: Any) -> list[dict[str, Any]]:
    """Items with these keys; ``values`` maps a key to its value."""
    return [{"key": k, "value": values.get(str(k), "v")} for k in keys]


class Recorder(Observer):
    """Keeps what the driver tells."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []
        self.counts: Counter[tuple[Any, ...]] = Counter()
        self.doubts: list[tuple[str, int]] = []
        self.backlog_sizes: list[int] = [0]
        self.flying = 0

    def batch(self, report: BatchReport) -> None:
        self.reports.append(report)

    def upstream_call(self, rule: str, purpose: str, delivery: str, seconds: float) -> None:
        self.counts["call", str(purpose), str(delivery)] += 1

    def upstream_duplicate(self, rule: str, result: str) -> None:
        self.counts["duplicate", result] += 1

    def wait(self, rule: str, result: str) -> None:
        self.counts["wait", result] += 1

    def doubt(self, rule: str, digest: str, request_id: str, index: int) -> None:
        self.doubts.append((digest, index))

    def backlog(self, size: int) -> None:
        self.backlog_sizes.append(size)

    def in_flight(self, change: int) -> None:
        self.flying += change

    def shadow(self, rule: str, would: str, items: int = 1) -> None:
        self.counts["shadow", str(would)] += items

    def commit_conflict(self, rule: str) -> None:
        self.counts["conflict",] += 1


class Rig:
    """``send`` a list of items, look at the answer and at what the service did. ``is_prompt``: the
    store and the service can be asked without a task."""

    is_prompt = False

    def __init__(
        self,
        rule: Rule | None = None,
        *,
        service: Service | None = None,
        upstream: Upstream | None = None,
        store: Store | None = None,
        seen: Recorder | None = None,
        now_ms: int = 1_700_000_000_000,
        first_token: int = 1,
    ) -> None:
        self.rule = rule or make_rule()
        self.service = service or Service()
        self.store = MemoryStore() if store is None else store
        self.seen = seen or Recorder()
        self.now = now_ms
        self.keys = KeyMaker("idem", None)
        tokens = itertools.count(first_token)
        self.flow = Flow(
            Prompt(self.store) if self.is_prompt else self.store,
            PromptUpstream(upstream or self.service)
            if self.is_prompt
            else upstream or self.service,
            self.keys,
            self.seen,
            now_ms=lambda: self.now,
            clock=lambda: asyncio.get_running_loop().time(),
            new_token=lambda: next(tokens).to_bytes(12, "big"),
        )
        self.sent = 0

    def exchange(
        self,
        batch: Sequence[Any] | bytes,
        *,
        scope: tuple[str, ...] = (),
        headers: Headers = (),
        rule: Rule | None = None,
        may_split: bool = True,
    ) -> Exchange:
        body = batch if isinstance(batch, bytes) else orjson.dumps({"items": batch})
        read = read_batch(rule or self.rule, body)
        assert isinstance(read, Batch), read
        self.sent += 1
        return Exchange(
            rule=rule or self.rule,
            batch=read,
            method="POST",
            target="/items/batch",
            headers=headers,
            scope=scope,
            request_id=f"r{self.sent}",
            may_split=may_split,
        )

    async def send(self, batch: Sequence[Any] | bytes, **more: Any) -> Sent:
        return Sent(await self.flow.handle(self.exchange(batch, **more)))


class Sent:
    """An answer, read."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status = answer.status
        self.headers = dict(answer.headers)

    @property
    def body(self) -> Any:
        return orjson.loads(self.answer.body)

    @property
    def results(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.body["results"]
        return rows

    @property
    def codes(self) -> list[str | None]:
        """One error code, or None, an item."""
        return [r["error"]["code"] if "error" in r else None for r in self.results]

    @property
    def replays(self) -> list[bool]:
        return [r["isIdempotent"] for r in self.results]
