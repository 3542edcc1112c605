"""Every field of the rules file: its kind, its default, what it means.

Law: this table is the only place where a field is named. The loader, the JSON Schema and the
reference in docs/writing-rules.md all come from it.
"""

from __future__ import annotations

from typing import Any, Final

from rules.load_conditions import BODY_CONDITION, CONDITIONS
from rules.load_kinds import Field, Got, Kind, list_of, nullable, section
from rules.load_scalars import (
    BOOLEAN,
    HEADER,
    INNER,
    KEY,
    MEMBER,
    METHOD,
    NAME,
    PATH,
    POINTER,
    POSITIVE_OR_NULL,
    SIZE,
    TEMPLATE,
    choice,
    duration,
    number,
    whole,
)
from rules.load_shapes import LOOKUP, OFFENDERS, SCOPE


def _statuses(*statuses: int | str) -> list[dict[str, Any]]:
    return [{"status": list(statuses)}]


def _detecting(yes: Any, no: Any) -> Any:
    """A default that depends on ``upstream.detects_duplicates``."""
    return lambda detects: yes if detects else no


_MATCH: Final = {
    "method": Field(METHOD, "POST", "The request's method."),
    "path": Field(
        PATH,
        says="The raw path, without a query; `{name}` matches one segment that is not empty.",
    ),
    "where": Field(
        nullable(BODY_CONDITION),
        None,
        "A condition on the body, for endpoints that share a path (JSON-RPC).",
    ),
}

_ROLLOUT: Final = {
    "percent": Field(
        number(0, 100),
        100,
        "The share of scopes that `mode` applies to, by stable hash; raising it keeps those in.",
    ),
    "rest": Field(choice("off", "shadow"), "off", "The mode of the other scopes."),
    "override_header": Field(
        nullable(HEADER),
        None,
        "A header whose value is a mode, which then applies; from trusted peers only.",
    ),
}

_FINGERPRINT: Final = {
    "exclude": Field(
        list_of(INNER, words="list of JSON Pointers"),
        [],
        "Values inside an item that may differ between one attempt and a retry.",
    ),
    "on_mismatch": Field(
        choice("reject", "ignore"),
        "reject",
        "What a known key with other content gets: `PAYLOAD_MISMATCH`, or the stored result.",
    ),
}

_REQUEST: Final = {
    "items": Field(POINTER, says='Where the array of items stands; `""` when it is the body.'),
    "key": Field(
        KEY,
        says="Where inside an item its key stands; several make one compound key. Strings of 255"
        " bytes at most, or 64-bit integers.",
    ),
    "missing_key": Field(
        choice("reject", "forward"),
        "reject",
        "An item without a key fails, or is forwarded and never deduplicated.",
    ),
    "fingerprint": Field(
        section(_FINGERPRINT), {}, "What makes a retry the same content, beside the key."
    ),
    "counts": Field(
        list_of(INNER, words="list of JSON Pointers"),
        [],
        "Fields that hold the number of items, rewritten for smaller batches.",
    ),
    "max_items": Field(whole(1), 1000, "More items: 413."),
    "max_bytes": Field(SIZE, "8MiB", "A larger body, once decompressed: 413."),
    "unreadable": Field(
        choice("pass", "reject"),
        _detecting("pass", "reject"),
        "A body that the rule cannot read passes through, or is refused (400, 415).",
        "`pass`; `reject` without detection",
    ),
}

_ISOLATE: Final = {
    "max_calls": Field(
        whole(0),
        128,
        "Batch calls a request after the first, lookups apart; then `ISOLATION_LIMIT`.",
    ),
    "per_second": Field(
        number(0.01), 100, "Such calls a second of the whole process; a call over it waits."
    ),
}

_REFUSED: Final = (301, 307, 308, 401, 403, 404, 405, 406, 411, 415, 417, 421, 426, 428, 431, 451)

_UPSTREAM: Final = {
    "detects_duplicates": Field(
        BOOLEAN,
        says="Whether the service itself rejects a key that it has seen: atomically, and, unless"
        " there is a lookup, without leaving marks behind when it rejects a batch.",
    ),
    "timeout": Field(duration(), "10s", "For one call, from connecting to the last byte."),
    "max_items": Field(
        POSITIVE_OR_NULL, None, "Larger batches go in chunks of this size. Null: no limit."
    ),
    "concurrency": Field(
        whole(1),
        1,
        "Chunks and single calls under way at once; more than 1 gives up order between them.",
    ),
    "duplicate": Field(
        CONDITIONS,
        _detecting(_statuses(409), []),
        "The batch was rejected because the service had one of its items. This list and the next"
        " four are tried in this order; the first condition that holds decides.",
        "`[{status: [409]}]`; `[]` without detection",
    ),
    "rejected": Field(
        CONDITIONS,
        _detecting(_statuses(400, 413, 422), _statuses(400, 409, 413, 422)),
        "The batch was rejected because of its content, and nothing was done.",
        "`[{status: [400, 413, 422]}]`; also 409 without detection",
    ),
    "unavailable": Field(
        CONDITIONS,
        _detecting(_statuses(429, 503), _statuses(429)),
        "The service did nothing and asks to try again.",
        "`[{status: [429, 503]}]`; only 429 without detection",
    ),
    "refused": Field(
        CONDITIONS,
        _statuses(*_REFUSED),
        "The request as a whole was turned away, nothing was done.",
    ),
    "success": Field(CONDITIONS, _statuses("2xx"), "The batch was accepted."),
    "offenders": Field(
        OFFENDERS, None, "How a rejection names the items at fault. Null: it does not."
    ),
    "isolate": Field(section(_ISOLATE), {}, "Limits on finding the items at fault."),
    "lookup": Field(LOOKUP, None, "How to ask the service whether it has an item. Null: no way."),
    "settles_within": Field(
        nullable(duration()),
        None,
        "The longest that an abandoned call can still take effect; only with a lookup and without"
        " detection. Null: there is no such limit.",
    ),
    "signed_headers": Field(
        list_of(HEADER, words="list of header names"),
        [],
        "A request that has one of these, or Signature, is forwarded whole or not at all.",
    ),
}

