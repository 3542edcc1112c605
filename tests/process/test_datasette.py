"""End to end against Datasette, a service that nobody here wrote, on real processes.

Its write API is all or nothing and names no row. Through the proxy each row gets its own answer,
and the table holds each key once.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import processes
from tests.fakes.processes import Heard, ask

pytestmark = pytest.mark.process

RULES = processes.ROOT / "examples" / "datasette" / "rules.yaml"
INSERT = "/shop/orders/-/insert"
SECRET = "made-up-secret"
ACTIONS = ("insert-row", "update-row", "view-table")
DATASETTE = [sys.executable, "-m", "datasette"]
OLD = {"id": 7, "key": "old", "sku": "tea", "quantity": 3}
SCHEMA = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, sku TEXT NOT NULL, quantity INTEGER NOT NULL
);
INSERT INTO orders VALUES (7, 'old', 'tea', 3);
"""


@dataclass(frozen=True, slots=True)
class Shop:
    """Datasette with one table, and the proxy in front of it."""

    database: Path
    datasette: str
    proxy: str
    token: str

    def insert(self, *rows: Any, at: str = "", token: str = "", option: str = "") -> Heard:
        body = {"rows": rows, "return": True} | ({option: True} if option else {})
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return ask("POST", (at or self.proxy) + INSERT, body, headers)

    def stored(self) -> list[str]:
        with sqlite3.connect(self.database) as database:
            keys = [row[0] for row in database.execute("SELECT key FROM orders")]
        database.close()
        return keys

    def holds_once(self, *keys: str) -> bool:
        stored = self.stored()
        return all(stored.count(key) == 1 for key in keys)


def make_token(actor: str) -> str:
    allowed = [p for a in ACTIONS for p in ("-r", "shop", "orders", a)]
    argv = [*DATASETTE, "create-token", actor, "--secret", SECRET, *allowed]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("datasette")
    database = folder / "shop.db"
    connection = sqlite3.connect(database)
    connection.executescript(SCHEMA)
    connection.close()
    port = processes.free_port()
    argv = [*DATASETTE, "serve", str(database), "-p", str(port), "--secret", SECRET, "--root"]
    url = f"http://127.0.0.1:{port}"
    with (
        processes.listening(argv, port, folder / "datasette.log"),
        processes.proxy(RULES, url, folder / "proxy.log") as running,
    ):
        yield Shop(database, url, running.url, make_token("root"))


def order(key: str | None, sku: str | None = "tea", **more: Any) -> dict[str, Any]:
    return {"key": key, "sku": sku, "quantity": 1, **more}


def codes(heard: Heard) -> list[str]:
    """Per row: done (new), again (done before), or the code of its error."""
    shown = []
    for row in heard.json["rows"]:
        done = "again" if row["isIdempotent"] else "done"
        shown.append(row["error"]["code"] if row.get("error") else done)
    return shown


def test_datasette_alone_fails_the_whole_batch_and_names_no_row(shop: Shop) -> None:
    heard = shop.insert(order("alone"), order("old"), at=shop.datasette)
    assert heard.status == 400
    assert heard.json["errors"] == ["UNIQUE constraint failed: orders.key"]
    assert shop.stored().count("alone") == 0


def test_new_rows_get_datasettes_own_answer_with_the_fields_added(shop: Shop) -> None:
    heard = shop.insert(order("a1"), order("a2"))
    assert heard.status == 201
    assert heard.json["ok"] is True
    assert [row["key"] for row in heard.json["rows"]] == ["a1", "a2"]
    for row in heard.json["rows"]:
        assert set(row) == {"id", "key", "sku", "quantity", "isIdempotent", "processedAt"}
        assert row["isIdempotent"] is False
    assert heard.headers["idempotency-items"] == "new=2, replayed=0, failed=0"
    assert shop.holds_once("a1", "a2")


def test_a_retry_with_a_new_row_among_old_ones(shop: Shop) -> None:
    first = shop.insert(order("b1"), order("b2")).json["rows"]
    heard = shop.insert(order("b1"), order("b3"), order("b2"))
    assert codes(heard) == ["again", "done", "again"]
    rows = heard.json["rows"]
    assert rows[0] == first[0] | {"isIdempotent": True}
    assert rows[2] == first[1] | {"isIdempotent": True}
    again = shop.insert(order("b1"), order("b3"), order("b2"))
    assert again.headers["idempotent-replayed"] == "true"
    assert [r["id"] for r in again.json["rows"]] == [r["id"] for r in rows]
    assert shop.holds_once("b1", "b2", "b3")


def test_one_key_repeated_inside_a_batch(shop: Shop) -> None:
    heard = shop.insert(order("c1"), order("c2"), order("c1"), order("c1", "coffee"))
    assert codes(heard) == ["done", "done", "again", "PAYLOAD_MISMATCH"]
    assert heard.status == 207
    assert heard.json["rows"][2]["id"] == heard.json["rows"][0]["id"]
    assert shop.holds_once("c1", "c2")


def test_a_row_that_was_there_before_the_proxy(shop: Shop) -> None:
    heard = shop.insert(order("d1"), order("old", quantity=3), order("d2"))
    assert codes(heard) == ["done", "again", "done"]
    assert heard.json["rows"][1].items() >= OLD.items()
    assert shop.holds_once("old", "d1", "d2")


