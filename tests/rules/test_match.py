"""Which rule a request meets, whose keys it brings, which mode applies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.load import parse_rules
from rules.match import Absent, Repeated, RuleSet, mode_for, part_text, scope_values
from rules.model import Mode, Rollout, Rule, ScopePart
from tests.rules.samples import rules_of, with_changes


def ruleset(*targets: tuple[str, str]) -> RuleSet:
    return parse_rules(
        [
            (str(i), with_changes({"name": f"r{i}", "match.method": method, "match.path": path}))
            for i, (method, path) in enumerate(targets)
        ]
    )


def names(rules: RuleSet, method: str, path: str) -> list[str]:
    return [rule.name for rule, _ in rules.candidates(method, path)]


class TestPaths:
    @pytest.mark.parametrize(
        ("template", "same", "others"),
        [
            ("/v1/orders", ["/v1/orders"], ["/v1/orders/", "/v1//orders", "/v1/Orders", "/v1"]),
            ("/a%2Fb", ["/a%2Fb"], ["/a/b", "/a%2fb"]),
            ("/a/b", ["/a/b"], ["/a%2Fb", "/%61/b", "/a/b?c", "a/b"]),
            ("/", ["/"], ["", "//", "/a"]),
            ("/t/{id}/x", ["/t/7/x", "/t/%2F/x", "/t/{id}/x"], ["/t//x", "/t/7/8/x", "/t/7/x/"]),
            ("/{a}/{b}", ["/1/2"], ["/1", "/1/", "//2", "/1/2/3"]),
        ],
    )
    def test_raw_paths(self, template: str, same: list[str], others: list[str]) -> None:
        rules = ruleset(("POST", template))
        for path in same:
            assert names(rules, "POST", path) == ["r0"], path
        for path in others:
            assert names(rules, "POST", path) == [], path

    def test_the_method_is_exact(self) -> None:
        rules = ruleset(("POST", "/a"), ("PUT", "/a"))
        assert names(rules, "PUT", "/a") == ["r1"]
        for method in ("post", "GET", ""):
            assert names(rules, method, "/a") == []

    def test_in_the_order_of_the_file(self) -> None:
        rules = ruleset(("POST", "/t/{id}"), ("GET", "/t/7"), ("POST", "/t/7"), ("POST", "/t/{x}"))
        assert names(rules, "POST", "/t/7") == ["r0", "r2", "r3"]
        assert names(rules, "POST", "/t/8") == ["r0", "r3"]

    def test_parameters_are_raw(self) -> None:
        ((_, params),) = ruleset(("POST", "/{a}/x/{b}")).candidates("POST", "/%41/x/b+c")
        assert params == {"a": "%41", "b": "b+c"}

    def test_no_rules(self) -> None:
        assert list(RuleSet().candidates("POST", "/")) == []
        assert RuleSet().digest == RuleSet().digest

    def test_by_name(self) -> None:
        rules = ruleset(("POST", "/a"))
        assert rules.named("r0") is rules.rules[0]
        assert rules.named("r1") is None


def rule_with(*scope: Any, path: str = "/v1/orders") -> Rule:
    return rules_of(with_changes({"scope": list(scope), "match.path": path})).rules[0]


def scope_of(
    rule: Rule,
    headers: list[tuple[str, str]] | None = None,
    query: str = "",
    params: dict[str, str] | None = None,
    claims: dict[str, Any] | None = None,
) -> Any:
    return scope_values(rule, headers or [], query, params or {}, claims)


class TestScope:
    def test_global_is_no_value(self) -> None:
        rule = rules_of(with_changes({"scope": "global"})).rules[0]
        assert scope_of(rule) == ()

    def test_a_header(self) -> None:
        rule = rule_with("header:X-Tenant")
        assert scope_of(rule, [("x-TENANT", " a, b\t"), ("Y", "c")]) == ("a, b",)
        assert scope_of(rule, [("X-Tenant", "ü")]) == ("ü",)
        for absent in ([], [("X-Tenant", "")], [("X-Tenant", "  ")], [("X-Tenants", "a")]):
            assert scope_of(rule, absent) == Absent("header:x-tenant")
        assert scope_of(rule, [("X-Tenant", "a\udcff")]) == Absent("header:x-tenant")
        for twice in (["a", "a"], ["a", ""], ["a", "b"]):
            given = [("X-Tenant", value) for value in twice]
            assert scope_of(rule, given) == Repeated("header:x-tenant")

    def test_a_rule_made_by_hand_may_write_the_header_as_it_likes(self) -> None:
        rule = replace(rule_with("header:x-a"), scope=(ScopePart("header", "X-A"),))
        assert scope_of(rule, [("x-a", "1")]) == ("1",)

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ("t=a", ("a",)),
            ("x=1&t=a&y", ("a",)),
            ("t=a%20b", ("a b",)),
            ("t=a+b", ("a b",)),
            ("t=a%2Bb", ("a+b",)),
            ("%74=a", ("a",)),
            ("t=a=b;c", ("a=b;c",)),
            ("", Absent("query:t")),
            ("t", Absent("query:t")),
            ("t=", Absent("query:t")),
            ("T=a", Absent("query:t")),
            ("t=%ff", Absent("query:t")),
            ("t=a&t=a", Repeated("query:t")),
            ("t=a&%74=b", Repeated("query:t")),
            ("t=&t=b", Repeated("query:t")),
        ],
    )
    def test_a_query_parameter(self, query: str, wanted: Any) -> None:
        assert scope_of(rule_with("query:t"), query=query) == wanted

    def test_a_path_segment(self) -> None:
        rule = rule_with("path:t", path="/{t}/x")
        assert scope_of(rule, params={"t": "a%2Fb"}) == ("a/b",)
        assert scope_of(rule, params={"t": "a+b"}) == ("a+b",)
        assert scope_of(rule, params={"t": "%fe"}) == Absent("path:t")
        assert scope_of(rule) == Absent("path:t")

    def test_a_claim(self) -> None:
        rule = rule_with("jwt:/org/id")
        assert scope_of(rule, claims={"org": {"id": "a"}}) == ("a",)
        assert scope_of(rule, claims={"org": {"id": 7}}) == ("7",)
        for value in ("", None, True, 1.5, ["a"], {"a": 1}):
            assert scope_of(rule, claims={"org": {"id": value}}) == Absent("jwt:/org/id")
        assert scope_of(rule, claims={}) == Absent("jwt:/org/id")
        assert scope_of(rule, claims=None) == Absent("jwt:/org/id")

    def test_several_in_the_rules_order(self) -> None:
        rule = rule_with("query:t", "header:A", "jwt:/s")
        headers, claims = [("A", "h")], {"s": "c"}
        assert scope_of(rule, headers, "t=q", claims=claims) == ("q", "h", "c")
        assert scope_of(rule, headers, "", claims=claims) == Absent("query:t")
        assert scope_of(rule, headers * 2, "t=q", claims=claims) == Repeated("header:a")
        assert [part_text(p) for p in rule.scope or ()] == ["query:t", "header:a", "jwt:/s"]

    @given(st.binary(max_size=6), st.binary(max_size=6))
    def test_two_spellings_of_bytes_never_become_one_scope(self, a: bytes, b: bytes) -> None:
        rule = rule_with("query:t")
        quoted = ["t=" + "".join(f"%{byte:02X}" for byte in data) for data in (a, b)]
        one, two = (scope_of(rule, query=query) for query in quoted)
        assert (one == two) == (a == b) or isinstance(one, Absent)


def with_rollout(mode: Mode = Mode.ENFORCE, **rollout: Any) -> Rule:
    rule = rules_of(with_changes({})).rules[0]
    return replace(rule, mode=mode, rollout=Rollout(**rollout))


SCOPES = [(f"tenant-{i}",) for i in range(4000)]


class TestMode:
    def test_all_or_none(self) -> None:
        for percent, mode in ((100.0, Mode.ENFORCE), (0.0, Mode.OFF)):
            rule = with_rollout(percent=percent)
            assert {mode_for(rule, scope, None) for scope in SCOPES} == {mode}

    def test_the_others_get_the_rest(self) -> None:
        rule = with_rollout(percent=0.0, rest=Mode.SHADOW)
        assert mode_for(rule, ("a",), None) is Mode.SHADOW

    @pytest.mark.parametrize("percent", [0.1, 1.0, 12.5, 50.0, 99.0])
    def test_the_share_is_about_what_is_asked(self, percent: float) -> None:
        rule = with_rollout(percent=percent)
        got = sum(mode_for(rule, scope, None) is Mode.ENFORCE for scope in SCOPES)
        wanted = len(SCOPES) * percent / 100
        assert abs(got - wanted) < 4 * (wanted + 1) ** 0.5 + 4

    def test_a_hundredth_of_a_percent_is_told_apart(self) -> None:
        many = [(str(i),) for i in range(60_000)]
        rule = with_rollout(percent=0.01)
        got = sum(mode_for(rule, scope, None) is Mode.ENFORCE for scope in many)
        assert 0 < got < 30

    @given(st.text(max_size=8), st.floats(0, 100), st.floats(0, 100))
    def test_a_scope_stays_in_when_the_share_grows(self, text: str, a: float, b: float) -> None:
        less, more = (with_rollout(percent=p) for p in sorted((a, b)))
        if mode_for(less, (text,), None) is Mode.ENFORCE:
            assert mode_for(more, (text,), None) is Mode.ENFORCE

    def test_it_is_the_same_in_every_process_and_generation(self) -> None:
        rule = with_rollout(percent=50.0)
        got = [mode_for(rule, (t,), None) is Mode.ENFORCE for t in "abcdefgh"]
        assert got == [
            mode_for(replace(rule, generation=9), (t,), None) == "enforce" for t in "abcdefgh"
        ]
        assert got == SHARE_OF_A_TO_H
        other = [mode_for(replace(rule, name="b"), (t,), None) == "enforce" for t in "abcdefgh"]
        assert other != got

    def test_parts_do_not_run_together(self) -> None:
        rule = with_rollout(percent=50.0)
        pairs = [(f"x{i}", "y") for i in range(64)]
        one = [mode_for(rule, (a, b), None) for a, b in pairs]
        assert one != [mode_for(rule, (a + b, ""), None) for a, b in pairs]

    def test_the_override_is_a_modes_name_or_nothing(self) -> None:
        rule = with_rollout(percent=0.0)
        for mode in Mode:
            assert mode_for(rule, ("a",), str(mode)) is mode
        for other in ("on", "", "ENFORCE", "enforce ", None):
            assert mode_for(rule, ("a",), other) is Mode.OFF


SHARE_OF_A_TO_H = [True, False, True, False, False, False, False, False]
"""As it was when the first release was made: a change would move tenants in and out."""
