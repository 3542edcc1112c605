"""The notifications and their tables. Law: uniqueness is (tenant, key), and a batch goes in whole
or not at all.

With ``marks_first`` the keys are marked, and the marks kept, before anything else is known of the
batch: a rejected batch leaves its keys marked, and nothing behind the marks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FIRST_ID = 17_000_000_000_000_000_001
"""Needs all 64 bits, and more digits than a double has."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notifications (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL,
    UNIQUE (tenant, key)
);
CREATE TABLE IF NOT EXISTS marks (tenant TEXT, key TEXT, PRIMARY KEY (tenant, key)) WITHOUT ROWID;
"""

ERRORS = {"SENT": (0, ""), "SCHEDULED": (0, ""), "FAILED": (20, "a receiver is blocked")}


class DuplicateKeyError(Exception):
    """Some key of the batch was used before; nobody is told which."""


@dataclass(frozen=True, slots=True)
class Notification:
    key: str
    receivers: tuple[str, ...]
    channel: str
    template_id: str
    template_params: dict[str, Any]
    strategy: str

    @property
    def status(self) -> str:
        """What becomes of it once it is in the table. A blocked receiver is known only then."""
        if any(receiver.startswith("blocked:") for receiver in self.receivers):
            return "FAILED"
        return "SENT" if self.strategy == "IMMEDIATE" else "SCHEDULED"

    @property
    def content(self) -> str:
        shown = {
            "receivers": self.receivers,
            "channel": self.channel,
            "templateId": self.template_id,
            "templateParams": self.template_params,
        }
        return json.dumps(shown, ensure_ascii=False)


class Outbox:
    """The tables. ``path`` may be ``:memory:``."""

    def __init__(self, path: str, *, marks_first: bool = False) -> None:
        self._marks_first = marks_first
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def send(self, tenant: str, batch: Sequence[Notification]) -> list[dict[str, Any]]:
        """Take every notification. Raises DuplicateKeyError with none taken."""
        if self._marks_first:
            self._mark(tenant, [n.key for n in batch])
        self._db.execute("BEGIN IMMEDIATE")
        try:
            numbers = [
                self._db.execute(
                    "INSERT INTO notifications (tenant, key, content, status) VALUES (?, ?, ?, ?)",
                    (tenant, n.key, n.content, n.status),
                ).lastrowid
                for n in batch
            ]
        except sqlite3.IntegrityError as error:
            self._db.execute("ROLLBACK")
            raise DuplicateKeyError from error
        self._db.execute("COMMIT")
        return [result(number, n.status) for number, n in zip(numbers, batch, strict=True)]

    def _mark(self, tenant: str, keys: Sequence[str]) -> None:
        """Mark every key for good. Raises DuplicateKeyError where any was marked already."""
        marked = 0
        for key in keys:
            row = (tenant, key)
            added = self._db.execute("INSERT OR IGNORE INTO marks (tenant, key) VALUES (?, ?)", row)
            marked += added.rowcount
        if marked < len(keys):
            raise DuplicateKeyError

    def find(self, tenant: str, key: str) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT seq, status, content FROM notifications WHERE tenant = ? AND key = ?",
            (tenant, key),
        ).fetchone()
        if row is None:
            return None
        return {**result(row[0], row[1]), "key": key, **json.loads(row[2])}

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM notifications").fetchone()[0])

    def close(self) -> None:
        self._db.close()


def result(number: int | None, status: str) -> dict[str, Any]:
    """One element of ``results``. The table's own numbers start at 1."""
    code, message = ERRORS[status]
    return {
        "notificationId": FIRST_ID - 1 + (number or 0),
        "status": status,
        "errorCode": code,
        "errorMessage": message,
    }
