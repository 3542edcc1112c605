"""End to end against the notification platform, in both its variants, on real processes.

The platform answers out of order and echoes no key; through the proxy each item gets its own
answer. The tests print what the lookups cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import processes
from tests.fakes.processes import Heard, ask

pytestmark = pytest.mark.process

FOLDER = processes.ROOT / "examples" / "notifications"
BATCH = "/api/v1/notifications/batch"
RECORD = {"key", "receivers", "channel", "templateId", "templateParams", "errorCode"}
FIELDS = {"notificationId", "status", "isIdempotent", "processedAt"}
PROCESSED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class Platform:
    direct: str
    proxy: str

    def send(self, *items: Any, at: str = "", tenant: str = "acme") -> Heard:
        headers = {"X-Tenant-Id": tenant}
        return ask("POST", (at or self.proxy) + BATCH, {"notifications": items}, headers)

    def send_direct(self, *items: Any) -> list[int]:
        """Past the proxy; the items' error codes."""
        return [r["errorCode"] for r in self.send(*items, at=self.direct).json["results"]]

    def id_of(self, key: str) -> int:
        """What the platform itself says: 0 where it has no such notification."""
        url = f"{self.direct}/api/v1/notifications?key={key}"
        found = ask("GET", url, headers={"X-Tenant-Id": "acme"}).json
        return int(found["notification"]["notificationId"])

    def calls(self) -> dict[str, int]:
        return dict(ask("GET", f"{self.direct}/api/v1/calls").json)


@contextmanager
def running(folder: Path, rules: str, *options: str) -> Iterator[Platform]:
    database = str(folder / "notifications.db")
    with (
        processes.example("notifications", "--db", database, *options, log=folder / "log") as url,
        processes.proxy(FOLDER / rules, url, folder / "proxy.log") as proxy,
    ):
        yield Platform(url, proxy.url)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("platform"), "rules.yaml") as started:
        yield started


@pytest.fixture(scope="module")
def marking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("marking")
    with running(folder, "rules-marks-first.yaml", "--marks-first") as started:
        yield started


def item(key: str, *receivers: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": key,
        "receivers": receivers or ["ada@example.org"],
        "channel": "EMAIL",
        "templateId": "welcome",
        "templateParams": {"name": key},
        "strategy": "IMMEDIATE",
    } | changes


def totals(heard: Heard) -> tuple[int, int, int, int]:
    names = ("totalCount", "successCount", "idempotentCount", "failedCount")
    total, succeeded, idempotent, failed = (heard.json[name] for name in names)
    return total, succeeded, idempotent, failed


def codes(heard: Heard) -> list[str]:
    """Per item: done (new), again (done before), or the code of its error."""
    shown = []
    for result in heard.json["results"]:
        done = "again" if result["isIdempotent"] else "done"
        shown.append(result["error"]["code"] if result.get("error") else done)
    return shown


def assert_right(platform: Platform, heard: Heard, keys: Sequence[str]) -> None:
    """Each result is the platform's own record of the key at its place, or an error."""
    assert len(heard.json["results"]) == len(keys)
    for key, result in zip(keys, heard.json["results"], strict=True):
        if result.get("error"):
            assert {"notificationId", "status", "isIdempotent", "error"} <= set(result)
            assert (result["isIdempotent"], result["status"]) == (False, "FAILED")
        else:
            assert set(result) >= FIELDS
            assert result["notificationId"] == platform.id_of(key) > 2**63
            assert PROCESSED_AT.fullmatch(result["processedAt"])


def test_each_item_gets_its_own_id_although_none_is_echoed(platform: Platform) -> None:
    keys = [f"a{n}" for n in range(20)]
    before = platform.calls()
    heard = platform.send(*map(item, keys))
    after = platform.calls()
    assert heard.status == 200
    assert codes(heard) == ["done"] * 20
    assert totals(heard) == (20, 20, 0, 0)
    assert set(heard.json["results"][0]) == FIELDS | RECORD | {"errorMessage"}
    assert_right(platform, heard, keys)
    batches, lookups = (after[name] - before[name] for name in ("batches", "lookups"))
    print(f"\n20 new notifications: {batches} batch call, {lookups} lookups")
    assert (batches, lookups) == (1, 20)


def test_a_retry_asks_the_platform_nothing(platform: Platform) -> None:
    keys = [f"b{n}" for n in range(5)]
    first = platform.send(*map(item, keys)).json["results"]
    before = platform.calls()
    heard = platform.send(*map(item, keys))
    assert platform.calls() == before
    assert codes(heard) == ["again"] * 5
    assert totals(heard) == (5, 5, 5, 0)
    assert heard.headers["idempotent-replayed"] == "true"
    assert heard.json["results"] == [r | {"isIdempotent": True} for r in first]


def test_new_old_and_foreign_ones_in_one_batch(platform: Platform) -> None:
    known = platform.send(item("c-known")).json["results"][0]
    assert platform.send_direct(item("c-foreign")) == [0]
    keys = ["c1", "c-known", "c2", "c-foreign", "c3"]
    before = platform.calls()
    heard = platform.send(*map(item, keys))
    after = platform.calls()
    assert codes(heard) == ["done", "again", "done", "again", "done"]
    assert totals(heard) == (5, 5, 2, 0)
    assert heard.json["results"][1] == known | {"isIdempotent": True}
    batches, lookups = (after[name] - before[name] for name in ("batches", "lookups"))
    print(f"\n3 new, 1 stored, 1 sent by another client: {batches} batch calls, {lookups} lookups")
    assert after["rows"] - before["rows"] == 3
    assert_right(platform, heard, keys)


