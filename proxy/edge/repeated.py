"""A head that came before, told by its bytes. Law: the very same bytes, but for the digits of its
one Content-Length.

What the library's parser makes of such a head is what it made of the first, so that it is not
asked again: it and the objects that it makes are a fifth of what a batch of one replayed item
costs.
"""

from __future__ import annotations

from typing import Final, Self

_NAME: Final = b"content-length"
_BEFORE: Final = b"\r\nContent-Length: "
_DIGITS: Final = 9
"""That a length may have; the library knows better what to do with more."""


class HeadPattern:
    """A head's bytes before and behind those digits."""

    __slots__ = ("_before", "_behind")

    def __init__(self, before: bytes, behind: bytes) -> None:
        self._before = before
        self._behind = behind

    @classmethod
    def of(cls, message: bytes) -> Self | None:
        """Of a message that is whole and was parsed as one. None: its length is not written in the
        usual way."""
        head = message[: message.find(b"\r\n\r\n") + 4]
        at = head.find(_BEFORE)
        if at < 0 or head.lower().count(_NAME) != 1:
            return None
        start = at + len(_BEFORE)
        end = head.find(b"\r\n", start)
        pattern = cls(head[:start], head[end:])
        return None if pattern.body(message) is None else pattern

    def body(self, data: bytes) -> bytes | None:
        """What stands behind this head, where ``data`` is that and a body of the length that it
        tells: all of it, not empty, and nothing more."""
        before, behind = self._before, self._behind
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + _DIGITS + 1)
        if end < 0 or not data.startswith(behind, end):
            return None
        digits = data[start:end]
        size = len(data) - end - len(behind)
        if size <= 0 or digits != b"%d" % size:
            return None
        return data[end + len(behind) :]
