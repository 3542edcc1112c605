"""The platform's HTTP. Law: a key that was used before fails its whole batch, within a 200.

``POST /api/v1/notifications/batch``, ``GET /api/v1/notifications?key=``, and ``GET /api/v1/calls``,
which counts what was asked of it. The tenant stands in ``X-Tenant-Id``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from examples.notifications.outbox import DuplicateKeyError, Notification, Outbox
from examples.serving import json_answer

MAX_ITEMS = 100
DUPLICATE = 10


@dataclass(slots=True)
class State:
    outbox: Outbox
    batches: int = 0
    lookups: int = 0
    shuffle: random.Random = field(default_factory=lambda: random.Random(1))


STATE = web.AppKey("state", State)


def make_app(outbox: Outbox) -> web.Application:
    """The application; it closes ``outbox`` when it ends."""
    app = web.Application()
    app[STATE] = State(outbox)
    app.router.add_post("/api/v1/notifications/batch", _send)
    app.router.add_get("/api/v1/notifications", _find)
    app.router.add_get("/api/v1/calls", _calls)
    app.on_cleanup.append(_close)
    return app


class BadRequestError(Exception):
    """A request that is turned away before anything is done."""


def read_batch(body: Any) -> list[Notification]:
    """Raises BadRequestError; the message names no item."""
    items = body.get("notifications") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise BadRequestError("notifications must be a list")
    if len(items) > MAX_ITEMS:
        raise BadRequestError(f"at most {MAX_ITEMS} notifications")
    return [_read(item) for item in items]


def _read(item: Any) -> Notification:
    if not isinstance(item, dict):
        raise BadRequestError("a notification is an object")
    receivers, params = item.get("receivers"), item.get("templateParams", {})
    strategy = item.get("strategy", "IMMEDIATE")
    texts = [item.get(name) for name in ("key", "channel", "templateId")]
    if not all(isinstance(text, str) and text for text in texts):
        raise BadRequestError("key, channel and templateId are required")
    if not isinstance(receivers, list) or not receivers:
        raise BadRequestError("receivers is required")
    if not isinstance(params, dict):
        raise BadRequestError("templateParams must be an object")
    if strategy not in {"IMMEDIATE", "SCHEDULED"}:
        raise BadRequestError("strategy is IMMEDIATE or SCHEDULED")
    key, channel, template = (str(text) for text in texts)
    return Notification(key, tuple(str(r) for r in receivers), channel, template, params, strategy)


async def _send(request: web.Request) -> web.Response:
    state = request.app[STATE]
    state.batches += 1
    tenant = request.headers.get("X-Tenant-Id", "")
    if not tenant:
        return json_answer({"errorCode": 3, "errorMessage": "X-Tenant-Id is missing"}, 401)
    try:
        batch = read_batch(await request.json())
    except (ValueError, BadRequestError) as error:
        return json_answer({"errorCode": 1, "errorMessage": str(error)}, 400)
    try:
        results = state.outbox.send(tenant, batch)
    except DuplicateKeyError:
        return json_answer(_answer([_duplicate() for _ in batch]))
    if any(n.strategy == "IMMEDIATE" for n in batch):
        # Each is answered when its sender is done with it, and the senders are not in step.
        state.shuffle.shuffle(results)
    return json_answer(_answer(results))


def _duplicate() -> dict[str, Any]:
    return {
        "notificationId": 0,
        "status": "FAILED",
        "errorCode": DUPLICATE,
        "errorMessage": "duplicate key in batch",
    }


def _answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    succeeded = sum(result["errorCode"] == 0 for result in results)
    return {"results": results, "totalCount": len(results), "successCount": succeeded}


async def _find(request: web.Request) -> web.Response:
    state = request.app[STATE]
    state.lookups += 1
    tenant, key = request.headers.get("X-Tenant-Id", ""), request.query.get("key", "")
    found = state.outbox.find(tenant, key)
    return json_answer({"notification": found or {"notificationId": 0}})


async def _calls(request: web.Request) -> web.Response:
    state = request.app[STATE]
    return json_answer(
        {"batches": state.batches, "lookups": state.lookups, "rows": state.outbox.count()}
    )


async def _close(app: web.Application) -> None:
    app[STATE].outbox.close()
