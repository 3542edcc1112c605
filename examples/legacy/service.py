"""The payments service's HTTP. Law: one bad or repeated item fails its whole batch.

``POST /api/payments/batch``, ``GET /api/payments/{key}``, and ``GET /api/calls``, which counts what
was asked of it. The tenant stands in ``X-Tenant-Id``.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from examples.legacy.payments import DuplicateKeyError, InvalidPaymentError, Payment, Payments
from examples.serving import json_answer

MAX_ITEMS = 100


@dataclass(slots=True)
class Calls:
    """What was asked of the service so far."""

    batches: int = 0
    lookups: int = 0


TABLE = web.AppKey("table", Payments)
CALLS = web.AppKey("calls", Calls)


def make_app(table: Payments) -> web.Application:
    """The application; it closes ``table`` when it ends."""
    app = web.Application()
    app[TABLE] = table
    app[CALLS] = Calls()
    app.router.add_post("/api/payments/batch", _book)
    app.router.add_get("/api/payments/{key}", _find)
    app.router.add_get("/api/calls", _calls)
    app.on_cleanup.append(_close)
    return app


async def _book(request: web.Request) -> web.Response:
    request.app[CALLS].batches += 1
    tenant = request.headers.get("X-Tenant-Id", "")
    if not tenant:
        return _error(401, "NO_TENANT", "X-Tenant-Id is missing")
    try:
        body = await request.json()
        items = body["payments"]
    except (ValueError, TypeError, KeyError):
        return _error(400, "BAD_REQUEST", 'expected {"payments": [...]}')
    if not isinstance(items, list):
        return _error(400, "BAD_REQUEST", "payments must be a list")
    if len(items) > MAX_ITEMS:
        return _error(413, "TOO_MANY", f"at most {MAX_ITEMS} payments in a batch")
    try:
        results = request.app[TABLE].book(tenant, [Payment.read(item) for item in items])
    except InvalidPaymentError as error:
        return _error(422, "INVALID_PAYMENT", str(error))
    except DuplicateKeyError:
        return _error(409, "DUPLICATE_KEY", "a payment of this batch was booked before")
    return json_answer({"results": results, "count": len(results)}, 201)


async def _find(request: web.Request) -> web.Response:
    request.app[CALLS].lookups += 1
    found = request.app[TABLE].find(
        request.headers.get("X-Tenant-Id", ""), request.match_info["key"]
    )
    if found is None:
        return _error(404, "NOT_FOUND", "no payment with this key")
    return json_answer({"payment": found})


async def _calls(request: web.Request) -> web.Response:
    calls = request.app[CALLS]
    rows = request.app[TABLE].count()
    return json_answer({"batches": calls.batches, "lookups": calls.lookups, "rows": rows})


async def _close(app: web.Application) -> None:
    app[TABLE].close()


def _error(status: int, code: str, message: str) -> web.Response:
    return json_answer({"error": code, "message": message}, status)
