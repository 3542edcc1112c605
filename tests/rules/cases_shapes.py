"""The same for fields of more than one form, and for what fields must be to one another."""

from __future__ import annotations

from typing import Final

from tests.rules.cases import Case, one

LOOKUP: Final = {"path": "/q?k={key}"}
BATCH: Final = {"path": "/q", "keys": "/keys", "results": "/items", "key": ["/id"]}
LIST: Final = "upstream.success"
OFF: Final = "upstream.offenders"
JUDGED: Final = {"pointer": "/a", "equals": 1}

CONDITIONS: Final = [
    one(
        LIST,
        [{"status": [200, "3xx"]}],
        [{"status": []}],
        "at least 1",
        "upstream.success[0].status",
    ),
    one(
        LIST,
        [{"status": [599]}],
        [{"status": [600]}],
        "from 100 to 599",
        "upstream.success[0].status[0]",
    ),
    one(
        LIST,
        [{"status": ["5xx"]}],
        [{"status": ["500"]}],
        "a class such as 5xx",
        "upstream.success[0].status[0]",
    ),
    one(
        LIST,
        [{"status": [200]}],
        [{"status": 200}],
        "expected a list, got 200",
        "upstream.success[0].status",
    ),
    one(LIST, [JUDGED], [{}], "an empty condition", "upstream.success[0]"),
    one(LIST, [JUDGED], JUDGED, "expected a list, got a mapping"),
    one(LIST, [], None, "expected a list, got nothing"),
    one(
        LIST,
        [{"pointer": "/a", "in": [1, True]}],
        [{"pointer": "/a", "in": []}],
        "at least 1 value",
        "upstream.success[0].in",
    ),
    one(
        LIST,
        [{"pointer": "/a", "equals": None}],
        [{"pointer": "/a"}],
        "exactly one of equals",
        "upstream.success[0]",
    ),
    one(
        LIST,
        [{"pointer": "/a", "exists": False}],
        [{"pointer": "/a", "exists": True, "equals": 1}],
        "exactly one of equals",
        "upstream.success[0]",
    ),
    one(LIST, [JUDGED], [{"equals": 1}], "equals needs a pointer beside it", "upstream.success[0]"),
    one(
        LIST,
        [{"pointer": "/a", "exists": True}],
        [{"pointer": "/a", "exists": "yes"}],
        "expected true or false",
        "upstream.success[0].exists",
    ),
    one(
        LIST,
        [{"pointer": "/a", "matches": "a+"}],
        [{"pointer": "/a", "matches": "a("}],
        "not a regular expression",
        "upstream.success[0].matches",
        True,
    ),
    one(
        LIST,
        [{"pointer": "/a", "matches": "1"}],
        [{"pointer": "/a", "matches": 1}],
        "in quotes",
        "upstream.success[0].matches",
    ),
    one(
        LIST,
        [{"not": {"status": [500]}}],
        [{"not": [{"status": [500]}]}],
        "expected a mapping, got a list",
        "upstream.success[0].not",
    ),
    one(LIST, [{"not": JUDGED}], [{"not": {}}], "an empty condition", "upstream.success[0].not"),
    one(
        LIST,
        [{"any": {"list": "/e", **JUDGED}}],
        [{"any": JUDGED}],
        "is required",
        "upstream.success[0].any.list",
    ),
    one(
        LIST,
        [{"any": {"list": "", **JUDGED}}],
        [{"any": {"list": "/e"}}],
        "an empty condition",
        "upstream.success[0].any",
    ),
    one(
        LIST,
        [{"any": {"list": "/e", "not": JUDGED}}],
        [{"any": {"list": "/e", "status": [200]}}],
        "there is none to judge here",
        "upstream.success[0].any",
    ),
    one(
        LIST,
        [JUDGED],
        [{"pointer": "/a", "equal": 1}],
        "did you mean 'equals'?",
        "upstream.success[0].equal",
    ),
    one("match.where", JUDGED, {"status": [200]}, "there is none to judge here"),
    one(
        "match.where",
        {"not": JUDGED},
        {"not": {"status": [200]}},
        "there is none to judge",
        "match.where.not",
    ),
    one("response.failed", JUDGED, {"status": [200]}, "there is none to judge here"),
    one("response.duplicate", None, [JUDGED], "expected a mapping, got a list"),
]

