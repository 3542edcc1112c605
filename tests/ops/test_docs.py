"""The pages and the code agree, both ways: metrics, labels, limits, errors, routes, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from proxy import metrics, openapi, problems
from proxy.admin.app import TITLES
from proxy.admin.model import State
from proxy.core.delivery import Delivery
from proxy.core.fate import OUTCOME_OF, RETRYABLE, Code, Outcome
from proxy.core.upstream import Purpose
from tests.ops.desk import Office

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = ["metrics", "errors", "runbook", "rollout", "admin-api"]


def rows(page: str, columns: int) -> list[list[str]]:
    """The cells of every table row of ``page`` that begins with code."""
    found = []
    for line in (DOCS / f"{page}.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) >= columns:
            found.append(cells)
    return found


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def section(page: str, head: str) -> str:
    text = (DOCS / f"{page}.md").read_text()
    return text.split(f"## {head}\n")[1].split("\n## ")[0]


def test_every_metric_is_described_with_its_kind_and_labels_and_no_other() -> None:
    described = {
        row[0].strip("`"): (row[1], tuple(code(row[2])))
        for row in rows("metrics", 4)
        if row[0].startswith("`idemproxy_")
    }
    exported = {metrics.PREFIX + f.name: (f.kind, f.labels) for f in metrics.FAMILIES}
    assert described == exported


def values_of(label: str) -> list[str]:
    return [code(cell)[0] for name, cell, *_ in label_rows() if name == label]


def label_rows() -> list[list[str]]:
    table = section("metrics", "Label values").splitlines()
    return [[c.strip() for c in line.strip("| ").split(" | ")] for line in table if " | `" in line]


@pytest.mark.parametrize(
    ("label", "in_code"),
    [
        ("`outcome`", [str(one) for one in Outcome]),
        ("`outcome`", list(metrics.OUTCOMES)),
        ("`result` of batches", list(metrics.BATCH_RESULTS)),
        ("`delivery`", [str(one) for one in Delivery]),
        ("`purpose`", [str(one) for one in Purpose]),
        ("`result` of duplicates", list(metrics.DUPLICATE_RESULTS)),
        ("`result` of waits", list(metrics.WAIT_RESULTS)),
        ("`reason`", list(metrics.PASSED_REASONS)),
        ("`limit`", list(metrics.LIMITS)),
    ],
)
def test_every_label_value_is_described(label: str, in_code: list[str]) -> None:
    assert sorted(values_of(label)) == sorted(in_code)


def sources() -> str:
    files = [p for p in (ROOT / "proxy").rglob("*.py") if p.name not in ("metrics.py", "logs.py")]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize(
    ("call", "known"),
    [
        (r'\.limit\("(\w+)"\)', metrics.LIMITS),
        (r'\.passed_through\([\w.]+, "(\w+)"\)', metrics.PASSED_REASONS),
        (r'upstream_duplicate\([\w.]+, "(\w+)"\)', metrics.DUPLICATE_RESULTS),
    ],
)
def test_the_code_tells_no_other_label_value(call: str, known: tuple[str, ...]) -> None:
    told = set(re.findall(call, sources()))
    assert told
    assert told <= set(known)


def test_what_shadow_tells_is_described() -> None:
    told = set(re.findall(r'\.shadow\([\w.]+, "(\w+)"', sources()))
    assert told == set(values_of("`would`")) - {"an outcome"}


def test_every_recording_rule_is_described() -> None:
    text = (ROOT / "k8s/monitoring/recording-rules.yaml").read_text()
    assert set(re.findall(r"record: (\S+)", text)) == set(
        code(section("metrics", "Recording rules"))
    )


def test_every_item_error_is_described_with_its_outcome_and_retry() -> None:
    described = {row[0].strip("`"): row[2:4] for row in rows("errors", 4)}
    assert set(described) == set(Code)
    for one in Code:
        retry, outcome = described[one]
        assert outcome.strip("`") == OUTCOME_OF[one]
        if one is not Code.OUTCOME_UNKNOWN:
            assert retry == ("yes" if one in RETRYABLE else "no")


def test_every_problem_is_described_with_a_status_that_it_has() -> None:
    described = {
        row[0].strip("`"): row[1] for row in rows("errors", 3) if row[0].strip("`").islower()
    }
    assert set(described) == set(problems.PROBLEMS)
    raised = re.findall(r'Problem\(\s*(\d+),\s*"([\w-]+)"', sources())
    for status, name in raised:
        if name in described:
            assert described[name] == status, name


def test_every_admin_route_is_described(tmp_path: Path) -> None:
    described = {tuple(row[0].strip("`").split()) for row in rows("admin-api", 2)}
    routes = {row for row in described if row[0] in ("GET", "POST")}
    assert routes == {(one.method, one.path) for one in openapi.OPERATIONS}
    served = {
        (route.method, route.resource.canonical)
        for route in Office(tmp_path).admin.app().router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert served == routes


def test_every_admin_problem_and_record_state_is_described() -> None:
    text = (DOCS / "admin-api.md").read_text()
    problem_line = next(line for line in text.splitlines() if line.startswith("Errors are"))
    assert set(code(problem_line)) - {"application/problem+json"} == set(TITLES)
    states = {row[0].strip("`") for row in rows("admin-api", 2) if row[0].strip("`").islower()}
    assert states == set(get_args(State))


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (DOCS / name).resolve() if name else DOCS / f"{page}.md"
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES)
def test_metrics_and_settings_that_a_page_names_exist(page: str) -> None:
    from proxy.settings import SETTINGS

    text = (DOCS / f"{page}.md").read_text()
    families = {metrics.PREFIX + f.name for f in metrics.FAMILIES}
    parts = families | {f + end for f in families for end in ("_bucket", "_sum", "_count")}
    assert set(re.findall(r"\bidemproxy_\w+", text)) <= parts
    settings = {setting.name for setting in SETTINGS}
    outside = {"SIGHUP", "SIGTERM", "OTEL_EXPORTER_OTLP_ENDPOINT", "READONLY", "MISCONF"}
    outside |= set(Code) | {"CLUSTER INFO", "INFO memory", "SLOWLOG GET"}
    for name in code(text):
        if re.fullmatch(r"[A-Z][A-Z_]{3,}", name) and name not in outside:
            assert name in settings, name
