"""The admin port's routes as one table, and its OpenAPI document made from it.

Law: a route that is not in ``OPERATIONS`` is not served, and one that is has a handler; the
document's schemas are made from the values that the records API really reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from proxy import __version__
from proxy.admin import model

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. ``asked`` and ``answered`` are what its bodies are made of; ``statuses`` are
    the problem documents that it answers beside 200."""

    method: str
    path: str
    id: str
    summary: str
    media: str = _JSON
    asked: type[msgspec.Struct] | None = None
    answered: type[msgspec.Struct] | None = None
    statuses: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    """Statuses beside 200 that carry the same body."""
    query: tuple[tuple[str, str], ...] = ()

    @property
    def needs_token(self) -> bool:
        return self.asked is not None


_RECORDS: Final = (400, 401, 404, 413, 503)

OPERATIONS: Final = (
    Operation("GET", "/", "console", "The console page", media="text/html"),
    Operation("GET", "/livez", "livez", "The process answers"),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        "Rules are loaded, the listener is up and the process is not draining; "
        "the store's state is shown and never fails it",
        also=(503,),
    ),
    Operation(
        "GET",
        "/drain",
        "drain",
        "Stop being ready; answers when idle or when the wait is over. A drain that no SIGTERM "
        "follows within DRAIN_TIMEOUT is undone",
        statuses=(400,),
        query=(
            ("wait", "how long to wait at most, for example 15s"),
            ("quiet", "idle is nothing under way and nothing new for so long; 0s if left out"),
        ),
    ),
    Operation(
        "GET", "/metrics", "metrics", "Prometheus text format", media="text/plain; version=0.0.4"
    ),
    Operation("GET", "/v1/rules", "rules", "The rules in force, their modes and live counters"),
    Operation(
        "POST",
        "/v1/records:lookup",
        "lookup",
        "What the store holds for these keys",
        asked=model.LookupRequest,
        answered=model.Records,
        statuses=_RECORDS,
    ),
    Operation(
        "POST",
        "/v1/records:list",
        "list",
        "Walk through the store's records, the doubtful ones where nothing else is said",
        asked=model.ListRequest,
        answered=model.Records,
        statuses=_RECORDS,
    ),
    Operation(
        "POST",
        "/v1/records:release",
        "release",
        "Forget records, so that their items can be done again",
        asked=model.ReleaseRequest,
        answered=model.Changes,
        statuses=_RECORDS,
        also=(409,),
    ),
    Operation(
        "POST",
        "/v1/records:resolve",
        "resolve",
        "Write down what became of doubtful items",
        asked=model.ResolveRequest,
        answered=model.Changes,
        statuses=_RECORDS,
        also=(409,),
    ),
    Operation("GET", "/openapi.json", "openapi", "This document"),
)

_SAID: Final = {
    200: "Done",
    400: "The request cannot be read",
    401: "The bearer token is missing or wrong",
    404: "No ADMIN_TOKEN_FILE is set, or no such rule is in force",
    409: "Some were not changed; each says why",
    413: "The request's body is too large",
    503: "Not ready, or the store does not answer",
}


def _ref(of: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{of.__name__}"}


def _described(operation: Operation) -> dict[str, Any]:
    answered: dict[str, Any] = {"type": "object"} if operation.media == _JSON else {}
    if operation.answered is not None:
        answered = _ref(operation.answered)
    body = {"content": {operation.media: {"schema": answered} if answered else {}}}
    responses = {
        str(status): {"description": _SAID[status], **body} for status in (200, *operation.also)
    }
    problem = {"content": {_PROBLEM: {"schema": _ref(model.ProblemDocument)}}}
    for status in operation.statuses:
        responses[str(status)] = {"description": _SAID[status], **problem}
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    }
    if operation.asked is not None:
        content = {_JSON: {"schema": _ref(operation.asked)}}
        described["requestBody"] = {"required": True, "content": content}
        described["security"] = [{"bearer": []}]
    if operation.query:
        described["parameters"] = [
            {"name": name, "in": "query", "description": said, "schema": {"type": "string"}}
            for name, said in operation.query
        ]
    return described


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    structs = [of for o in OPERATIONS for of in (o.asked, o.answered) if of is not None]
    _, schemas = msgspec.json.schema_components(
        [*dict.fromkeys(structs), model.ProblemDocument],
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Admin port of the idempotency proxy",
            "version": __version__,
            "description": "Health, metrics, rules and records.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
