"""An admin port over the embedded store, with a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from proxy.admin.app import Admin
from proxy.admin.records import Desk
from proxy.core.keys import KeyMaker
from proxy.core.record import Commit, MarkDoubt, Settlement
from proxy.lifecycle import Lifecycle
from proxy.logs import Telling
from proxy.preparing import terms_of
from proxy.reload import Reloader
from proxy.store.memory import MemoryStore
from rules.model import Key

TOKEN = b"open sesame"
BEARER = {"Authorization": "Bearer open sesame"}
START = 1_790_000_000_000  # 2026-09-21T14:13:20Z

RULES = """\
version: 1
rules:
  - name: orders
    mode: enforce
    match: {path: /api/orders/batch}
    scope: ["header:X-Tenant-Id"]
    request: {items: /items, key: [/id]}
    upstream: {detects_duplicates: true}
    response: {results: /results}
  - name: transfers
    generation: 3
    mode: shadow
    rollout: {percent: 50, rest: "off"}
    match: {path: /api/transfers}
    scope: global
    request: {items: "", key: [/from, /seq]}
    upstream: {detects_duplicates: false}
    response: {results: ""}
"""


class Office:
    """Everything that the admin port stands on; ``now`` in milliseconds."""

    def __init__(self, folder: Path, token: bytes | None = TOKEN) -> None:
        self.now = START
        self.metrics = Telling()
        self.file = folder / "rules.yaml"
        self.file.write_text(RULES)
        self.reloader = Reloader(
            str(self.file),
            on_change=lambda rules: self.metrics.rules_loaded(r.name for r in rules.rules),
            on_result=self.metrics.rules_reload,
            interval=0.01,
        )
        self.reloader.load()
        self.store = MemoryStore(now_ms=lambda: self.now)
        self.keys = KeyMaker("idem")
        self.lifecycle = Lifecycle()
        self.lifecycle.ready = True
        self.desk = Desk(
            self.store, self.keys, lambda: self.reloader.current, now_ms=lambda: self.now
        )
        self.admin = Admin(
            lifecycle=self.lifecycle,
            reloader=self.reloader,
            metrics=self.metrics,
            desk=self.desk,
            store_kind="memory",
            token=token,
            drain_timeout=0.05,
        )

    def store_key(self, rule: str, scope: tuple[str, ...], key: Key) -> bytes:
        named = self.reloader.current.named(rule)
        assert named is not None
        return self.keys.store_key(rule, named.generation, scope, key)

    async def claim(self, rule: str, scope: tuple[str, ...], *keys: Key) -> bytes:
        """Claim them as a request would; the token."""
        named = self.reloader.current.named(rule)
        assert named is not None
        token = b"request-one."
        store_keys = [self.store_key(rule, scope, key) for key in keys]
        await self.store.claim(store_keys, [b"f" * 16] * len(keys), token, terms_of(named))
        return token

    async def settle(
        self, rule: str, scope: tuple[str, ...], token: bytes, steps: dict[Key, Settlement]
    ) -> None:
        named = self.reloader.current.named(rule)
        assert named is not None
        store_keys = [self.store_key(rule, scope, key) for key in steps]
        await self.store.settle(store_keys, list(steps.values()), token, terms_of(named))

    async def furnish(self) -> None:
        """Tenant a of orders: ``held`` is claimed, ``doubt`` doubtful, ``done`` done."""
        token = await self.claim("orders", ("a",), ("held",), ("doubt",), ("done",))
        done = Commit(b"f" * 16, START, b'{"id":9007199254740993,  "n":1.0}')
        steps: dict[Key, Settlement] = {("doubt",): MarkDoubt(b"f" * 16), ("done",): done}
        await self.settle("orders", ("a",), token, steps)


async def until(condition: Callable[[], bool]) -> None:
    """Wait, bounded, until ``condition`` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- what is waited for knows no event of ours
            await asyncio.sleep(0.005)