_SHOWN: Final = {
    "is_idempotent": Field(
        nullable(MEMBER), "isIdempotent", "Member that says whether the item had been done before."
    ),
    "processed_at": Field(
        nullable(MEMBER), "processedAt", "Member with the time of the item's first completion."
    ),
    "error": Field(nullable(MEMBER), "error", "Member with the error of an item that failed."),
}

_COUNTS: Final = {
    "total": Field(nullable(INNER), None, "Where the answer has the number of items."),
    "succeeded": Field(
        nullable(INNER), None, "Where it has the number that succeeded, replayed ones included."
    ),
    "idempotent": Field(
        nullable(INNER), None, "Where it has the number that had been done before."
    ),
    "failed": Field(nullable(INNER), None, "Where it has the number that failed."),
}

_RESPONSE: Final = {
    "results": Field(
        nullable(POINTER),
        says="Where the list of results stands. Null: the service gives none; each item gets"
        " `accepted_item`, and the list is added at /results.",
    ),
    "align": Field(
        choice("position", "key", "lookup", "single"),
        "position",
        "How results belong to items: in their order; by a key that they echo; by one lookup an"
        " item; or one item is forwarded a call.",
    ),
    "key": Field(
        nullable(KEY),
        None,
        "With `align: key`: where in a result its key stands, in `request.key`'s order.",
    ),
    "failed": Field(
        nullable(BODY_CONDITION),
        None,
        "A condition on one result: it failed. Shown with `UPSTREAM_FAILED`, not stored.",
    ),
    "duplicate": Field(
        nullable(BODY_CONDITION),
        None,
        "A condition on one result: the service had this item already. Adopted as done.",
    ),
    "fields": Field(
        section(_SHOWN),
        {},
        "Names of the members that are added to each result; null leaves one out.",
    ),
    "counts": Field(
        section(_COUNTS), {}, "Numbers of the answer that are counted again; null: none such."
    ),
    "envelope": Field(TEMPLATE, {}, "The body to start from when no upstream call was made."),
    "accepted_item": Field(
        TEMPLATE, {}, "The result of an accepted item where the service gives none."
    ),
    "failed_item": Field(
        TEMPLATE, {}, "The result to start from for an item that failed without one."
    ),
    "duplicate_result": Field(
        TEMPLATE, {}, "The result to start from for a duplicate that cannot be looked up."
    ),
    "wrap": Field(
        nullable(MEMBER),
        None,
        "Where results are no objects: the member that takes the value. Null: values stay bare,"
        " without the added fields, but an item with an error is still an object.",
    ),
    "partial_status": Field(
        choice(200, 207, "upstream"),
        200,
        "The status of a partial success; `upstream`: that of the first failing call.",
    ),
}

_RULE: Final = {
    "name": Field(NAME, says="Names the rule in logs, metrics and the store; unique."),
    "generation": Field(whole(1), 1, "Raise it when stored results must not be used any more."),
    "match": Field(section(_MATCH), {}, "Which requests the rule handles; the first rule wins."),
    "mode": Field(
        choice("off", "shadow", "enforce"),
        "off",
        "`off`: pass through. `shadow`: pass through, record, count what would have been done."
        " `enforce`: deduplicate.",
    ),
    "rollout": Field(section(_ROLLOUT), {}, "To apply `mode` to a share of the scopes."),
    "scope": Field(
        SCOPE,
        says="Whose key it is: `header:NAME`, `query:NAME`, `path:NAME`, `jwt:/POINTER`, or"
        " `{jwt: /POINTER, unverified: true}`; or the word `global`.",
    ),
    "request": Field(section(_REQUEST), {}, "How to read the batch."),
    "upstream": Field(section(_UPSTREAM), {}, "How the service behaves."),
    "response": Field(section(_RESPONSE), {}, "How to read and write the answer."),
    "retention": Field(
        duration(),
        "24h",
        "How long a result is kept, or up to 0.25 s longer; at least twice the lease.",
    ),
    "lease": Field(
        duration(),
        "30s",
        "How long a claim is held; at least `upstream.timeout` and three store timeouts.",
    ),
    "wait": Field(duration(0), "2s", "How long to wait for items that another request holds."),
    "deadline": Field(
        duration(),
        "30s",
        "For the whole request; what is undecided by then answers with an error of its own.",
    ),
    "max_result_bytes": Field(
        SIZE,
        "64KiB",
        "A larger result is stored without its body, and replayed as `duplicate_result` or through"
        " the lookup.",
    ),
    "on_store_failure": Field(
        choice("open", "closed"),
        _detecting("open", "closed"),
        "While the store is away: forward without it, or answer 503.",
        "`open`; `closed` without detection",
    ),
}

RULE: Final[Kind] = section(_RULE)

RULES: Final = Kind(
    "list of rules",
    {"type": "array", "items": RULE.schema},
    lambda at: Got(at.items(), None),  # read one by one, so that each has its own defaults
    RULE.fields,
)

_FILE: Final = {
    "version": Field(choice(1), says="The version of this format."),
    "rules": Field(RULES, says="The rules, in the order in which they are tried."),
}

FILE: Final[Kind] = section(_FILE)
