"""Alerts, recording rules and dashboard: against promtool, the runbook, and real metrics."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from ruamel.yaml import YAML

from proxy.metrics import FAMILIES, PREFIX
from tests.fakes.processes import ask, free_port
from tests.ops.conftest import Served
from tests.ops.test_docs import anchors
from tests.ops.test_logs import REPORT
from tests.ops.test_metrics import told

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "k8s" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())


def read(name: str) -> Any:
    return YAML(typ="safe").load(FOLDER / name)


def rules(name: str, kind: str) -> list[dict[str, Any]]:
    return [rule for group in read(name)["groups"] for rule in group["rules"] if kind in rule]


ALERTS = rules("alerts.yaml", "alert")
RECORDED = {rule["record"]: rule["expr"] for rule in rules("recording-rules.yaml", "record")}


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not on PATH: apt-get install prometheus"
    return found


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "--lint=all", "--lint-fatal", "recording-rules.yaml", "alerts.yaml"),
        ("test", "rules", "alerts-test.yaml"),
    ],
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [program("promtool"), *words], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("alert", [alert["alert"] for alert in ALERTS])
def test_the_tests_notice_an_alert_that_never_fires(alert: str, tmp_path: Path) -> None:
    """And one that always does."""
    for bent in ("vector(1) > 2", 'label_replace(vector(1), "rule", "bent", "", "")'):
        for name in ("recording-rules.yaml", "alerts-test.yaml"):
            shutil.copy(FOLDER / name, tmp_path / name)
        document = read("alerts.yaml")
        for group in document["groups"]:
            for rule in group["rules"]:
                if rule["alert"] == alert:
                    rule["expr"] = bent
        YAML(typ="safe").dump(document, tmp_path / "alerts.yaml")
        done = subprocess.run(
            [program("promtool"), "test", "rules", "alerts-test.yaml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert alert in done.stdout + done.stderr


def test_each_alert_has_its_section_in_the_runbook_and_each_section_its_alert() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    sections = set(re.findall(r"^## (Idemproxy\w+)$", text, re.MULTILINE))
    assert sections == {alert["alert"] for alert in ALERTS}
    for alert in ALERTS:
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert anchor == alert["alert"].lower()
        assert anchor in anchors(ROOT / page)
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}


# ---- every query names what is exported -------------------------------------------------------

POD_LABELS = {"namespace", "pod", "le"}
SAMPLES = {
    PREFIX + family.name + end: set(family.labels)
    for family in FAMILIES
    for end in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
}


def queries() -> list[str]:
    """Of the dashboard: panels, annotations, variables."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    found += [a["expr"] for a in DASHBOARD["annotations"]["list"] if "expr" in a]
    return found


def strangers(query: str) -> list[str]:
    """What ``query`` names that does not exist: series, or labels of them."""
    wrong = []
    for name, matchers in re.findall(r"(idemproxy[_:][\w:]+)(?:\{([^}]*)\})?", query):
        if name not in SAMPLES and name not in RECORDED:
            wrong.append(name)
            continue
        known = SAMPLES.get(name, {"rule", "outcome"}) | POD_LABELS
        wrong += [
            f"{name}: {one}" for one in re.findall(r"(\w+)\s*=", matchers) if one not in known
        ]
    names = re.findall(r"idemproxy_\w+", query)
    grouped = {one.strip() for by in re.findall(r"by \(([^)]*)\)", query) for one in by.split(",")}
    labels = set().union(*(SAMPLES.get(name, set()) for name in names)) | POD_LABELS
    return wrong + [f"by {one}" for one in sorted(grouped - labels)]


@pytest.mark.parametrize(
    "query", [*queries(), *RECORDED.values(), *(alert["expr"] for alert in ALERTS)]
)
def test_a_query_names_only_what_is_exported(query: str) -> None:
    assert strangers(query) == []
    assert "idemproxy" in query


@pytest.mark.parametrize(
    "query",
    [
        "idemproxy_item_total",
        'idemproxy_items_total{result="x"}',
        "sum by (tenant) (idemproxy_items_total)",
        "idemproxy:nothing:rate5m",
        "idemproxy_overhead_seconds",
    ],
)
def test_a_query_that_names_something_else_is_noticed(query: str) -> None:
    assert strangers(query)


def test_the_dashboard_is_whole() -> None:
    assert DASHBOARD["schemaVersion"] == 42
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    for query in queries():
        assert set(re.findall(r"\$\{?(\w+)", query)) <= variables
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    text = " ".join([*queries(), *RECORDED.values(), *(alert["expr"] for alert in ALERTS)])
    text += json.dumps(DASHBOARD["templating"])
    for family in FAMILIES:
        assert PREFIX + family.name in text, family.name


# ---- a real Prometheus ------------------------------------------------------------------------

CONFIG = """\
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: ["{folder}/recording-rules.yaml", "{folder}/alerts.yaml"]
scrape_configs:
  - job_name: idemproxy
    static_configs: [{{targets: ["{target}"], labels: {{namespace: shop, pod: p1}}}}]
"""


@pytest.fixture
def prometheus(served: Served, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that scrapes the admin port; its URL."""
    port = free_port()
    target = urllib.parse.urlsplit(served.url).netloc
    # The recording rules' own interval would make the test wait for half a minute.
    for name in ("recording-rules.yaml", "alerts.yaml"):
        text = (FOLDER / name).read_text().replace("    interval: 30s\n", "")
        (tmp_path / name).write_text(text)
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(folder=tmp_path, target=target))
    words = [
        *(program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def answer(url: str, query: str) -> list[Any]:
    """The result of an instant query."""
    asked = urllib.parse.urlencode({"query": query})
    heard = ask("GET", f"{url}/api/v1/query?{asked}")
    assert heard.status == 200, f"{query}: {heard.body.decode()}"
    found: list[Any] = heard.json["data"]["result"]
    return found


def concrete(query: str) -> str:
    """As Grafana asks it, with everything chosen."""
    query = query.replace("$__rate_interval", "1m")
    return re.sub(r'"\$(namespace|pod|rule)"', '".*"', query)


@pytest.mark.slow
@pytest.mark.process
async def test_every_query_of_the_dashboard_has_an_answer(served: Served, prometheus: str) -> None:
    def ready() -> bool:
        try:
            return bool(answer(prometheus, "idemproxy:batch_success:ratio_rate5m > 0"))
        except (OSError, AssertionError, ValueError):
            return False

    end = time.monotonic() + 60
    while not await asyncio.to_thread(ready):
        told(served.office.metrics)
        served.office.metrics.batch(replace(REPORT, result="success"))
        assert time.monotonic() < end, "Prometheus has no figure after a minute"
        await asyncio.sleep(0.2)
    empty = [q for q in queries() if not await asyncio.to_thread(answer, prometheus, concrete(q))]
    assert empty == []
    missing = [n for n in RECORDED if not await asyncio.to_thread(answer, prometheus, n)]
    assert missing == []
    # Alerts are judged at intervals of their own, after what they look at is there.
    alerts: set[str] = set()
    while "IdemproxyDoubtfulItems" not in alerts:
        assert time.monotonic() < end, f"after a minute only {alerts}"
        told(served.office.metrics)
        await asyncio.sleep(0.2)
        alerts = {
            one["metric"]["alertname"]
            for one in await asyncio.to_thread(answer, prometheus, "ALERTS")
        }
