"""The whole rollout with real processes and clients that never stop: off, shadow, half, all, a bad
file, and off again. Not one request fails, and no answer has a shape that its mode does not have.
"""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy import metrics
from proxy.__main__ import main
from proxy.core.delivery import Delivery
from proxy.core.upstream import Purpose
from tests.fakes.processes import Proxy, ask, example, proxy

pytestmark = [pytest.mark.process, pytest.mark.slow]

RULES = (Path(__file__).resolve().parents[2] / "examples/legacy/rules.yaml").read_text()
PLAIN = {"id", "key", "amount", "status"}
STITCHED = PLAIN | {"isIdempotent", "processedAt"}
CLIENTS, TENANTS = 4, 16
SECRET = "s3cret"


def rules(mode: str, rollout: str = "") -> str:
    text = RULES.replace("mode: enforce", f'mode: "{mode}"{rollout}')
    assert text != RULES or mode == "enforce"
    return text


HALF = '\n    rollout: {percent: 50, rest: "shadow"}'


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer. ``during``: the phase that it began and ended in, or empty."""

    during: str
    tenant: str
    is_retry: bool
    status: int
    body: Any

    @property
    def shape(self) -> str:
        """``plain``, ``stitched`` or ``conflict``; AssertionError for everything else."""
        if self.status == 409:
            assert self.is_retry, self
            assert self.body["error"] == "DUPLICATE_KEY", self
            return "conflict"
        assert self.status == 201 or (self.is_retry and self.status == 200), self
        shapes = {frozenset(row) for row in self.body["results"]}
        assert len(shapes) == 1, self
        (shape,) = shapes
        assert shape in (PLAIN, STITCHED), self
        return "plain" if shape == PLAIN else "stitched"


@dataclass
class Clients:
    """Threads that send a new batch, then the same again, on connections that they keep."""

    url: str
    phase: str = "off"
    seen: list[Seen] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    sent: dict[str, list[Any]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=30)
        for turn in itertools.count():
            if self.stop.is_set():
                connection.close()
                return
            tenant = f"t{(number + turn * CLIENTS) % TENANTS}"
            batch = [
                {"key": f"{number}-{turn}-{n}", "to": f"{SECRET}-body", "amount": 100 + n}
                for n in range(5)
            ]
            try:
                for is_retry in (False, True):
                    self.send(connection, tenant, batch, is_retry=is_retry)
            except Exception as error:  # noqa: BLE001 -- whatever it is, a client was failed
                self.failures.append(f"{self.phase}: {error!r}")
                return
            self.sent.setdefault(self.phase, []).append((tenant, batch))

    def send(
        self,
        connection: http.client.HTTPConnection,
        tenant: str,
        batch: list[Any],
        *,
        is_retry: bool,
    ) -> None:
        began = self.phase
        headers = {"X-Tenant-Id": tenant, "Authorization": f"Bearer {SECRET}-token"}
        headers |= {"Content-Type": "application/json"}
        body = json.dumps({"payments": batch})
        connection.request("POST", "/api/payments/batch", body, headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        during = began if began == self.phase else ""
        seen = Seen(during, tenant, is_retry, answer.status, document)
        if seen.shape != "conflict":
            keys = [row["key"] for row in document["results"]]
            assert keys == [item["key"] for item in batch], "order and count"
        self.seen.append(seen)

    def of(self, phase: str) -> list[Seen]:
        return [one for one in self.seen if one.during == phase]

    def wait(self, phase: str, requests: int = 400) -> None:
        """Until that many requests were in this phase from their beginning to their end."""
        end = time.monotonic() + 60
        while len(self.of(phase)) < requests:
            assert not self.failures, self.failures
            assert time.monotonic() < end, f"{phase}: {len(self.of(phase))} requests in a minute"
            time.sleep(0.02)


@contextmanager
def clients(url: str) -> Iterator[Clients]:
    made = Clients(url)
    threads = [threading.Thread(target=made.run, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        for thread in threads:
            thread.join(30)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"not {what} in time"
        time.sleep(0.02)


class Rollout:
    def __init__(self, running: Proxy, file: Path, load: Clients) -> None:
        self.running, self.file, self.load = running, file, load

    def change(self, phase: str, text: str, *, told: bool = False) -> None:
        """Edit the file; the phase begins when the proxy says that the rules are in force."""
        before = self.reload()
        self.load.phase = ""
        self.file.write_text(text)
        if told:
            self.running.process.popen.send_signal(signal.SIGHUP)
        until(lambda: self.reload() != before, "reloaded")
        self.load.phase = phase

    def reload(self) -> Any:
        return ask("GET", f"{self.running.admin}/v1/rules").json["lastReload"]

    def metric(self, name: str, **labels: str) -> float:
        text = ask("GET", f"{self.running.admin}/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                if one.name == metrics.PREFIX + name and one.labels == labels:
                    return float(one.value)
        return 0.0

    def send(self, tenant: str, batch: list[Any]) -> Any:
        url = f"{self.running.url}/api/payments/batch"
        heard = ask("POST", url, {"payments": batch}, {"X-Tenant-Id": tenant})
        return heard.status, heard.json


def shapes(seen: list[Seen], *, is_retry: bool) -> set[str]:
    return {one.shape for one in seen if one.is_retry is is_retry}


def test_off_shadow_half_all_bad_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rules("off"))
    log = tmp_path / "proxy.log"
    with (
        example("legacy", log=tmp_path / "legacy.log") as service,
        proxy(file, service, log, STORE="memory://") as running,
        clients(running.url) as load,
    ):
        rollout = Rollout(running, file, load)
        load.wait("off")

        rollout.change("shadow", rules("shadow"))
        load.wait("shadow")
        assert main(["report", "--url", running.admin]) == 0
        assert "answered from the store" in capsys.readouterr().out

        rollout.change("half", rules("enforce", HALF))
        load.wait("half", 800)

        rollout.change("enforce", rules("enforce"), told=True)
        load.wait("enforce")
        warm(rollout)

        rollout.change("bad", rules("enforce").replace("items: /payments", "itmes: /payments"))
        load.wait("bad")
        assert rollout.reload()["result"] == "refused"
        assert rollout.metric("rules_reload_total", result="refused") == 1
        assert rollout.metric("rules_up_to_date") == 0

        rollout.change("off again", rules("off"))
        load.wait("off again")
        assert rollout.metric("rules_up_to_date") == 1
        exported(ask("GET", f"{running.admin}/metrics").body.decode())
    assert load.failures == []
    judge(load)
    told(log)


def warm(rollout: Rollout) -> None:
    """What shadow recorded is replayed: with the first result and its time."""
    tenant, batch = rollout.load.sent["shadow"][-1]
    before = rollout.metric("items_total", rule="payments", outcome="replayed")
    status, answer = rollout.send(tenant, batch)
    assert status == 200
    assert [row["isIdempotent"] for row in answer["results"]] == [True] * 5
    assert all(row["processedAt"].endswith("Z") for row in answer["results"])
    assert rollout.metric("items_total", rule="payments", outcome="replayed") >= before + 5
    # And what was done in off, which nobody recorded, the service itself knows.
    tenant, batch = rollout.load.sent["off"][-1]
    status, answer = rollout.send(tenant, batch)
    assert status in (200, 201)
    assert [row["isIdempotent"] for row in answer["results"]] == [True] * 5


def judge(load: Clients) -> None:
    for phase in ("off", "shadow", "off again"):
        assert shapes(load.of(phase), is_retry=False) == {"plain"}, phase
        assert shapes(load.of(phase), is_retry=True) == {"conflict"}, phase
    for phase in ("enforce", "bad"):
        assert shapes(load.of(phase), is_retry=False) == {"stitched"}, phase
        assert shapes(load.of(phase), is_retry=True) == {"stitched"}, phase
    by_tenant: dict[str, set[str]] = {}
    for one in load.of("half"):
        by_tenant.setdefault(one.tenant, set()).add(one.shape)
    assert len(by_tenant) == TENANTS
    assert all(seen in ({"plain", "conflict"}, {"stitched"}) for seen in by_tenant.values()), (
        "a tenant is in or out"
    )
    enforced = sum(seen == {"stitched"} for seen in by_tenant.values())
    assert 0 < enforced < TENANTS
    for one in load.seen:
        if one.shape == "stitched":
            repeats = {row["isIdempotent"] for row in one.body["results"]}
            assert one.is_retry or repeats == {False}


KNOWN = {
    "rule": {"payments"},
    "outcome": set(metrics.OUTCOMES),
    "would": {*metrics.OUTCOMES, "unreadable", "isolated", "call_saved", "retry_saved"},
    "limit": set(metrics.LIMITS),
    "reason": set(metrics.PASSED_REASONS),
    "delivery": {str(one) for one in Delivery},
    "purpose": {str(one) for one in Purpose},
    "op": {"claim", "settle", "read", "scan"},
    "result": {
        *metrics.BATCH_RESULTS,
        *metrics.DUPLICATE_RESULTS,
        *metrics.WAIT_RESULTS,
        *metrics.RELOAD_RESULTS,
    },
}


def exported(text: str) -> None:
    """The running process exports what the table says, with bounded labels, and no more."""
    families = {
        family.name: family
        for family in text_string_to_metric_families(text)
        if family.name.startswith(metrics.PREFIX)
    }
    table = {metrics.PREFIX + f.name.removesuffix("_total"): f for f in metrics.FAMILIES}
    assert set(families) == set(table)
    for name, family in families.items():
        for one in family.samples:
            assert set(one.labels) - {"le"} == set(table[name].labels)
            for label, value in one.labels.items():
                assert label not in KNOWN or value in KNOWN[label], one
    silent = {
        name.removeprefix(metrics.PREFIX)
        for name, family in families.items()
        if not any(one.value for one in family.samples)
    }
    assert silent <= {
        *("store_errors", "in_flight_items", "waits", "doubts", "settle_backlog", "limits"),
        *("commit_conflicts", "isolation_calls", "upstream_duplicates"),
    }


def told(log: Path) -> None:
    """Every line is JSON, a batch is one line, and no body or credential is in any."""
    text = log.read_text()
    assert SECRET not in text
    lines = [json.loads(line) for line in text.splitlines()]
    batches = [line for line in lines if line["message"] == "batch"]
    assert len(batches) > 1000
    assert {line["rule"] for line in batches} == {"payments"}
    assert all(sum(line["items"].values()) == 5 for line in batches)
    refused = [line for line in lines if line["message"].startswith("rules refused")]
    assert any("itmes" in line["message"] for line in refused)
