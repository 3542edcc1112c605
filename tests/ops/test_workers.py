"""Several workers are one proxy to whoever looks: counters add up, a reload reaches all."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import PREFIX
from tests.fakes.processes import Proxy, ask, example, proxy
from tests.fakes.redis_server import standalone

pytestmark = [pytest.mark.process, pytest.mark.store]

RULES = (Path(__file__).resolve().parents[2] / "examples/legacy/rules.yaml").read_text()
BATCHES, ITEMS = 40, 3


def metric(running: Proxy, name: str, **labels: str) -> float:
    text = ask("GET", f"{running.admin}/metrics").body.decode()
    samples = [
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == PREFIX + name and labels.items() <= one.labels.items()
    ]
    return float(sum(samples))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_workers_count_as_one(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    with (
        standalone() as redis,
        example("legacy", log=tmp_path / "legacy.log") as service,
        proxy(file, service, tmp_path / "log", STORE=redis.url, WORKERS="2") as running,
    ):
        for turn in range(BATCHES):
            batch = [{"key": f"{turn}-{n}", "to": "ada", "amount": 5} for n in range(ITEMS)]
            url = f"{running.url}/api/payments/batch"
            heard = ask("POST", url, {"payments": batch}, {"X-Tenant-Id": "t"})
            assert heard.status == 201

        def counted() -> float:
            return metric(running, "items_total", rule="payments", outcome="new")

        until(lambda: counted() == BATCHES * ITEMS)  # an answer goes out before it is counted
        # Each question is a connection of its own, and any of the two may answer it.
        assert {counted() for _ in range(10)} == {BATCHES * ITEMS}
        assert metric(running, "request_duration_seconds_count", rule="payments") == BATCHES
        assert metric(running, "in_flight_items") == 0
        assert metric(running, "store_up") == 1
        log = (tmp_path / "log").read_text()
        assert log.count('"message":"serving"') == 2

        file.write_text(RULES.replace("max_items: 100", "max_items: 50"))
        running.process.popen.send_signal(signal.SIGHUP)
        until(lambda: metric(running, "rules_reload_total", result="accepted") >= 2)
        sizes = {
            ask("GET", f"{running.admin}/v1/rules").json["rules"][0]["source"]["upstream"][
                "max_items"
            ]
            for _ in range(10)
        }
        assert sizes == {50}
