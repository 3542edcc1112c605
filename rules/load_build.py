"""The values that were read, as a Rule. Law: nothing is judged here; the mistakes are all found.

Each argument is a section's dict as ``rules.fields`` names it.
"""

from __future__ import annotations

from typing import Any

from rules.model import (
    Align,
    Fields,
    Isolate,
    Lookup,
    Match,
    Mode,
    Offenders,
    RequestRule,
    ResponseRule,
    Rollout,
    Rule,
    UpstreamRule,
    Verdict,
)

Values = dict[str, Any]

LISTS = {
    "duplicate": Verdict.DUPLICATE,
    "rejected": Verdict.REJECTED,
    "unavailable": Verdict.UNAVAILABLE,
    "refused": Verdict.REFUSED,
    "success": Verdict.ACCEPTED,
}


def build_rule(values: Values, source: Values) -> Rule:
    return Rule(
        name=values["name"],
        generation=values["generation"],
        match=Match(**values["match"]),
        mode=Mode(values["mode"]),
        rollout=_rollout(values["rollout"]),
        scope=values["scope"],
        request=_request(values["request"]),
        upstream=_upstream(values["upstream"]),
        response=_response(values["response"]),
        retention=values["retention"],
        lease=values["lease"],
        wait=values["wait"],
        deadline=values["deadline"],
        max_result_bytes=values["max_result_bytes"],
        fail_open=values["on_store_failure"] == "open",
        source=source,
    )


def _rollout(values: Values) -> Rollout:
    return Rollout(values["percent"], Mode(values["rest"]), values["override_header"])


def _request(values: Values) -> RequestRule:
    return RequestRule(
        items=values["items"],
        key=values["key"],
        forward_missing_key=values["missing_key"] == "forward",
        fingerprint_exclude=values["fingerprint"]["exclude"],
        ignore_mismatch=values["fingerprint"]["on_mismatch"] == "ignore",
        counts=values["counts"],
        max_items=values["max_items"],
        max_bytes=values["max_bytes"],
        reject_unreadable=values["unreadable"] == "reject",
    )


def _upstream(values: Values) -> UpstreamRule:
    offenders, lookup = values["offenders"], values["lookup"]
    return UpstreamRule(
        detects_duplicates=values["detects_duplicates"],
        timeout=values["timeout"],
        max_items=values["max_items"],
        concurrency=values["concurrency"],
        verdicts=tuple((verdict, values[name]) for name, verdict in LISTS.items()),
        offenders=_offenders(offenders) if offenders else None,
        isolate=Isolate(**values["isolate"]),
        lookup=_lookup(lookup) if lookup else None,
        settles_within=values["settles_within"],
        signed_headers=values["signed_headers"],
    )


def _offenders(values: Values) -> Offenders:
    pattern = values.get("pattern")
    return Offenders(
        list_at=values.get("list"),
        where=values.get("where"),
        index=values.get("index"),
        key=values.get("key", ()),
        by_position=values.get("position", False),
        text=values.get("pointer"),
        pattern=pattern.pattern if pattern else "",
    )


def _lookup(values: Values) -> Lookup:
    compare = values["compare"]
    return Lookup(
        method=values["method"],
        path=values["path"],
        found=values["found"] or (),
        not_found=values["not_found"] or (),
        result=values["result"],
        always=values["when"] == "all",
        compare=(compare["item"], compare["result"]) if compare else None,
        keys=values.get("keys"),
        results=values.get("results"),
        key=values.get("key", ()),
    )


def _response(values: Values) -> ResponseRule:
    status = values["partial_status"]
    return ResponseRule(
        results=values["results"],
        align=Align(values["align"]),
        key=values["key"] or (),
        failed=values["failed"],
        duplicate=values["duplicate"],
        fields=Fields(**values["fields"]),
        counts={name: at for name, at in values["counts"].items() if at is not None},
        envelope=values["envelope"],
        accepted_item=values["accepted_item"],
        failed_item=values["failed_item"],
        duplicate_result=values["duplicate_result"],
        wrap=values["wrap"],
        partial_status=None if status == "upstream" else status,
    )
