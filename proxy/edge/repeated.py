"""A head that came before, told by its bytes. Law: the very same bytes, but for the digits of its
one Content-Length.

What the library's parser makes of such a head is what it made of the first, so that it is not
asked again: it and the objects that it makes are a fifth of what a batch of one replayed item
costs.
"""

from __future__ import annotations

from typing import Final, Self

_HEAD_END: Final = b"\r\n\r\n"
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
        head = message[: message.find(_HEAD_END) + len(_HEAD_END)]
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


class Boundary:
    """Whether a parser stands between two messages, by the bytes that it was given: it does not
    tell, and what it has of a message must not be cut off by one that it is not given."""

    __slots__ = ("_fed", "_head")

    def __init__(self) -> None:
        self._fed = 0  # of the message under way; below 0: not known any more
        self._head = 0

    def is_reached(self) -> bool:
        return self._fed == 0

    def feed(self, data: bytes) -> None:
        """The parser gets this."""
        if self._fed == 0:
            self._head = data.find(_HEAD_END) + len(_HEAD_END)
        if self._fed >= 0:
            self._fed += len(data)

    def ended(self, length: int) -> None:
        """A message with so many bytes of a body ended, of a length below 0: nobody knows."""
        whole = length >= 0 and self._fed == self._head + length
        self._fed = 0 if whole else -1
