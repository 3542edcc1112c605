"""What Redis itself lost, read from its own append-only files. Law: exact, or it is no excuse.

A failover to a replica that had not seen the last writes loses data that was acknowledged. Every
server of a run writes an append-only file, so that afterwards the last value that a server had of
a key, when it died or was made a copy of another, can be held against all that its partner ever
had. A value that the partner never had is lost, and only such a key excuses a second effect.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from proxy.core import codec
from proxy.core.record import Done
from tests.chaos.resp import Cutter, words

_FILE: Final = re.compile(r"\.(\d+)\.(base|incr)\.aof$")
Values = dict[bytes, list[bytes]]


class History:
    """One server's values. ``take`` its files when it is dead and before it is started again."""

    def __init__(self) -> None:
        self.had: Values = {}
        """Every value that each key ever had here, in order."""
        self._ends: list[dict[bytes, bytes | None]] = []
        self._now: dict[bytes, bytes | None] = {}

    def take(self, folder: Path) -> None:
        """Read and remove the files; what they end with is the end of a life of this server."""
        if temporary := list(folder.glob("temp-*")):
            raise ValueError(f"a file was being made anew: {temporary}")
        files = [(int(m[1]), m[2], f) for f in folder.glob("*.aof") if (m := _FILE.search(f.name))]
        for _, kind, file in sorted(files):
            if kind == "base":
                self._end_life()
            for key, value in _writes(file.read_bytes()):
                self._now[key] = value
                if value is not None:
                    self.had.setdefault(key, []).append(value)
            file.unlink()
        self._end_life()
        for manifest in folder.glob("*.manifest"):
            manifest.unlink()

    def _end_life(self) -> None:
        self._ends.append(self._now)
        self._now = {}

    def ends(self) -> Iterator[tuple[bytes, bytes]]:
        """Each key's last value in each of this server's lives."""
        for life in self._ends:
            yield from ((key, value) for key, value in life.items() if value is not None)

    @property
    def last_life(self) -> dict[bytes, bytes]:
        return {k: v for k, v in (self._ends[-1] if self._ends else {}).items() if v is not None}


def lost(pairs: Iterable[tuple[History, History]]) -> set[bytes]:
    """Keys of which a server had a value that its partner, its successor, never saw. ``pairs``:
    the server that is a master at the end stands first: its last life is not lost."""
    found: set[bytes] = set()
    for master, other in pairs:
        for server, partner in ((master, other), (other, master)):
            alive = server.last_life if server is master else {}
            for key, value in server.ends():
                if alive.get(key) != value and value not in partner.had.get(key, ()):
                    found.add(key)
    return found


def first_times(histories: Iterable[History]) -> dict[bytes, set[int]]:
    """``processedAt`` of every DONE record that a key ever had."""
    times: dict[bytes, set[int]] = {}
    for history in histories:
        for key, values in history.had.items():
            done = [r for r in map(codec.decode, values) if isinstance(r, Done)]
            if done:
                times.setdefault(key, set()).update(r.processed_at for r in done)
    return times


Write = tuple[bytes, bytes | None]


def _writes(data: bytes) -> Iterator[Write]:
    """(key, value) of each write, None where the key goes. A transaction, as a script's effects
    are one, is one step: of each key its last write counts, and a torn one is none, as for Redis
    when it reads the file, for its replicas, and for every client."""
    transaction: dict[bytes, bytes | None] | None = None
    for command in Cutter().feed(data):
        name, *arguments = words(command)
        word = name.upper()
        if word == b"MULTI":
            transaction = {}
        elif word == b"EXEC":
            yield from (transaction or {}).items()
            transaction = None
        elif transaction is None:
            yield from _written(word, arguments)
        else:
            transaction.update(_written(word, arguments))


def _written(word: bytes, arguments: list[bytes]) -> list[Write]:
    if word in {b"SET", b"PSETEX", b"SETEX"}:
        return [(arguments[0], arguments[-1] if word != b"SET" else arguments[1])]
    if word in {b"DEL", b"UNLINK"}:
        return [(key, None) for key in arguments]
    if word in {b"RESTORE", b"RESTORE-ASKING"}:
        return [(arguments[0], string_of_dump(arguments[2]))]
    if word not in {b"SELECT", b"PEXPIREAT", b"PING", b"FUNCTION"}:
        raise ValueError(f"an unknown write: {word!r}")
    return []


def string_of_dump(dump: bytes) -> bytes:
    """A plain string out of DUMP's format (rdbcompression off)."""
    if dump[0] != 0:
        raise ValueError("not a string")
    first = dump[1]
    if first >> 6 == 0:
        at, size = 2, first & 63
    elif first >> 6 == 1:
        at, size = 3, (first & 63) << 8 | dump[2]
    elif first == 0x80:
        at, size = 6, struct.unpack_from(">I", dump, 2)[0]
    else:
        raise ValueError("compressed or a number")
    return dump[at : at + size]