def test_a_key_twice_in_one_batch_is_sent_once(platform: Platform) -> None:
    heard = platform.send(item("d1"), item("d2"), item("d1"), item("d1", channel="SMS"))
    assert codes(heard) == ["done", "done", "again", "PAYLOAD_MISMATCH"]
    assert totals(heard) == (4, 3, 1, 1)
    assert_right(platform, heard, ["d1", "d2", "d1", "d1"])


def test_another_tenant_has_keys_of_its_own(platform: Platform) -> None:
    mine = platform.send(item("e1")).json["results"][0]
    theirs = platform.send(item("e1"), tenant="other").json["results"][0]
    assert (mine["isIdempotent"], theirs["isIdempotent"]) == (False, False)
    assert mine["notificationId"] != theirs["notificationId"]


def test_a_notification_that_the_platform_could_not_deliver(platform: Platform) -> None:
    heard = platform.send(item("f1"), item("f2", "blocked:bob"))
    assert codes(heard) == ["done", "UPSTREAM_FAILED"]
    assert totals(heard) == (2, 1, 0, 1)
    failed = heard.json["results"][1]
    assert (failed["status"], failed["errorCode"]) == ("FAILED", 20)
    assert failed["notificationId"] == platform.id_of("f2")
    assert failed["error"]["retryable"] is False
    again = platform.send(item("f2", "blocked:bob"), item("f1"))
    assert codes(again) == ["UPSTREAM_FAILED", "again"]
    assert again.json["results"][0]["notificationId"] == failed["notificationId"]


def test_a_bad_item_fails_alone(platform: Platform) -> None:
    heard = platform.send(item("g1"), item("g2", channel=""), item("g3"))
    assert codes(heard) == ["done", "UPSTREAM_REJECTED", "done"]
    error = heard.json["results"][1]["error"]
    assert error["message"] == "key, channel and templateId are required"
    assert totals(heard) == (3, 2, 0, 1)
    assert_right(platform, heard, ["g1", "g2", "g3"])


def test_more_than_the_platform_takes_at_once(platform: Platform) -> None:
    keys = [f"h{n}" for n in range(130)]
    before = platform.calls()
    heard = platform.send(*map(item, keys))
    after = platform.calls()
    assert codes(heard) == ["done"] * 130
    assert totals(heard) == (130, 130, 0, 0)
    ids = [result["notificationId"] for result in heard.json["results"]]
    assert len(set(ids)) == 130
    assert after["batches"] - before["batches"] == 2
    assert [r["key"] for r in heard.json["results"]] == keys


def test_marking_platform_new_items_are_asked_for_and_then_sent(marking: Platform) -> None:
    keys = [f"a{n}" for n in range(20)]
    before = marking.calls()
    heard = marking.send(*map(item, keys))
    after = marking.calls()
    assert codes(heard) == ["done"] * 20
    assert totals(heard) == (20, 20, 0, 0)
    assert_right(marking, heard, keys)
    batches, lookups = (after[name] - before[name] for name in ("batches", "lookups"))
    print(f"\n20 new notifications, marks first: {batches} calls of one item, {lookups} lookups")
    assert (batches, lookups) == (20, 20)


def test_marking_platform_old_items_are_found_and_not_sent(marking: Platform) -> None:
    assert marking.send_direct(item("b-old")) == [0]
    before = marking.calls()
    heard = marking.send(item("b1"), item("b-old"), item("b2"))
    assert codes(heard) == ["done", "again", "done"]
    assert totals(heard) == (3, 3, 1, 0)
    assert marking.calls()["batches"] - before["batches"] == 2
    assert_right(marking, heard, ["b1", "b-old", "b2"])


@pytest.mark.parametrize("place", [0, 1, 3])
def test_marking_platform_a_poisoned_key_fails_alone(marking: Platform, place: int) -> None:
    poisoned, old = f"poisoned{place}", f"c-old{place}"
    assert marking.send_direct(item(old)) == [0]
    assert marking.send_direct(item(poisoned), item(old)) == [10, 10]
    assert marking.send_direct(item(poisoned)) == [10]
    assert marking.id_of(poisoned) == 0
    keys = [f"c{place}-{n}" for n in range(3)]
    keys.insert(place, poisoned)
    heard = marking.send(*map(item, keys))
    expected = ["done"] * 4
    expected[place] = "UPSTREAM_DUPLICATE_NOT_FOUND"
    assert codes(heard) == expected
    assert heard.json["results"][place]["error"]["retryable"] is True
    assert totals(heard) == (4, 3, 0, 1)
    assert_right(marking, heard, keys)
    again = marking.send(*map(item, keys))
    assert codes(again) == ["again" if code == "done" else code for code in expected]


def test_marking_platform_a_bad_item_poisons_nobody(marking: Platform) -> None:
    heard = marking.send(item("d1"), item("d2", channel=""), item("d3"))
    assert codes(heard) == ["done", "UPSTREAM_REJECTED", "done"]
    assert codes(marking.send(item("d2"))) == ["done"]
