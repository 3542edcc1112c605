"""``explain``: how each item is read, what a response says, what would be answered."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main
from proxy.cli.messages import Message, read_request, read_response
from proxy.core.keys import KeyMaker, digest_of
from rules.request import fingerprints
from tests.rules.samples import rules_of, with_changes

RULE: dict[str, Any] = {
    "mode": "enforce",
    "scope": ["header:X-Tenant"],
    "response.failed": {"pointer": "/status", "equals": "FAILED"},
    "upstream.offenders": {"list": "/errors", "index": "/at"},
}
ITEMS = [b'{"id":"a","n":1.0}', b'{"id":"a","n":1.0}', b'{"id":"a","n":2}', b'{"n":1}', b'{"id":7}']
BODY = b'{"orders":[' + b",".join(ITEMS) + b"]}"


class Desk:
    """Writes the files, runs the command, keeps what it printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.err = ""

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def explain(
        self,
        *flags: str,
        request: bytes = BODY,
        response: bytes | None = None,
        code: int = 0,
        tenant: bool = True,
        **changes: Any,
    ) -> str:
        text = with_changes({**RULE, **{k.replace("__", "."): v for k, v in changes.items()}})
        argv = ["explain", self.file("rules.yaml", text.encode()), "--rule", "orders", *flags]
        argv += ["--request", self.file("request", request)]
        if tenant:
            argv += ["--header", "X-Tenant: acme"]
        if response is not None:
            argv += ["--response", self.file("response", response)]
        assert main(argv) == code
        out, self.err = self.capsys.readouterr()
        return out


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def body_of(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


def test_how_each_item_is_read(desk: Desk) -> None:
    out = desk.explain()
    assert out.startswith(
        "rule     orders, generation 1\n"
        "match    POST /v1/orders\n"
        "scope    header:x-tenant = acme\n"
        "mode     enforce\n"
        f"batch    5 items at /orders, {len(BODY)} bytes\n"
    )
    fates = [line for line in out.splitlines() if line.startswith("item ")]
    assert fates == [
        "item 0   forwarded, where it is new",
        "item 1   echo of item 0: the same key and content",
        "item 2   fails: PAYLOAD_MISMATCH with item 0, the same key and other content",
        "item 3   fails: MISSING_KEY",
        "item 4   forwarded, where it is new",
    ]
    rule = rules_of(with_changes(RULE)).rules[0]
    prints = fingerprints(rule, ITEMS)
    shown = [line.split()[1] for line in out.splitlines() if "fingerprint" in line]
    assert shown == [prints[i].hex() for i in (0, 1, 2, 4)]
    assert [line.split()[1] for line in out.splitlines() if "  key  " in line] == [
        '"a"',
        '"a"',
        '"a"',
        "7",
    ]
    digest = digest_of(KeyMaker().store_key("orders", 1, ("acme",), (7,)))
    assert f"  store key    {digest}" in out.splitlines()


def test_the_digests_are_those_of_a_keyed_store(desk: Desk) -> None:
    out = desk.explain("--key-secret-file", desk.file("secret", b"s3\n"))
    digest = digest_of(KeyMaker(secret=b"s3").store_key("orders", 1, ("acme",), (7,)))
    assert digest in out


def test_other_ways_to_read_an_item(desk: Desk) -> None:
    out = desk.explain(
        request__missing_key="forward", request__fingerprint={"on_mismatch": "ignore"}
    )
    assert "item 2   echo of item 0" in out
    assert "item 3   has no key: forwarded, never deduplicated" in out


def test_an_accepted_response(desk: Desk) -> None:
    response = b'{"results":[{"n":18446744073709551615},{"status":"FAILED"}],"x":1.0}'
    out = desk.explain(response=response)
    assert "response 200, to the 2 items forwarded\nverdict  accepted: the batch was done\n" in out
    assert 'item 0   {"n":18446744073709551615}\nitem 4   failed: {"status":"FAILED"}\n' in out
    assert "answer   200\n" in out
    assert "Idempotency-Items: new=1, replayed=1, failed=3\n" in out
    assert '"n":18446744073709551615,"isIdempotent":false' in out
    results = body_of(out)["results"]
    assert [r["isIdempotent"] for r in results] == [False, True, False, False, False]
    codes = [r.get("error", {}).get("code") for r in results]
    assert codes == [None, None, "PAYLOAD_MISMATCH", "MISSING_KEY", "UPSTREAM_FAILED"]


def test_results_that_cannot_be_matched(desk: Desk) -> None:
    out = desk.explain(response=b'{"results":[{}]}')
    assert "results  cannot be matched one to one with the 2 items sent" in out
    assert body_of(out)["results"][0]["error"]["code"] == "OUTCOME_UNKNOWN"


def test_a_rejection_that_names_the_item(desk: Desk) -> None:
    response = b'HTTP/1.1 422 No\r\nX-A: 1\r\n\r\n{"errors":[{"at":1,"message":"bad id"}]}'
    out = desk.explain(response=response)
    assert "verdict  rejected: nothing was done" in out
    assert "offender item 4: bad id\n" in out
    assert "ISOLATION_LIMIT stands for items that would be sent again" in out
    error = body_of(out)["results"][4]["error"]
    assert (error["code"], error["message"]) == ("UPSTREAM_REJECTED", "bad id")


def test_a_rejection_that_names_none(desk: Desk) -> None:
    out = desk.explain("--status", "409", response=b"{}")
    assert "verdict  duplicate: nothing was done: the service had one" in out
    assert "offender none is named: the proxy halves the batch and tries again\n" in out
    lookup = {"path": "/q", "keys": "", "results": "", "key": ["/id"]}
    out = desk.explain("--status", "409", response=b"{}", upstream__lookup=lookup)
    assert "the proxy asks for all of them with the lookup\n" in out


def test_the_services_own_answer_is_handed_on(desk: Desk) -> None:
    request = b'{"orders":[{"id":"a"}]}'
    out = desk.explain("--status", "400", request=request, response=b"no,\n  thanks")
    assert "offender item 0: the only one sent" in out
    assert out.endswith("\n\nno,\n  thanks\n")
    out = desk.explain("--status", "401", request=request, response=b"who?")
    assert "verdict  refused" in out
    assert out.endswith("\n\nwho?\n")
    out = desk.explain("--status", "502", request=request, response=b"who?")
    assert "verdict  unknown: no list of the rule names this response" in out
    assert "answer   504\n" in out


def test_one_response_serves_each_single_call(desk: Desk) -> None:
    request = b'{"orders":[{"id":"a"},{"id":"b"}]}'
    out = desk.explain(request=request, response=b'{"results":{"ok":1}}', response__align="single")
    assert [r["ok"] for r in body_of(out)["results"]] == [1, 1]


def test_lookups_are_said_and_not_made(desk: Desk) -> None:
    changes: dict[str, Any] = {
        "response__align": "lookup",
        "upstream__lookup": {"path": "/q/{key}", "when": "all"},
    }
    out = desk.explain(response=b"{}", **changes)
    assert "results  each item is looked up\n" in out


def test_a_mode_that_would_not_answer_is_said(desk: Desk) -> None:
    out = desk.explain(response=b'{"results":[{},{}]}', mode="shadow")
    assert "mode     shadow\n" in out
    assert "answer   200, were the mode enforce\n" in out
    out = desk.explain(mode="enforce", rollout={"percent": 0, "rest": "shadow"})
    assert "mode     shadow, of a rollout of 0% enforce, else shadow\n" in out


class TestScope:
    def test_none(self, desk: Desk) -> None:
        out = desk.explain(tenant=False, response=b"{}")
        assert "scope    the request has no header:x-tenant: it is passed through" in out
        assert "store key" not in out
        assert "answer" not in out

    def test_twice(self, desk: Desk) -> None:
        out = desk.explain("--header", "X-Tenant: b")
        assert "scope    header:x-tenant is given more than once: refused with 400" in out

    def test_global(self, desk: Desk) -> None:
        assert "scope    global\n" in desk.explain(scope="global")

    def test_a_credential_is_not_shown_whole(self, desk: Desk) -> None:
        scope = ["header:Authorization"]
        out = desk.explain("--header", "Authorization: Bearer s3cret-token", scope=scope)
        assert "header:authorization = Bearer s... (19 characters)\n" in out
        assert "s3cret-token" not in out

    def test_a_claim(self, desk: Desk) -> None:
        parts = [
            base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=")
            for p in ({"alg": "HS256"}, {"sub": "joe"})
        ]
        token = "Authorization: Bearer " + ".".join([*parts, "c2ln"])
        out = desk.explain("--header", token, scope=["jwt:/sub"])
        assert "scope    jwt:/sub = joe (the token's signature is not checked here)\n" in out

    def test_of_the_path_and_query(self, desk: Desk) -> None:
        changes: dict[str, Any] = {"match__path": "/t/{t}/orders", "scope": ["path:t", "query:q"]}
        out = desk.explain("--target", "/t/a%20b/orders?q=1", **changes)
        assert "scope    path:t = a b, query:q = 1\n" in out
        request = b"POST /t/c/orders?q=2 HTTP/1.1\r\nHost: x\r\n\r\n" + BODY
        out = desk.explain(request=request, **changes)
        assert "scope    path:t = c, query:q = 2\n" in out
        assert "batch    5 items" in out


class TestMatch:
    def test_another_target(self, desk: Desk) -> None:
        out = desk.explain("--target", "/v1/others")
        assert "match    no: POST /v1/others is not POST /v1/orders\n" in out

    def test_where(self, desk: Desk) -> None:
        where = {"pointer": "/orders/0/id", "equals": "a"}
        assert "match    POST /v1/orders, and where holds\n" in desk.explain(match__where=where)
        where = {"pointer": "/orders/0/id", "equals": "b"}
        assert "but where does not hold\n" in desk.explain(match__where=where)
        out = desk.explain(match__where=where, request=b"{")
        assert "but where does not hold\n" in out

    def test_a_rule_that_comes_first(self, desk: Desk) -> None:
        folder = desk.folder / "rules"
        folder.mkdir()
        for name in ("a", "b"):
            (folder / f"{name}.yaml").write_text(with_changes({"name": name}))
        request = desk.file("request", BODY)
        assert main(["explain", str(folder), "--rule", "b", "--request", request]) == 0
        out = desk.capsys.readouterr().out
        assert "match    no: POST /v1/orders is handled by 'a', which comes first\n" in out


@pytest.mark.parametrize(
    ("request_body", "changes", "words"),
    [
        (b"{", {}, "cannot be read (not_json)"),
        (b"{}", {}, "it is passed through"),
        (b"{}", {"request__unreadable": "reject"}, "it is refused with 400"),
        (BODY, {"request__max_items": 4}, "refused with 413: 5 items, 4 at most"),
        (BODY, {"request__max_bytes": 10}, "bytes, 10 at most"),
        (b'{"orders":[]}', {}, "0 items at /orders, 13 bytes"),
        (b"[]", {"request__items": ""}, "0 items at the body itself, 2 bytes"),
    ],
)
def test_bodies(desk: Desk, request_body: bytes, changes: dict[str, Any], words: str) -> None:
    out = desk.explain(request=request_body, response=b"{}", **changes)
    assert words in out
    assert "answer" not in out


def test_what_cannot_be_explained(desk: Desk) -> None:
    for flags, words in (
        (("--rule", "order"), "--rule: there is no rule 'order'; did you mean 'orders'?"),
        (("--rule", "xyz"), "--rule: there is no rule 'xyz'; there are: orders"),
        (("--header", "X-Tenant"), "--header: a header is written 'Name: value'"),
        (("--response", "/nonexistent"), "/nonexistent: No such file or directory"),
        (("--key-secret-file", "/nonexistent"), "/nonexistent: No such file"),
    ):
        desk.explain(*flags, code=2)
        assert words in desk.err
    desk.explain(request=b"POST / HTTP/1.1\nfolded\n\n{}", code=2)
    assert "request: a header is written 'Name: value', not 'folded'" in desk.err


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"{}", Message(b"{}")),
        (b"", Message(b"")),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", Message(b"{}", status=200)),
        (b"HTTP/2 404\nA: b\nC:d\n\n{}\n", Message(b"{}\n", (("A", "b"), ("C", "d")), status=404)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\n\r\nx", Message(b"x", status=201)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP", Message(b"HTTP", status=100)),
        (b"HTTP/1.1 204 None\r\nA: b\r\n", Message(b"", (("A", "b"),), status=204)),
    ],
)
def test_response_files(data: bytes, wanted: Message) -> None:
    assert read_response(data) == wanted


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b'{"POST / HTTP/1.1"}', Message(b'{"POST / HTTP/1.1"}')),
        (b"POST /a?b HTTP/1.1\r\nA:  b \r\n\r\n{}", Message(b"{}", (("A", "b"),), "POST", "/a?b")),
        (b"GET / HTTP/1.0\n\n", Message(b"", (), "GET", "/")),
    ],
)
def test_request_files(data: bytes, wanted: Message) -> None:
    assert read_request(data) == wanted
