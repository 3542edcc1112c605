"""The rules of a run. Law: everything is short, so that much happens in two minutes.

``plain`` has no lookup: what nobody knows stays unknown where the service does not detect
duplicates. ``asked`` has one, and a doubt ends.
"""

from __future__ import annotations

from typing import Final

PLAIN: Final = "plain"
ASKED: Final = "asked"
DEADLINE: Final = 4.0
LEASE: Final = 3.0
SETTLES_WITHIN: Final = 8.0
"""More than a stall, a stop of the service and a slow call together: see director.py."""

_TEXT: Final = """\
version: 1
rules:
  - name: plain
    match: {{method: POST, path: /plain/items}}
    mode: enforce
    scope: ["header:X-Tenant"]
    request: {{items: /items, key: [/key]}}
    upstream:
      detects_duplicates: {detects}
      timeout: 1s
    response:
      results: /results
      duplicate_result: {{adopted: true}}
    retention: {retention}
    lease: 3s
    wait: 500ms
    deadline: 4s
  - name: asked
    match: {{method: POST, path: /asked/items}}
    mode: enforce
    scope: ["header:X-Tenant"]
    request: {{items: /items, key: [/key]}}
    upstream:
      detects_duplicates: {detects}
      timeout: 1s
      {settles_within}
      max_items: 5
      concurrency: 2
      offenders: {{list: /errors, index: /index}}
      lookup:
        method: GET
        path: "/asked/items?key={{key}}"
        found: [{{status: [200], pointer: /item/id, exists: true}}]
        not_found: [{{status: [404], pointer: /error, equals: NOT_FOUND}}]
        result: /item
        compare: {{item: /value, result: /value}}
    response:
      results: /results
      align: key
      key: [/key]
    retention: {retention}
    lease: 3s
    wait: 500ms
    deadline: 4s
"""


def rules_file(*, detects: bool, retention: str = "1h") -> str:
    settles = "" if detects else f"settles_within: {SETTLES_WITHIN:.0f}s"
    return _TEXT.format(detects=str(detects).lower(), retention=retention, settles_within=settles)
