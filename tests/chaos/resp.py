"""The wire of Redis, as far as a link must understand it. Law: bytes in, bytes out, no I/O.

A link cuts the two streams into whole messages, so that it knows which call is on its way, and
puts the links' ports in place of the nodes' own wherever Redis names a node.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from proxy.store import wire

CLAIM: Final = sha1(wire.CLAIM_SCRIPT.encode(), usedforsecurity=False).hexdigest().encode()
SETTLE: Final = sha1(wire.SETTLE_SCRIPT.encode(), usedforsecurity=False).hexdigest().encode()
SENT, COMMIT, DOUBT = 1, 3, 5
_GROUP: Final = struct.Struct(">HBB12s")
_TERMS: Final = 18


def end_of(data: bytes | bytearray, at: int = 0) -> int | None:
    """Where the message that begins at ``at`` ends; None where it is not whole yet."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, text = data[at : at + 1], bytes(data[at + 1 : line])
    line += 2
    if kind in b"+-:":
        return line
    count = int(text)
    if count < 0:
        return line
    if kind == b"$":
        return line + count + 2 if len(data) >= line + count + 2 else None
    if kind != b"*":
        raise ValueError(f"not RESP: {bytes(data[at : at + 20])!r}")
    for _ in range(count):
        following = end_of(data, line)
        if following is None:
            return None
        line = following
    return line


class Cutter:
    """A stream into whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        found: list[bytes] = []
        while self._buffer and (end := end_of(self._buffer)) is not None:
            found.append(bytes(self._buffer[:end]))
            del self._buffer[:end]
        return found


def words(command: bytes) -> list[bytes]:
    """A command's arguments."""
    found: list[bytes] = []
    at = command.index(b"\r\n") + 2
    while at < len(command):
        line = command.index(b"\r\n", at)
        size = int(command[at + 1 : line])
        found.append(command[line + 2 : line + 2 + size])
        at = line + 2 + size + 2
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """``steps``: of a settle, the kinds of its steps."""

    word: bytes
    claims: bool = False
    steps: frozenset[int] = frozenset()


def read_command(data: bytes) -> Command:
    arguments = words(data)
    word = arguments[0].upper()
    if word == b"EVALSHA" and arguments[1] == CLAIM:
        return Command(word, claims=True)
    if word == b"EVALSHA" and arguments[1] == SETTLE:
        fields = arguments[3 + int(arguments[2])]
        return Command(word, steps=frozenset(_steps(fields)))
    return Command(word)


def _steps(fields: bytes) -> set[int]:
    kinds: set[int] = set()
    at = 0
    while at < len(fields):
        count, kind, flags, _ = _GROUP.unpack_from(fields, at)
        kinds.add(kind)
        at += _GROUP.size + _TERMS
        if kind == DOUBT and flags & 1:
            at += 16 * count
    return kinds


class Conversation:
    """One connection: which reply answers which command, and ports replaced in what names nodes.

    ``ports``: a node's own port -> the link's. All have the same number of digits, as the
    ephemeral ports do, so that no length changes.
    """

    def __init__(self, ports: Mapping[int, int]) -> None:
        self._ports = [(b"%d" % real, b"%d" % shown) for real, shown in ports.items()]
        self._onward = Cutter()
        self._back = Cutter()
        self._asked: deque[Command] = deque()

    def onward(self, data: bytes) -> list[tuple[Command, bytes]]:
        read = [(read_command(message), message) for message in self._onward.feed(data)]
        self._asked += (command for command, _ in read)
        return read

    def back(self, data: bytes) -> list[tuple[Command, bytes]]:
        answered: list[tuple[Command, bytes]] = []
        for message in self._back.feed(data):
            command = self._asked.popleft()
            names = command.word in {b"CLUSTER", b"SENTINEL"}
            moved = message.startswith((b"-MOVED", b"-ASK"))
            answered.append((command, self._shown(message) if names or moved else message))
        return answered

    def _shown(self, message: bytes) -> bytes:
        for real, shown in self._ports:
            for before, after in ((b":", b"\r\n"), (b"\r\n", b"\r\n")):
                message = message.replace(before + real + after, before + shown + after)
        return message
