"""Commands that are written together and answered together. Law: whoever asked is told once, of
all replies or of none.

What a server mostly answers to such a burst is known byte for byte: it is compared as it stands
on the wire, and parsed only where it is something else.
"""

from __future__ import annotations

from typing import Any

from proxy.store.receive import Receiver


class Burst:
    """``count``: of the replies. ``usual``: what they mostly are, on the wire. ``to`` is told of a
    list of them, or of None where they are the usual ones; it may be nobody."""

    __slots__ = ("_count", "_replies", "_seen", "_to", "_usual", "is_whole")

    def __init__(self, count: int, usual: bytes, to: Receiver[list[Any] | None] | None) -> None:
        self._count = count
        self._usual = usual
        self._seen = 0  # bytes of the usual ones; less than 0: they are others
        self._replies: list[Any] = []
        self._to = to
        self.is_whole = False

    def skip(self, data: bytes) -> bytes:
        """What is left of ``data`` to be parsed, or, where all the usual replies have come, what
        stands behind them."""
        usual, seen = self._usual, self._seen
        if seen < 0:
            return data
        left = len(usual) - seen
        if data.startswith(usual[seen:] if seen else usual):
            self.is_whole = True
            return data[left:]
        if len(data) < left and usual.startswith(data, seen):
            self._seen = seen + len(data)
            return b""
        self._seen = -1
        return usual[:seen] + data

    def add(self, reply: object) -> bool:
        """One that was parsed. True: it was the last."""
        self._seen = -1
        self._replies.append(reply)
        self.is_whole = len(self._replies) == self._count
        return self.is_whole

    def finish(self) -> None:
        """It is whole: tell of it."""
        if self._to is not None:
            self._to.set_result(self._replies or None)

    def done(self) -> bool:
        return self._to is None or self._to.done()

    def set_result(self, result: object, /) -> None:
        """Not by a single reply: ``add`` and ``finish``."""
        raise TypeError(f"a burst has several replies, and {result!r} is one")

    def set_exception(self, exception: BaseException, /) -> None:
        if self._to is not None:
            self._to.set_exception(exception)
