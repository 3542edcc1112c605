"""The named points of a request at which a proxy is killed, seen from outside.

The links see the store's calls and the service's go by, and kill the proxy at exactly that
moment: with what was just sent on its way, held back, or cut in half, as the dice have it. No
line of this stands in the product.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from tests.chaos.resp import COMMIT, SENT, Command, Conversation


class Point(StrEnum):
    AFTER_CLAIM = "after claim"
    AFTER_SENT = "after sent"
    MID_FORWARD = "mid-forward"
    AFTER_ANSWER = "after the upstream's answer"
    MID_SETTLE = "mid-settle"


class Trap:
    """Kills one proxy the next time that it comes to the point that is armed."""

    def __init__(self, kill: Callable[[], None], rng: random.Random) -> None:
        self._kill = kill
        self._rng = rng
        self._armed: Point | None = None
        self._sprung = asyncio.Event()

    async def catch(self, point: Point, seconds: float) -> bool:
        """Whether the proxy came to the point in this time, and is dead now."""
        self._armed = point
        self._sprung.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._sprung.wait()
        except TimeoutError:
            return False
        finally:
            self._armed = None
        return True

    def spring(self, point: Point, data: bytes) -> bytes | None:
        """``data`` is what goes by. None: all of it does, and nothing happens. Else the proxy is
        dead, and this is what the other side still gets before the connection ends."""
        if self._armed is not point:
            return None
        self._armed = None
        self._kill()
        self._sprung.set()
        return self._rng.choice((data, b"", data[: len(data) // 2]))


class StoreTap:
    """On a link to a Redis."""

    def __init__(self, trap: Trap, ports: Mapping[int, int]) -> None:
        self.ended = False
        self._trap = trap
        self._talk = Conversation(ports)

    def onward(self, data: bytes) -> bytes:
        read = self._talk.onward(data)
        return self._passed([(_onward_point(command), message) for command, message in read])

    def back(self, data: bytes) -> bytes:
        read = self._talk.back(data)
        return self._passed([(_back_point(c, message), message) for c, message in read])

    def _passed(self, messages: Sequence[tuple[Point | None, bytes]]) -> bytes:
        passed = []
        for point, message in messages:
            rest = self._trap.spring(point, message) if point else None
            if rest is not None:
                self.ended = True
                passed.append(rest)
                break
            passed.append(message)
        return b"".join(passed)


def _onward_point(command: Command) -> Point | None:
    return Point.MID_SETTLE if COMMIT in command.steps else None


def _back_point(command: Command, reply: bytes) -> Point | None:
    if command.claims and b"\r\nW\r\n" in reply:
        return Point.AFTER_CLAIM
    return Point.AFTER_SENT if SENT in command.steps else None


class ServiceTap:
    """On a link to the service. A batch call is what is no lookup."""

    def __init__(self, trap: Trap) -> None:
        self.ended = False
        self._trap = trap
        self._is_batch = False

    def onward(self, data: bytes) -> bytes:
        if data.startswith((b"POST ", b"GET ")):
            self._is_batch = data.startswith(b"POST ")
        return self._passed(Point.MID_FORWARD, data)

    def back(self, data: bytes) -> bytes:
        return self._passed(Point.AFTER_ANSWER, data)

    def _passed(self, point: Point, data: bytes) -> bytes:
        rest = self._trap.spring(point, data) if self._is_batch else None
        self.ended = self.ended or rest is not None
        return data if rest is None else rest
