"""What the legacy service did, on disk. Law: an effect is a committed row, and nothing else is.

All or nothing: a batch is one transaction. Where the service detects duplicates, a unique index
over (endpoint, tenant, key) does, and so atomically; elsewhere every execution is an effect.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST_ID = 2**63
"""Ids that no float holds."""


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """One operation: whose key at which endpoint."""

    endpoint: str
    tenant: str
    key: str


@dataclass(frozen=True, slots=True)
class Effect:
    name: Name
    value: str
    attempt: int
    """Which request of a client the service was called for."""
    at: float
    raw: bytes
    """The service's own result."""


class DuplicateError(Exception):
    """A key of the batch was used before; nothing was done."""


class Ledger:
    def __init__(self, path: Path, *, detects: bool) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA busy_timeout=5000")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS effects (number INTEGER PRIMARY KEY, endpoint TEXT,"
            " tenant TEXT, key TEXT, value TEXT, attempt INTEGER, at REAL, raw BLOB)"
        )
        unique = "UNIQUE" if detects else ""
        self._db.execute(
            f"CREATE {unique} INDEX IF NOT EXISTS names ON effects (endpoint, tenant, key)"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS faults (kind TEXT)")

    def execute(
        self, endpoint: str, tenant: str, attempt: int, items: Sequence[tuple[str, str]]
    ) -> list[bytes]:
        """Do all of ``items``, (key, value) each; their results. Raises DuplicateError."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = [self._insert(Name(endpoint, tenant, k), v, attempt) for k, v in items]
        except sqlite3.IntegrityError as error:
            self._db.execute("ROLLBACK")
            raise DuplicateError from error
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return results

    def _insert(self, name: Name, value: str, attempt: int) -> bytes:
        (number,) = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM effects").fetchone()
        key, said = json.dumps(name.key), json.dumps(value)
        raw = f'{{"id": {FIRST_ID + number}, "key":{key},"value":{said},"weight":1.0}}'.encode()
        row = (number, name.endpoint, name.tenant, name.key, value, attempt, time.time(), raw)
        self._db.execute("INSERT INTO effects VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return raw

    def find(self, name: Name) -> bytes | None:
        """The first result, where there is one."""
        row = self._db.execute(
            "SELECT raw FROM effects WHERE endpoint = ? AND tenant = ? AND key = ?"
            " ORDER BY number LIMIT 1",
            (name.endpoint, name.tenant, name.key),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def note(self, kind: str) -> None:
        """A fault that the service itself made."""
        self._db.execute("INSERT INTO faults VALUES (?)", (kind,))

    def faults(self) -> Counter[str]:
        return Counter(kind for (kind,) in self._db.execute("SELECT kind FROM faults"))

    def effects(self) -> dict[Name, list[Effect]]:
        """Everything that ever happened, in order."""
        found: defaultdict[Name, list[Effect]] = defaultdict(list)
        for row in self._db.execute(
            "SELECT endpoint, tenant, key, value, attempt, at, raw FROM effects ORDER BY number"
        ):
            name = Name(*row[:3])
            found[name].append(Effect(name, *row[3:]))
        return dict(found)

    def close(self) -> None:
        self._db.close()
