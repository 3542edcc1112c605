"""The payments and their table. Law: a batch is booked whole, in one transaction, or not at all.

The database is used from the event loop itself, without a thread: it is one small file, and one
writer at a time is what SQLite has anyway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FIRST_ID = 9_007_199_254_740_993
"""Beyond what a double holds exactly: an id that was read as a float comes back as another one."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    payee TEXT NOT NULL,
    amount INTEGER NOT NULL,
    UNIQUE (tenant, key)
);
"""


class InvalidPaymentError(Exception):
    """An item that cannot be booked; the message does not say which of the batch it is."""


class DuplicateKeyError(Exception):
    """Some key of the batch was used before; nobody is told which."""


@dataclass(frozen=True, slots=True)
class Payment:
    key: str
    payee: str
    amount: int

    @classmethod
    def read(cls, item: Any) -> Payment:
        """Raises InvalidPaymentError."""
        if not isinstance(item, dict):
            raise InvalidPaymentError("a payment is an object")
        key, payee, amount = item.get("key"), item.get("to"), item.get("amount")
        if not isinstance(key, str) or not key:
            raise InvalidPaymentError("key must be a text")
        if not isinstance(payee, str) or not payee:
            raise InvalidPaymentError("to must be a text")
        if not isinstance(amount, int) or isinstance(amount, bool) or amount <= 0:
            raise InvalidPaymentError("amount must be above 0")
        return cls(key, payee, amount)


class Payments:
    """The table. ``path`` may be ``:memory:``."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        if self._db.execute("SELECT count(*) FROM sqlite_sequence").fetchone() == (0,):
            first = ("payments", FIRST_ID - 1)
            self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", first)

    def book(self, tenant: str, payments: Sequence[Payment]) -> list[dict[str, Any]]:
        """Book every payment, in order. Raises DuplicateKeyError with nothing done."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            ids = [
                self._db.execute(
                    "INSERT INTO payments (tenant, key, payee, amount) VALUES (?, ?, ?, ?)",
                    (tenant, p.key, p.payee, p.amount),
                ).lastrowid
                for p in payments
            ]
        except sqlite3.IntegrityError as error:
            self._db.execute("ROLLBACK")
            raise DuplicateKeyError from error
        self._db.execute("COMMIT")
        return [_shown(i, p.key, p.amount) for i, p in zip(ids, payments, strict=True)]

    def find(self, tenant: str, key: str) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT id, key, amount FROM payments WHERE tenant = ? AND key = ?", (tenant, key)
        ).fetchone()
        return None if row is None else _shown(*row)

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM payments").fetchone()[0])

    def close(self) -> None:
        self._db.close()


def _shown(payment_id: int | None, key: str, amount: int) -> dict[str, Any]:
    return {"id": payment_id, "key": key, "amount": amount, "status": "BOOKED"}