def test_an_old_row_with_other_content_is_not_shown(shop: Shop) -> None:
    database = sqlite3.connect(shop.database)
    database.execute("INSERT INTO orders (key, sku, quantity) VALUES ('hidden', 'gold', 1)")
    database.commit()
    database.close()
    heard = shop.insert(order("hidden", "tin"), order("e1"))
    assert codes(heard) == ["PAYLOAD_MISMATCH", "done"]
    assert b"gold" not in heard.body


def test_a_bad_row_alone_fails_and_can_be_corrected(shop: Shop) -> None:
    heard = shop.insert(order("f1"), order("f2", None), order("f3"))
    assert heard.status == 207
    assert codes(heard) == ["done", "UPSTREAM_REJECTED", "done"]
    error = heard.json["rows"][1]["error"]
    assert error["message"] == "NOT NULL constraint failed: orders.sku"
    assert error["retryable"] is False
    assert codes(shop.insert(order("f1"), order("f2"), order("f3"))) == ["again", "done", "again"]
    assert shop.holds_once("f1", "f2", "f3")


def test_only_bad_rows_get_datasettes_own_answer(shop: Shop) -> None:
    direct = shop.insert(order("g1", None), order("g2", None), at=shop.datasette)
    heard = shop.insert(order("g1", None), order("g2", None))
    assert (heard.status, heard.body) == (direct.status, direct.body)


def test_rows_that_come_back_in_another_order(shop: Shop) -> None:
    batch = [order("h1", id=9002), order("h2", id=9001), order("h3", id=9000)]
    direct = [{**row, "key": f"direct-{row['key']}", "id": row["id"] + 10} for row in batch]
    answered = shop.insert(*direct, at=shop.datasette).json["rows"]
    assert [row["id"] for row in answered] == [9010, 9011, 9012]
    heard = shop.insert(*batch)
    assert [row["id"] for row in heard.json["rows"]] == [9002, 9001, 9000]
    assert [row["key"] for row in heard.json["rows"]] == ["h1", "h2", "h3"]


def test_a_batch_of_250_with_everything_in_it(shop: Shop) -> None:
    done = {10, 199}
    before = {row["key"]: row for row in shop.insert(*(order(f"i{n}") for n in done)).json["rows"]}
    batch = [order(f"i{n}") for n in range(250)]
    batch[120] = order("old", quantity=3)
    batch[200] = order("i200", None)
    batch[249] = order("i5")
    heard = shop.insert(*batch)
    expected = ["done"] * 250
    for n in (10, 120, 199, 249):
        expected[n] = "again"
    expected[200] = "UPSTREAM_REJECTED"
    assert codes(heard) == expected
    assert heard.status == 207
    rows = heard.json["rows"]
    for n, row in enumerate(rows):
        if n != 200:
            assert row["key"] == batch[n]["key"]
    assert rows[10]["id"] == before["i10"]["id"]
    assert rows[249]["id"] == rows[5]["id"]
    assert shop.holds_once("old", *(f"i{n}" for n in range(249) if n not in {120, 200}))
    assert len(shop.stored()) == len(set(shop.stored()))


def test_eight_clients_send_the_same_rows_at_once(shop: Shop) -> None:
    keys = [f"m{n}" for n in range(12)]
    batches = [[order(key) for key in (keys, keys[::-1])[n % 2]] for n in range(8)]
    with ThreadPoolExecutor(8) as clients:
        heard = list(clients.map(lambda rows: shop.insert(*rows), batches))
    by_key: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for batch, answer in zip(batches, heard, strict=True):
        assert [row["key"] for row in answer.json["rows"]] == [row["key"] for row in batch]
        for row in answer.json["rows"]:
            by_key[row["key"]].append(row)
    for rows in by_key.values():
        assert len({(row["id"], row["processedAt"]) for row in rows}) == 1
        assert [row["isIdempotent"] for row in rows].count(False) == 1
    assert shop.holds_once(*keys)


def test_another_token_gets_nothing_from_the_store(shop: Shop) -> None:
    assert codes(shop.insert(order("j1"))) == ["done"]
    heard = shop.insert(order("j1"), token="wrong")
    assert heard.status == 403
    assert heard.json["errors"] == ["Permission denied"]
    assert codes(shop.insert(order("j1"))) == ["again"]


@pytest.mark.parametrize("option", ["ignore", "replace"])
def test_requests_that_are_not_all_or_nothing_are_left_alone(shop: Shop, option: str) -> None:
    shop.insert(order(f"k-{option}"))
    for at in (shop.datasette, shop.proxy):
        heard = shop.insert(order(f"k-{option}"), at=at, option=option)
        assert heard.status == 201
        assert "idempotency-items" not in heard.headers


@pytest.mark.slow
def test_a_locked_database_is_unavailable_and_not_a_bad_row(shop: Shop) -> None:
    lock = sqlite3.connect(shop.database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    heard = shop.insert(order("l1"), order("l2"))
    lock.execute("ROLLBACK")
    lock.close()
    assert (heard.status, heard.json["errors"]) == (400, ["database is locked"])
    assert codes(shop.insert(order("l1"), order("l2"))) == ["done", "done"]
