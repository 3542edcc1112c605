"""One call of a script: the command, and its reply. Law: pure.

A script answers with a list of one reply a key, or with one of a single byte for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import hiredis

from proxy.core.native import command
from proxy.errors import StoreUnavailable
from proxy.store.pipe import pack, words
from proxy.store.wire import Arguments


class SlotMoves(StoreUnavailable):
    """A command's keys are on both sides of a slot's move. Nothing was done."""


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """``call``: the first words of a call of it, packed; ``empty``: a call of it for no key, which
    does nothing. ``usual``: the byte that it mostly answers with for all keys, and ``usual_reply``
    that on the wire. ``turns`` of the event loop for which small calls of it are collected; a large
    one ``gives_way``, or not (``Pipe``)."""

    call: bytes
    empty: bytes
    load: bytes
    usual: bytes
    usual_reply: bytes
    turns: int
    gives_way: bool

    @classmethod
    def of(cls, text: str, usual: bytes, turns: int = 1, *, gives_way: bool = False) -> Script:
        source = text.encode()
        digest = sha1(source, usedforsecurity=False).hexdigest().encode()
        return cls(
            words((b"EVALSHA", digest)),
            pack(b"EVALSHA", digest, 0, b""),
            pack(b"SCRIPT", b"LOAD", source),
            usual,
            b"$1\r\n%b\r\n" % usual,
            turns,
            gives_way,
        )


def command_of(script: Script, keys: Sequence[bytes], arguments: Arguments) -> bytes:
    """An EVALSHA as it stands on the wire."""
    fields, more, values = arguments.fields, arguments.more, arguments.values
    if command is not None:
        return command(script.call, keys, fields, more, values)
    number = b"%d" % len(keys)
    return b"".join(
        (
            b"*%d\r\n" % (4 + len(keys) + more),
            script.call,
            b"$%d\r\n%b\r\n" % (len(number), number),
            words(keys),
            b"$%d\r\n" % len(fields),
            fields,
            values,
            b"\r\n",
        )
    )


def replies_of(reply: Any, count: int) -> list[bytes]:
    """One a key, of so many. Raises StoreUnavailable."""
    if type(reply) is bytes and len(reply) == 1:
        return [reply] * count  # it is the reply of every key
    replies: list[bytes] = checked(reply, count)
    return replies


def checked(reply: Any, count: int) -> Any:
    """A reply that is a list of so many. Raises StoreUnavailable."""
    if isinstance(reply, hiredis.ReplyError):
        if str(reply).startswith("TRYAGAIN"):
            raise SlotMoves(str(reply))
        raise StoreUnavailable(f"Redis refuses: {reply}")
    if not isinstance(reply, list) or len(reply) != count:
        raise StoreUnavailable(f"Redis answers what was not asked: {type(reply).__name__}")
    return reply
