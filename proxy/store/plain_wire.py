"""Claims as plain Redis commands, and what is usually answered to them, as they stand on the wire.
Law: pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from proxy.core.native import sets

_SET: Final = b"*7\r\n$3\r\nSET"
_NEW: Final = b"\r\n$2\r\nNX\r\n$3\r\nGET\r\n$4\r\nPXAT"


def claims(
    keys: Sequence[bytes], fingerprints: Sequence[bytes | None], head: bytes, expires: int
) -> bytes | None:
    """Each key's claim, which writes only where nothing stands, and is answered with what does.
    ``head``: what stands before its fingerprint. None where an item has none."""
    text = b"%d" % expires
    tail = b"%b\r\n$%d\r\n%b\r\n" % (_NEW, len(text), text)
    if sets is not None:
        return sets(_SET, keys, head, fingerprints, tail)
    if None in fingerprints:
        return None
    return b"".join(
        [
            b"%b\r\n$%d\r\n%b\r\n$%d\r\n%b%b%b"
            % (_SET, len(key), key, len(head) + len(one), head, one, tail)  # type: ignore[arg-type,str-format]
            for key, one in zip(keys, fingerprints, strict=True)
        ]
    )


@lru_cache(maxsize=128)
def usual_reply(count: int) -> bytes:
    """To so many claims: all keys were new."""
    return b"$-1\r\n" * count
