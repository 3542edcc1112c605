"""The admin listener: health, metrics, rules, records, the console page.

Law: it never makes the data path wait. A store that is down never fails readiness, since a blip of
the store must not take every pod away. The records API is there only where a token is set.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson
from aiohttp import web

from proxy import openapi
from proxy.admin import model
from proxy.admin.records import Desk
from proxy.errors import Problem
from proxy.lifecycle import Lifecycle
from proxy.metrics import Metrics
from proxy.problems import MEDIA_TYPE, TYPE
from proxy.reload import Reloader
from rules.load import parse_duration
from rules.model import Rule

_LOG: Final = logging.getLogger(__name__)
_PAGE: Final = Path(__file__).parents[1] / "static" / "console.html"
_LONGEST_WAIT: Final = 3600.0
MAX_BODY: Final = 4 * 1024 * 1024

TITLES: Final = {
    "bad-request": "The request cannot be read",
    "unauthorized": "A bearer token is needed",
    "not-found": "There is no such route",
    "method-not-allowed": "The route has no such method",
    "too-large": "The request's body is too large",
    "unknown-rule": "No such rule is in force",
    "store-unavailable": "The idempotency store does not answer",
    "internal": "The proxy failed",
}
"""The problem documents of the admin port, by code."""

_HTML_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

_Asked = TypeVar("_Asked", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Admin:
    """What the admin port shows and steers. ``token`` None: there is no records API."""

    lifecycle: Lifecycle
    reloader: Reloader
    metrics: Metrics
    desk: Desk
    store_kind: str
    token: bytes | None = None
    drain_timeout: float = 25.0

    def app(self) -> web.Application:
        """The application; whoever starts the listeners runs it."""
        handlers: dict[str, Handler] = {
            "console": self._console,
            "livez": self._livez,
            "readyz": self._readyz,
            "drain": self._drain,
            "metrics": self._metrics,
            "rules": self._rules,
            "lookup": self._guarded(self._lookup),
            "list": self._guarded(self._list),
            "release": self._guarded(self._release),
            "resolve": self._guarded(self._resolve),
            "openapi": self._openapi,
        }
        app = web.Application(middlewares=[_answer_problems], client_max_size=MAX_BODY)
        for operation in openapi.OPERATIONS:
            app.router.add_route(operation.method, operation.path, handlers.pop(operation.id))
        if handlers:
            raise RuntimeError(f"handlers without a route: {sorted(handlers)}")
        return app

    # ---- for probes and machines --------------------------------------------------------------

    async def _livez(self, _: web.Request) -> web.Response:
        return _json({"live": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        up = self.metrics.store_up
        state = {None: "unknown", True: "up", False: "down"}[up]
        rules = self.reloader.current
        ready = self.lifecycle.serving
        said = {
            "ready": ready,
            "draining": self.lifecycle.draining,
            "inFlight": self.lifecycle.in_flight,
            "rules": {"count": len(rules.rules), "digest": rules.digest},
            "store": {"kind": self.store_kind, "state": state},
        }
        return _json(said, 200 if ready else 503)

    async def _drain(self, request: web.Request) -> web.Response:
        wait, quiet = _seconds(request, "wait"), _seconds(request, "quiet")
        idle = await self.lifecycle.drain(wait, self.drain_timeout + wait, quiet)
        return _json({"draining": self.lifecycle.draining, "idle": idle})

    async def _metrics(self, _: web.Request) -> web.Response:
        content_type, text = self.metrics.exposition()
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _openapi(self, _: web.Request) -> web.Response:
        return _json(openapi.document())

    # ---- for people ---------------------------------------------------------------------------

    async def _console(self, _: web.Request) -> web.Response:
        return web.Response(text=_PAGE.read_text(), content_type="text/html", headers=_HTML_HEADERS)

    async def _rules(self, _: web.Request) -> web.Response:
        last = self.reloader.last
        items = self.metrics.totals("items_total", "outcome")
        batches = self.metrics.totals("batches_total", "result")
        rules = self.reloader.current
        return _json(
            {
                "digest": rules.digest,
                "lastReload": {
                    "result": last.result,
                    "at": last.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "mistakes": last.mistakes,
                },
                "rules": [
                    {
                        **_shown(rule),
                        "items": items.get(rule.name, {}),
                        "batches": batches.get(rule.name, {}),
                    }
                    for rule in rules.rules
                ],
            }
        )

    # ---- records ------------------------------------------------------------------------------

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if self.token is None:
                raise Problem(404, "not-found", "the records API needs ADMIN_TOKEN_FILE")
            given = request.headers.get("Authorization", "")
            scheme, _, token = given.partition(" ")
            right = hmac.compare_digest(
                token.strip().encode("utf-8", "surrogateescape"), self.token
            )
            if scheme.lower() != "bearer" or not right:
                challenge = (("WWW-Authenticate", "Bearer"),)
                raise Problem(401, "unauthorized", "the token is missing or wrong", challenge)
            return await handler(request)

        return guarded

    async def _lookup(self, request: web.Request) -> web.Response:
        return _encoded(await self.desk.lookup(await _asked(request, model.LookupRequest)))

    async def _list(self, request: web.Request) -> web.Response:
        return _encoded(await self.desk.page(await _asked(request, model.ListRequest)))

    async def _release(self, request: web.Request) -> web.Response:
        asked = await _asked(request, model.ReleaseRequest)
        return _changed(await self.desk.release(asked, request.remote or ""))

    async def _resolve(self, request: web.Request) -> web.Response:
        asked = await _asked(request, model.ResolveRequest)
        return _changed(await self.desk.resolve(asked, request.remote or ""))


def _seconds(request: web.Request, name: str) -> float:
    try:
        wait = parse_duration(request.query.get(name, "0s"))
    except ValueError as error:
        raise Problem(400, "bad-request", f"{name}: {error}") from error
    if wait > _LONGEST_WAIT:
        raise Problem(400, "bad-request", f"{name}: an hour at most")
    return wait


def _shown(rule: Rule) -> dict[str, Any]:
    """What the list of rules shows of one; ``source`` is all of it, as loaded."""
    rollout = rule.rollout
    return {
        "name": rule.name,
        "generation": rule.generation,
        "mode": rule.mode,
        "rollout": {"percent": rollout.percent, "rest": rollout.rest},
        "match": {"method": rule.match.method, "path": rule.match.path},
        "scopeValues": len(rule.scope or ()),
        "keyValues": len(rule.request.key),
        "detectsDuplicates": rule.upstream.detects_duplicates,
        "source": dict(rule.source),
    }


async def _asked(request: web.Request, kind: type[_Asked]) -> _Asked:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-request", str(error)) from error


def _json(value: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, content_type="application/json")


def _encoded(value: msgspec.Struct, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")


def _changed(changes: model.Changes) -> web.Response:
    return _encoded(changes, 200 if all(one.changed for one in changes.results) else 409)


@web.middleware
async def _answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(request)
    except Problem as problem:
        answer = _problem(problem)
    except web.HTTPNotFound:
        answer = _problem(Problem(404, "not-found", "see /openapi.json"))
    except web.HTTPMethodNotAllowed as error:
        allowed = (("Allow", ", ".join(sorted(error.allowed_methods))),)
        answer = _problem(Problem(405, "method-not-allowed", "see /openapi.json", allowed))
    except web.HTTPRequestEntityTooLarge:
        answer = _problem(Problem(413, "too-large", f"{MAX_BODY} bytes at most"))
    except Exception:  # noqa: BLE001 -- the last fence: a bug is a 500 and a line in the log
        _LOG.exception("admin request failed", extra={"path": request.path})
        answer = _problem(Problem(500, "internal", "see the log"))
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    return answer


def _problem(problem: Problem) -> web.Response:
    document = {
        "type": TYPE + problem.code,
        "title": TITLES[problem.code],
        "status": problem.status,
        "detail": problem.detail,
    }
    return web.Response(
        body=orjson.dumps(document),
        status=problem.status,
        headers={"Content-Type": MEDIA_TYPE, **dict(problem.headers)},
    )
