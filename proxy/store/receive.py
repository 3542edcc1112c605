"""Who is told of a store call's replies without a task that waits for them. Law: each is told
once, in a later turn of the loop, and takes it without raising.

A task and the coroutines that stand around a call, one for each layer, cost as much as the call of
a single item itself: a fifth of what its replay costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

_T = TypeVar("_T")
_Value_contra = TypeVar("_Value_contra", contravariant=True)


class Receiver(Protocol[_Value_contra]):
    """An ``asyncio.Future`` is one."""

    def done(self) -> bool:
        """Nobody waits any more."""

    def set_result(self, result: _Value_contra, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


class Mapped(Generic[_T]):
    """Hands on what ``make`` makes of what comes."""

    __slots__ = ("_make", "_to")

    def __init__(self, to: Receiver[_T], make: Callable[..., _T]) -> None:
        self._to = to
        self._make = make

    def done(self) -> bool:
        return self._to.done()

    def set_result(self, result: object, /) -> None:
        try:
            made = self._make(result)
        except Exception as error:  # noqa: BLE001 - it is handed on
            self._to.set_exception(error)
        else:
            self._to.set_result(made)

    def set_exception(self, exception: BaseException, /) -> None:
        self._to.set_exception(exception)
