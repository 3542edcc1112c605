"""Every way to get a field wrong, each beside its nearest right neighbour.

One table drives the loader and the JSON Schema: ``loader_only`` marks what no JSON Schema can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Changes = dict[str, Any]


@dataclass(frozen=True)
class Case:
    good: Changes
    bad: Changes
    field: str
    words: str
    loader_only: bool = False

    def __str__(self) -> str:
        return f"{self.field} {self.bad}"


def one(field: str, good: Any, bad: Any, words: str, at: str = "", only: bool = False) -> Case:
    return Case({field: good}, {field: bad}, at or field, words, only)


SCALARS: Final = [
    one("name", "a-1", "a_1", "expected a name"),
    one("name", "0", "-a", "expected a name"),
    one("name", "a" * 63, "a" * 64, "expected a name"),
    one("name", "7", 7, "expected a name"),
    one("generation", 1, 0, "must be at least 1, got 0"),
    one("generation", 2.0, 2.5, "expected a whole number, got 2.5"),
    one("generation", 9, True, "expected a whole number, got true"),
    one("mode", "shadow", "on", "expected one of off, shadow, enforce; got 'on'"),
    one("mode", "off", False, "expected one of off, shadow, enforce; got false"),
    one("rollout.percent", 0.01, -1, "must be from 0 to 100, got -1"),
    one("rollout.percent", 100, 100.5, "must be from 0 to 100, got 100.5"),
    one("rollout.percent", 5, "5%", "expected a number, got '5%'"),
    one("rollout.rest", "shadow", "enforce", "expected one of off, shadow; got 'enforce'"),
    one("rollout.override_header", "X-Mode", "X Mode", "expected a header name"),
    one("rollout.override_header", None, "", "expected a header name"),
    one("retention", "7d", "7w", "expected a duration such as 10s"),
    one("retention", "1.5h", "-1h", "expected a duration"),
    one("retention", 86400, "86400", "expected a duration"),
    one("retention", "3650d", "3651d", "must be from 1ms to 3650d", only=True),
    one("retention", 60, 10**12, "must be from 1ms to 3650d"),
    one("lease", "11s", "0s", "must be from 1ms to 3650d"),
    one("lease", 0.5, 0, "must be from 1ms to 3650d"),
    one("lease", "1m", None, "expected a duration such as 10s, got nothing"),
    one("lease", 12, True, "expected a duration such as 10s, got true"),
    one("wait", "0s", -1, "must be from 0s to 3650d"),
    one("max_result_bytes", "64KiB", "64K", "expected a size such as 64KiB"),
    one("max_result_bytes", 1, 0, "must be from 1B to 1GiB"),
    one("max_result_bytes", "1 B", "0B", "must be from 1B to 1GiB"),
    one("max_result_bytes", "1GiB", "2GiB", "must be from 1B to 1GiB", only=True),
    one("max_result_bytes", 1024, 10.5, "expected a size such as 64KiB, got 10.5"),
    one("on_store_failure", "closed", "close", "expected one of open, closed"),
    one("request.missing_key", "forward", "ignore", "expected one of reject, forward"),
    one("request.unreadable", "reject", "refuse", "expected one of pass, reject"),
    one("request.max_items", 1, 0, "must be at least 1"),
    one("request.max_items", 5, None, "expected a whole number, got nothing"),
    one("upstream.max_items", None, 0, "must be at least 1"),
    one("upstream.detects_duplicates", True, "yes", "expected true or false, got 'yes'"),
    one("upstream.isolate.max_calls", 0, -1, "must be at least 0"),
    one("upstream.isolate.per_second", 0.5, 0, "must be at least 0.01"),
    one(
        "upstream.signed_headers", ["Digest"], ["a b"], "header name", "upstream.signed_headers[0]"
    ),
    one("upstream.signed_headers", ["A", "B"], ["A", "a"], "given twice: 'a'", only=True),
    one("response.partial_status", 207, 206, "expected one of 200, 207, upstream; got 206"),
    one("response.partial_status", "upstream", "207", "expected one of"),
    one("response.align", "single", "none", "expected one of position, key, lookup, single"),
    one("response.wrap", "value", "", "expected a member name"),
    one("response.fields.error", None, 1, "expected a member name"),
]

PATHS: Final = [
    one("match.path", "/", "", "expected a path"),
    one("match.path", "/a//b/", "a/b", "expected a path"),
    one("match.path", "/a", "/a?b=1", "expected a path"),
    one("match.path", "/a%20b", "/a b", "expected a path"),
    one("match.path", "/v1/{id}/x", "/v1/a{id}/x", "expected a path"),
    one("match.path", "/{a}/{b}", "/{a}/{a}", "two parameters of the same name", only=True),
    one("match.path", "/{id}", "/{}", "expected a path"),
    one("match.method", "PUT", "put", "expected a method"),
    one("request.items", "", "orders", "starts with"),
    one("request.items", "/a~1b~0", "/a~2", "is written"),
    one("request.items", "/1", 1, "expected a JSON Pointer such as /items, got 1"),
    one("request.key", [""], [], "expected at least 1"),
    one("request.key", ["/a", "/b"], ["/a", "/a"], "given twice: '/a'"),
    one("request.key", ["/a"], "/a", "expected a list, got '/a'"),
    one(
        "request.fingerprint.exclude",
        ["/at"],
        [""],
        "whole document",
        "request.fingerprint.exclude[0]",
    ),
    one("request.fingerprint.on_mismatch", "ignore", "pass", "expected one of reject, ignore"),
    one("request.counts", ["/n"], ["/orders/n"], "overlaps the list at '/orders'", only=True),
    one("request.counts", ["/orders2"], ["/orders"], "overlaps the list", only=True),
    one("request.counts", ["/a/n"], [""], "whole document", "request.counts[0]"),
    one("response.results", None, "results", "starts with"),
    one(
        "response.counts",
        {"total": "/n"},
        {"totals": "/n"},
        "did you mean 'total'?",
        "response.counts.totals",
    ),
    one(
        "response.counts",
        {"total": "/n", "failed": "/f"},
        {"total": "/n", "failed": "/n"},
        "same place",
        only=True,
    ),
    one(
        "response.counts", {"total": "/n"}, {"total": "/results/n"}, "overlaps the list", only=True
    ),
    one("response.fields", {"error": "e"}, {"error": "isIdempotent"}, "same name", only=True),
    one("response.envelope", {"a": [1.5, None]}, [], "expected a mapping, got a list"),
    one(
        "response.accepted_item",
        {"n": 2**64 - 1},
        {"n": 2**64},
        "cannot be written as JSON",
        only=True,
    ),
    one("response.failed_item", {}, None, "expected a mapping, got nothing"),
    one("response.duplicate_result", {"a": 1}, "a", "expected a mapping, got 'a'"),
]

SCOPES: Final = [
    one("scope", "global", "globe", "or the word global"),
    one("scope", ["query:t"], [], "an empty scope"),
    one("scope", ["header:X-A"], "header:X-A", "expected a list"),
    one("scope", ["header:X-A"], ["X-A"], "expected header:NAME", "scope[0]"),
    one("scope", ["header:X-A"], ["header:X A"], "expected header:NAME", "scope[0]"),
    one("scope", ["header:X-A"], ["cookie:a"], "expected header:NAME", "scope[0]"),
    one("scope", ["jwt:/sub"], ["jwt:sub"], "expected header:NAME", "scope[0]"),
    one("scope", ["jwt:/sub"], [7], "expected header:NAME", "scope[0]"),
    one("scope", ["query:a", "query:b"], ["query:a", "query:a"], "given twice: 'query:a'"),
    one(
        "scope",
        [{"jwt": "/sub", "unverified": True}],
        [{"jwt": "/sub"}],
        "is required",
        "scope[0].unverified",
    ),
    one(
        "scope",
        [{"jwt": "/sub", "unverified": False}],
        [{"jwt": "", "unverified": True}],
        "whole document",
        "scope[0].jwt",
    ),
    one(
        "scope",
        ["jwt:/a"],
        [{"jwt": "/a", "unverified": True, "b": 1}],
        "unknown field",
        "scope[0].b",
    ),
    Case(
        {"scope": ["path:t"], "match.path": "/{t}"},
        {"scope": ["path:t"]},
        "scope",
        "path:t needs {t} in match.path",
        True,
    ),
]

CASES: Final = [*SCALARS, *PATHS, *SCOPES]
