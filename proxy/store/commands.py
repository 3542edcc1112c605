"""Claims and commits as plain Redis commands, and what is usually answered. Law: pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from proxy.core import codec
from proxy.core.commits import Commits
from proxy.core.keys import all_differ
from proxy.core.native import key_words, sets
from proxy.core.record import Commit, Settlement
from proxy.store.pipe import pack

_HERE: Final = Path(__file__).parent


def _script(name: str) -> bytes:
    """Without its comments, as Redis hashes it for each call."""
    lines = (_HERE / name).read_bytes().splitlines()
    return b"\n".join(line for line in lines if not line.startswith(b"--"))


# Always as text: a digest that the server does not know would let the commits through unguarded.
_PUT_ASIDE: Final = _script("put_aside.lua")
_PUT_BACK: Final = _script("put_back.lua")

_CLAIM: Final = b"*7\r\n$3\r\nSET"
_NEW: Final = b"\r\n$2\r\nNX\r\n$3\r\nGET"
_COMMIT: Final = b"*5\r\n$3\r\nSET"
_COMMIT_UNTIL: Final = b"*6\r\n$3\r\nSET"
_IF_THERE: Final = b"\r\n$2\r\nXX"
_KEPT: Final = _IF_THERE + b"\r\n$7\r\nKEEPTTL\r\n"
_EXEC: Final = pack(b"EXEC")


def _until(expires: int) -> bytes:
    text = b"%d" % expires
    return b"\r\n$4\r\nPXAT\r\n$%d\r\n%b\r\n" % (len(text), text)


def claims(
    keys: Sequence[bytes], fingerprints: Sequence[bytes | None], head: bytes, expires: int
) -> bytes | None:
    """Each key's claim, which writes only where nothing stands, and is answered with what does.
    ``head``: what stands before its fingerprint. None where an item has none."""
    tail = _NEW + _until(expires)
    if sets is not None:
        return sets(_CLAIM, keys, head, fingerprints, None, tail)
    if None in fingerprints:
        return None
    values = [head + one for one in fingerprints]  # type: ignore[operator]
    return _sets(_CLAIM, keys, values, tail)


@lru_cache(maxsize=1024)
def all_won(count: int) -> bytes:
    """The answer to so many claims of new keys."""
    return b"$-1\r\n" * count


def commits(
    keys: Sequence[bytes],
    steps: Sequence[Settlement],
    token: bytes,
    head: bytes,
    expires: int | None,
) -> bytes | None:
    """A transaction that commits over all claims that begin with ``head``: what it answers, behind
    the words that all is queued, begins with the numbers of the keys where something else stands.
    ``expires`` None: when the claim does. None: not all are commits, or
    a key stands twice."""
    if not all_differ(keys):
        return None
    start, tail = (
        (_COMMIT, _KEPT) if expires is None else (_COMMIT_UNTIL, _IF_THERE + _until(expires))
    )
    plain = _commits(keys, steps, token, start, tail)
    return None if plain is None else transaction(keys, plain, head)


def transaction(keys: Sequence[bytes], commands: bytes, head: bytes) -> bytes | None:
    """``commands`` between what puts aside and what puts back. None where keys differ in size."""
    made = _key_words(keys)
    if made is None:
        return None
    names, joined = made
    ored, aside = keys[0] + b"|", keys[0] + b"~"
    size = b"%d" % len(keys[0])
    return b"".join(
        (
            b"*1\r\n$5\r\nMULTI\r\n*%d\r\n$5\r\nBITOP\r\n$2\r\nOR" % (3 + len(keys)),
            b"\r\n$%d\r\n%b" % (len(ored), ored),
            names,
            b"\r\n",
            pack(b"EVAL", _PUT_ASIDE, 2, ored, aside, head, size, joined),
            commands,
            pack(b"EVAL", _PUT_BACK, 1, aside),
            _EXEC,
        )
    )


def _key_words(keys: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Each behind the end of the word before it, and all in one. None where their sizes differ."""
    if key_words is not None:
        return key_words(keys)
    if len(set(map(len, keys))) != 1:
        return None
    before = b"\r\n$%d\r\n" % len(keys[0])
    return before + before.join(keys), b"".join(keys)


def replies_of(count: int) -> int:
    """How many a transaction with so many commits has: to its beginning, to each command that is
    queued, and of its end."""
    return count + 5


def commits_of(replies: int) -> int:
    return replies - 5


@lru_cache(maxsize=1024)
def all_applied(count: int) -> bytes:
    """What is answered where every one of so many commits was applied."""
    queued = b"+QUEUED\r\n" * (count + 3)
    end = b"*%d\r\n:38\r\n*0\r\n%b:0\r\n" % (count + 3, b"+OK\r\n" * count)
    return b"+OK\r\n" + queued + end


def _commits(
    keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, start: bytes, tail: bytes
) -> bytes | None:
    if sets is not None and isinstance(steps, Commits):
        head = codec.usual_head(token, steps.processed_at)
        packed = sets(start, keys, head, steps.fingerprints, steps.results, tail)
        if packed is not None:
            return packed
    if set(map(type, steps)) != {Commit}:
        return None
    values = codec.commit_values(steps, token)  # type: ignore[arg-type]
    return _sets(start, keys, values, tail)


def _sets(start: bytes, keys: Sequence[bytes], values: Sequence[bytes], tail: bytes) -> bytes:
    return b"".join(
        [
            b"%b\r\n$%d\r\n%b\r\n$%d\r\n%b%b" % (start, len(key), key, len(value), value, tail)
            for key, value in zip(keys, values, strict=True)
        ]
    )