OFFENDERS: Final = [
    one(OFF, {"list": "", "index": "/i"}, {"list": ""}, "exactly one of index, key"),
    one(
        OFF,
        {"list": "/e", "key": ["/k"]},
        {"list": "/e", "key": ["/k"], "index": "/i"},
        "exactly one of",
    ),
    one(
        OFF,
        {"list": "/e", "index": "/i"},
        {"index": "/i"},
        "is required",
        "upstream.offenders.list",
    ),
    one(
        OFF,
        {"list": "/e", "position": True},
        {"list": "/e", "position": False},
        "expected true",
        "upstream.offenders.position",
    ),
    one(
        OFF,
        {"list": "/e", "where": JUDGED, "index": "/i"},
        {"list": "/e", "where": {"status": [1]}, "index": "/i"},
        "none to judge",
        "upstream.offenders.where",
    ),
    one(
        OFF,
        {"pointer": "", "pattern": "(?P<key>a)"},
        {"pointer": "", "pattern": "(a)"},
        "has no group",
        "upstream.offenders.pattern",
    ),
    one(
        OFF,
        {"pointer": "/m", "pattern": "(?P<key>a)"},
        {"pointer": "/m", "pattern": "(?P<key>a"},
        "not a regular expression",
        "upstream.offenders.pattern",
        True,
    ),
    one(
        OFF,
        {"pointer": "/m", "pattern": "(?P<key>a)"},
        {"pointer": "/m"},
        "is required",
        "upstream.offenders.pattern",
    ),
    one(
        OFF,
        {"pointer": "/m", "pattern": "(?P<key>a)"},
        {"pointer": "/m", "pattern": "(?P<key>a)", "list": "/e"},
        "list does not go with",
    ),
    one(
        OFF,
        {"list": "/e", "key": ["/a"]},
        {"list": "/e", "key": ["/a", "/b"]},
        "as many pointers as request.key, 1",
        only=True,
    ),
]

LOOKUPS: Final = [
    one("upstream.lookup", LOOKUP, {"path": "/q"}, "has no {key}", only=True),
    one(
        "upstream.lookup",
        {"path": "/q/{key[0]}"},
        {"path": "/q/{key[1]}"},
        "request.key has 1",
        only=True,
    ),
    one("upstream.lookup", LOOKUP, {"path": "q/{key}"}, "expected a path", "upstream.lookup.path"),
    one("upstream.lookup", LOOKUP, {"path": "/q/{id}"}, "expected a path", "upstream.lookup.path"),
    one("upstream.lookup", LOOKUP, {"method": "GET"}, "is required", "upstream.lookup.path"),
    one(
        "upstream.lookup",
        {**LOOKUP, "method": "POST"},
        {**LOOKUP, "method": "get"},
        "expected a method",
        "upstream.lookup.method",
    ),
    one(
        "upstream.lookup",
        {**LOOKUP, "when": "all"},
        {**LOOKUP, "when": "always"},
        "suspect, all",
        "upstream.lookup.when",
    ),
    one(
        "upstream.lookup",
        {**LOOKUP, "not_found": None},
        {**LOOKUP, "not_found": JUDGED},
        "expected a list",
        "upstream.lookup.not_found",
    ),
    one(
        "upstream.lookup",
        {**LOOKUP, "compare": {"item": "/a", "result": ""}},
        {**LOOKUP, "compare": {"item": "/a"}},
        "is required",
        "upstream.lookup.compare.result",
    ),
    one("upstream.lookup", BATCH, {**BATCH, "path": "/q/{key}"}, "not in the path", only=True),
    one(
        "upstream.lookup",
        {**BATCH, "when": "all"},
        {**BATCH, "result": "r"},
        "starts with",
        "upstream.lookup.result",
    ),
    one(
        "upstream.lookup",
        {**BATCH, "found": [JUDGED]},
        {**BATCH, "found": JUDGED},
        "expected a list",
        "upstream.lookup.found",
    ),
    one(
        "upstream.lookup",
        BATCH,
        {"path": "/q", "keys": "/keys", "key": ["/id"]},
        "is required",
        "upstream.lookup.results",
    ),
    one("upstream.lookup", BATCH, {**BATCH, "key": ["/a", "/b"]}, "as many pointers", only=True),
    Case(
        {"response.align": "lookup", "upstream.lookup": LOOKUP},
        {"response.align": "lookup"},
        "response.align",
        "needs upstream.lookup",
        True,
    ),
    Case(
        {"response.align": "lookup", "upstream.lookup": LOOKUP},
        {"response.align": "lookup", "upstream.lookup": BATCH},
        "response.align",
        "one call an item",
        True,
    ),
]

