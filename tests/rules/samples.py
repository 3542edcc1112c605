"""Rules files for tests: one that is as short as can be, and one that says everything."""

from __future__ import annotations

import copy
import json
from typing import Any

from rules.load import RulesError, parse_rules
from rules.match import RuleSet
from rules.mistakes import Mistake

FILE = "rules.yaml"

SHORT = """\
version: 1
rules:
  - name: orders
    match: {path: /v1/orders}
    scope: ["header:Authorization"]
    request: {items: /orders, key: [/id]}
    upstream: {detects_duplicates: true}
    response: {results: /results}
"""

LONG = """\
version: 1
rules:
  - name: orders
    generation: 3
    match:
      method: PUT
      path: /t/{tenant}/orders
      where: {pointer: /method, in: [create, 7, null]}
    mode: off
    rollout: {percent: 12.5, rest: shadow, override_header: X-Mode}
    scope:
      ["header:X-Tenant", "query:t", "path:tenant", "jwt:/sub", {jwt: /act/sub, unverified: true}]
    request:
      items: /data/orders
      key: [/tenant, /id]
      missing_key: forward
      fingerprint: {exclude: [/sentAt], on_mismatch: ignore}
      counts: [/data/count]
      max_items: 20
      max_bytes: 1kB
      unreadable: reject
    upstream:
      detects_duplicates: false
      timeout: 250ms
      max_items: 10
      concurrency: 4
      duplicate:
        - {status: [409, "5xx"], pointer: /code, equals: 10}
        - any: {list: /errors, pointer: /code, matches: "^DUP"}
      rejected: [{not: {status: ["2xx"]}, pointer: /error, exists: true}]
      unavailable: []
      refused: [{status: [401]}]
      success: [{status: [200]}]
      offenders: {list: /errors, where: {pointer: /code, equals: DUP}, key: [/t, /id]}
      isolate: {max_calls: 7, per_second: 0.5}
      lookup:
        method: GET
        path: "/t/{key}/orders?id={key[1]}"
        found: [{status: [200]}]
        not_found: [{status: [404]}]
        result: /order
        when: all
        compare: {item: /amount, result: /amount}
      settles_within: 1m
      signed_headers: [X-Signature]
    response:
      results: /data/results
      align: key
      key: [/t, /id]
      failed: {pointer: /status, in: [FAILED]}
      duplicate: {pointer: /status, equals: DUPLICATE}
      fields: {is_idempotent: replayed, processed_at: null, error: problem}
      counts: {total: /data/total, failed: /data/failed}
      envelope: {data: {v: 1.5}}
      accepted_item: {a: 1}
      failed_item: {b: [true, null]}
      duplicate_result: {c: {d: x}}
      wrap: value
      partial_status: upstream
    retention: 7d
    lease: 90
    wait: 0s
    deadline: 1.5m
    max_result_bytes: 2MiB
    on_store_failure: closed
"""


def rules_of(text: str) -> RuleSet:
    return parse_rules([(FILE, text)])


def mistakes_of(text: str) -> list[Mistake]:
    """What is wrong with the text; empty where nothing is."""
    try:
        parse_rules([(FILE, text)])
    except RulesError as error:
        return list(error.mistakes)
    return []


def with_changes(changes: dict[str, Any], base: dict[str, Any] | None = None) -> str:
    """The short file with fields set by dotted name, as JSON, which is YAML too. A value of
    ``...`` takes the field out."""
    rule: dict[str, Any] = copy.deepcopy(base or SHORT_RULE)
    for name, value in changes.items():
        *outer, last = name.split(".")
        spot = rule
        for part in outer:
            spot = spot.setdefault(part, {})
        if value is ...:
            del spot[last]
        else:
            spot[last] = value
    return json.dumps({"version": 1, "rules": [rule]})


SHORT_RULE: dict[str, Any] = {
    "name": "orders",
    "match": {"path": "/v1/orders"},
    "scope": ["header:Authorization"],
    "request": {"items": "/orders", "key": ["/id"]},
    "upstream": {"detects_duplicates": True},
    "response": {"results": "/results"},
}
