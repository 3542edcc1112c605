"""What a rules file comes to, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rules.load import RulesError, check_against_settings, load_rules, parse_rules
from rules.model import (
    Align,
    Fields,
    Isolate,
    Lookup,
    Mode,
    Offenders,
    RequestRule,
    ResponseRule,
    Rollout,
    Rule,
    ScopePart,
    UpstreamRule,
    Verdict,
)
from rules.pointer import Pointer
from tests.rules.samples import LONG, SHORT, SHORT_RULE, mistakes_of, rules_of, with_changes


def only(text: str) -> Rule:
    (rule,) = rules_of(text).rules
    return rule


def statuses(rule: Rule, verdict: Verdict) -> list[tuple[int | str, ...]]:
    return [c.statuses for c in dict(rule.upstream.verdicts)[verdict]]


class TestDefaults:
    def test_every_default_is_the_models_own(self) -> None:
        rule = only(SHORT)
        assert rule.scope == (ScopePart("header", "authorization"),)
        assert rule.request == RequestRule(Pointer("/orders"), (Pointer("/id"),))
        assert rule.response == ResponseRule(Pointer("/results"))
        verdicts = rule.upstream.verdicts
        assert rule.upstream == UpstreamRule(detects_duplicates=True, verdicts=verdicts)
        assert (rule.match.method, rule.match.path, rule.match.where) == (
            "POST",
            "/v1/orders",
            None,
        )
        same = Rule(
            rule.name,
            rule.match,
            rule.scope,
            rule.request,
            rule.upstream,
            rule.response,
            source=rule.source,
        )
        assert rule == same

    def test_lists_where_the_service_detects(self) -> None:
        rule = only(SHORT)
        assert [v for v, _ in rule.upstream.verdicts] == [
            Verdict.DUPLICATE,
            Verdict.REJECTED,
            Verdict.UNAVAILABLE,
            Verdict.REFUSED,
            Verdict.ACCEPTED,
        ]
        assert statuses(rule, Verdict.DUPLICATE) == [(409,)]
        assert statuses(rule, Verdict.REJECTED) == [(400, 413, 422)]
        assert statuses(rule, Verdict.UNAVAILABLE) == [(429, 503)]
        assert statuses(rule, Verdict.ACCEPTED) == [("2xx",)]
        (refused,) = statuses(rule, Verdict.REFUSED)
        assert len(refused) == 16
        assert {301, 401, 404, 451} <= set(refused)
        assert rule.fail_open
        assert not rule.request.reject_unreadable

    def test_lists_where_it_does_not(self) -> None:
        rule = only(with_changes({"upstream.detects_duplicates": False}))
        assert statuses(rule, Verdict.DUPLICATE) == []
        assert 409 in statuses(rule, Verdict.REJECTED)[0]
        assert statuses(rule, Verdict.UNAVAILABLE) == [(429,)]
        assert not rule.fail_open
        assert rule.request.reject_unreadable

    def test_what_the_file_says_wins_over_them(self) -> None:
        changes = {
            "upstream.detects_duplicates": False,
            "upstream.unavailable": [{"status": [503]}],
            "request.unreadable": "pass",
            "on_store_failure": "open",
        }
        rule = only(with_changes(changes))
        assert statuses(rule, Verdict.UNAVAILABLE) == [(503,)]
        assert rule.fail_open
        assert not rule.request.reject_unreadable


class TestEverything:
    def test_top(self) -> None:
        rule = only(LONG)
        assert (rule.name, rule.generation, rule.mode) == ("orders", 3, Mode.OFF)
        assert rule.rollout == Rollout(12.5, Mode.SHADOW, "x-mode")
        assert rule.match.where is not None
        assert rule.match.where.holds(None, {"method": None})
        assert not rule.match.where.holds(None, {"method": "delete"})
        assert rule.scope == (
            ScopePart("header", "x-tenant"),
            ScopePart("query", "t"),
            ScopePart("path", "tenant"),
            ScopePart("jwt", "/sub"),
            ScopePart("jwt", "/act/sub", unverified=True),
        )
        times = (rule.retention, rule.lease, rule.wait, rule.deadline)
        assert times == (7 * 86400, 90, 0, 90)
        assert rule.max_result_bytes == 2 * 1024 * 1024
        assert not rule.fail_open

    def test_request(self) -> None:
        assert only(LONG).request == RequestRule(
            Pointer("/data/orders"),
            (Pointer("/tenant"), Pointer("/id")),
            forward_missing_key=True,
            fingerprint_exclude=(Pointer("/sentAt"),),
            ignore_mismatch=True,
            counts=(Pointer("/data/count"),),
            max_items=20,
            max_bytes=1000,
            reject_unreadable=True,
        )

    def test_upstream(self) -> None:
        upstream = only(LONG).upstream
        assert (upstream.timeout, upstream.max_items, upstream.concurrency) == (0.25, 10, 4)
        assert upstream.isolate == Isolate(7, 0.5)
        assert (upstream.settles_within, upstream.signed_headers) == (60, ("x-signature",))
        offenders, lookup = upstream.offenders, upstream.lookup
        assert offenders is not None
        assert offenders == Offenders(
            Pointer("/errors"), offenders.where, key=(Pointer("/t"), Pointer("/id"))
        )
        assert lookup is not None
        assert lookup == Lookup(
            "GET",
            "/t/{key}/orders?id={key[1]}",
            lookup.found,
            lookup.not_found,
            Pointer("/order"),
            always=True,
            compare=(Pointer("/amount"), Pointer("/amount")),
        )
        verdicts = dict(upstream.verdicts)
        assert verdicts[Verdict.UNAVAILABLE] == ()
        coded, listed = verdicts[Verdict.DUPLICATE]
        assert coded.holds(503, {"code": 10})
        assert not coded.holds(503, {"code": "10"})
        assert listed.holds(400, {"errors": [{"code": "x"}, {"code": "DUP-1"}]})
        assert not listed.holds(400, {"errors": [{"code": "x"}]})
        (rejected,) = verdicts[Verdict.REJECTED]
        assert rejected.holds(400, {"error": None})
        assert not rejected.holds(200, {"error": None})

    def test_response(self) -> None:
        response = only(LONG).response
        assert response == ResponseRule(
            Pointer("/data/results"),
            Align.KEY,
            (Pointer("/t"), Pointer("/id")),
            response.failed,
            response.duplicate,
            Fields("replayed", None, "problem"),
            {"total": Pointer("/data/total"), "failed": Pointer("/data/failed")},
            b'{"data":{"v":1.5}}',
            b'{"a":1}',
            b'{"b":[true,null]}',
            b'{"c":{"d":"x"}}',
            "value",
            None,
        )
        assert response.failed is not None
        assert response.failed.holds(None, {"status": "FAILED"})

    def test_the_other_forms(self) -> None:
        batch = {"path": "/q", "keys": "/keys", "results": "/items", "key": ["/id"]}
        changes: dict[str, Any] = {"upstream.lookup": batch, "scope": "global"}
        rule = only(with_changes(changes))
        assert rule.scope is None
        assert rule.upstream.lookup is not None
        assert rule.upstream.lookup.is_batch
        assert rule.upstream.lookup.method == "POST"
        forms: list[tuple[dict[str, Any], Offenders]] = [
            ({"list": "/e", "index": "/i"}, Offenders(Pointer("/e"), index=Pointer("/i"))),
            ({"list": "/e", "position": True}, Offenders(Pointer("/e"), by_position=True)),
            (
                {"pointer": "/m", "pattern": r"\((?P<key>[^)]+)\)"},
                Offenders(text=Pointer("/m"), pattern=r"\((?P<key>[^)]+)\)"),
            ),
        ]
        for form, wanted in forms:
            assert only(with_changes({"upstream.offenders": form})).upstream.offenders == wanted

    @pytest.mark.parametrize("word", ["off", '"off"', "'off'"])
    def test_off_needs_no_quotes(self, word: str) -> None:
        assert only(SHORT + f"    mode: {word}\n").mode is Mode.OFF
        assert only("%YAML 1.1\n---\n" + SHORT + f"    mode: {word}\n").mode is Mode.OFF


class TestSource:
    def test_it_loads_again_to_the_same_rule(self) -> None:
        for text in (SHORT, LONG):
            rule = only(text)
            again = only(with_changes({}, base=dict(rule.source)))
            assert again.source == rule.source
            assert repr(again) == repr(rule)

    def test_digest_follows_the_content_and_not_the_layout(self) -> None:
        digest = rules_of(SHORT).digest
        assert rules_of("# a remark\n" + SHORT).digest == digest
        assert rules_of(with_changes({})).digest == digest
        assert rules_of(with_changes({"lease": "30000ms"})).digest == digest
        assert rules_of(with_changes({"lease": "31s"})).digest != digest
        two = [("a", SHORT), ("b", with_changes({"name": "b"}))]
        assert parse_rules(two).digest != parse_rules(two[::-1]).digest


class TestFiles:
    def test_a_folder_is_read_in_name_order(self, tmp_path: Path) -> None:
        data = tmp_path / "..2026_11_23"
        data.mkdir()
        for name, rule in (("20.yml", "b"), ("10.yaml", "a"), (".hidden.yaml", "h")):
            (data / name).write_text(with_changes({"name": rule}))
        (data / "notes.txt").write_text("no rules")
        (tmp_path / "..data").symlink_to(data, target_is_directory=True)
        for name in ("20.yml", "10.yaml", ".hidden.yaml", "notes.txt"):
            (tmp_path / name).symlink_to(Path("..data") / name)
        assert [rule.name for rule in load_rules(str(tmp_path)).rules] == ["a", "b"]

    def test_mistakes_of_all_files_come_together(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("version: 2\nrules: []\n")
        (tmp_path / "b.yaml").write_text("version: [\n")
        (tmp_path / "c.yaml").write_text(SHORT)
        with pytest.raises(RulesError) as caught:
            load_rules(str(tmp_path))
        assert [(Path(m.file).name, m.line) for m in caught.value.mistakes] == [
            ("a.yaml", 1),
            ("b.yaml", 2),
        ]

    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "latin.yaml").write_bytes(b"version: 1\nrules: [] # \xe9\n")
        for name, words in (
            ("missing.yaml", "missing.yaml: No such file or directory"),
            ("empty", "empty: the folder holds no *.yaml or *.yml file"),
            ("latin.yaml", "latin.yaml:2: not UTF-8"),
        ):
            with pytest.raises(RulesError) as caught:
                load_rules(str(tmp_path / name))
            assert str(caught.value).endswith(words)

    def test_a_byte_order_mark_does_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + SHORT.encode())
        assert len(load_rules(str(tmp_path / "r.yaml")).rules) == 1

    def test_no_rules_is_a_rule_set_too(self) -> None:
        assert rules_of("version: 1\nrules: []\n").rules == ()

    def test_a_name_is_taken_once(self) -> None:
        other = with_changes({"name": "b"})
        assert len(parse_rules([("a", SHORT), ("b", other)]).rules) == 2
        with pytest.raises(RulesError) as caught:
            parse_rules([("a", SHORT), ("b", SHORT)])
        wanted = "b:3: rules[0].name: 'orders' is taken by the rule in a:3"
        assert str(caught.value) == wanted


FOUND = """\
rules.yaml:3: rules[0].name: expected a name of a-z, 0-9 and - such as orders, got 'Orders'
rules.yaml:4: rules[0].match.path: expected a path such as /v1/t/{tenant}/orders, got 'v1/orders'
rules.yaml:5: rules[0].scope: an empty scope; say global where all clients share their keys
rules.yaml:7: rules[0].request.items: a JSON Pointer is "" or starts with "/": 'orders'
rules.yaml:8: rules[0].request.key: expected at least 1
rules.yaml:9: rules[0].request.max_item: unknown field; did you mean 'max_items'?
rules.yaml:10: rules[0].upstream.detects_duplicates: is required
rules.yaml:11: rules[0].upstream.timeout: expected a duration such as 10s or 250ms, got '10 s'
rules.yaml:12: rules[0].upstream.timeout: given twice, first in line 11
rules.yaml:13: rules[0].upstream.offenders: needs exactly one of index, key, position, pattern
rules.yaml:17: rules[0].response.aling: unknown field; did you mean 'align'?
rules.yaml:18: rules[1].match.path: is required
rules.yaml:18: rules[1].scope: is required
rules.yaml:18: rules[1].request.items: is required
rules.yaml:18: rules[1].request.key: is required
rules.yaml:18: rules[1].upstream.detects_duplicates: is required
rules.yaml:18: rules[1].response.results: is required
rules.yaml:19: rules[2]: expected a mapping, got 7
"""


def test_every_mistake_has_its_line_and_field() -> None:
    text = """\
version: 1
rules:
  - name: Orders
    match: {path: v1/orders}
    scope: []
    request:
      items: orders
      key: []
      max_item: 5
    upstream:
      timeout: 10 s
      timeout: 11s
      offenders:
        list: /errors
    response:
      results: /results
      aling: position
  - name: b
  - 7
"""
    assert [str(m) for m in mistakes_of(text)] == FOUND.splitlines()


def test_a_lease_outlasts_a_call_and_three_store_calls() -> None:
    ruleset = rules_of(with_changes({"lease": "11s", "upstream.timeout": "10s"}))
    assert check_against_settings(ruleset) == []
    assert check_against_settings(ruleset, 1 / 3) == []
    (mistake,) = check_against_settings(ruleset, 0.5)
    assert str(mistake).startswith("rules.yaml:1: rules[0].lease: must be at least")
    assert "11500ms" in str(mistake)


def test_the_short_rule_is_the_short_file() -> None:
    assert rules_of(with_changes({}, base=SHORT_RULE)).digest == rules_of(SHORT).digest