RELATIONS: Final = [
    one("retention", "60s", "59s", "at least twice the lease, 1m", only=True),
    Case(
        {"response.align": "key", "response.key": ["/k"]},
        {"response.align": "key"},
        "response.key",
        "is required with align: key",
        True,
    ),
    Case(
        {"response.align": "key", "response.key": ["/k"]},
        {"response.key": ["/k"]},
        "response.key",
        "no meaning with align: position",
        True,
    ),
    Case(
        {"response.align": "key", "response.key": ["/k"]},
        {"response.align": "key", "response.key": ["/k", "/l"]},
        "response.key",
        "as many pointers as request.key, 1",
        True,
    ),
    Case(
        {"response.align": "key", "response.key": ["/k"]},
        {"response.align": "key", "response.key": ["/k"], "response.results": None},
        "response.align",
        "results, which are null",
        True,
    ),
    Case(
        {"response.results": None, "response.failed": JUDGED, "upstream.lookup": LOOKUP},
        {"response.results": None, "response.failed": JUDGED},
        "response.failed",
        "there is none: results are null",
        True,
    ),
    Case(
        {"response.duplicate": JUDGED},
        {"response.duplicate": JUDGED, "response.results": None},
        "response.duplicate",
        "results are null",
        True,
    ),
    Case(
        {"response.wrap": "value"},
        {"response.wrap": "error"},
        "response.fields",
        "same name, 'error'",
        True,
    ),
    Case(
        {"response.results": None, "response.counts": {"total": "/n"}},
        {"response.results": None, "response.counts": {"total": "/results/n"}},
        "response.counts",
        "overlaps the list at '/results'",
        True,
    ),
    Case(
        {"response.envelope": {"a": 1}},
        {"response.envelope": {"a": 1}, "response.results": ""},
        "response.envelope",
        "the list itself",
        True,
    ),
    Case(
        {
            "upstream.settles_within": "1m",
            "upstream.lookup": LOOKUP,
            "upstream.detects_duplicates": False,
        },
        {"upstream.settles_within": "1m", "upstream.lookup": LOOKUP},
        "upstream.settles_within",
        "where the service detects duplicates",
        True,
    ),
    Case(
        {"upstream.settles_within": None, "upstream.detects_duplicates": False},
        {"upstream.settles_within": "1m", "upstream.detects_duplicates": False},
        "upstream.settles_within",
        "without a lookup",
        True,
    ),
    one("lease", "30s", ["30s"], "expected a duration such as 10s, got a list"),
    one(
        "upstream",
        {"detects_duplicates": True},
        {"detects_duplicates": True, "time": 1},
        "did you mean 'timeout'?",
        "upstream.time",
    ),
    one("request", {"items": "", "key": [""]}, None, "expected a mapping, got nothing"),
]

CASES: Final = [*CONDITIONS, *OFFENDERS, *LOOKUPS, *RELATIONS]
