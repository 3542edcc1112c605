"""The sum of what all requests together may hold in memory."""

from __future__ import annotations


class Budget:
    """Bytes of request bodies held in memory, over all requests."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Count ``size`` more until ``give``; whether that is still within the limit."""
        self.held += size
        return self.held <= self._limit

    def give(self, size: int) -> None:
        self.held -= size
