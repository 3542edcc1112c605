"""Counts in plain Python, added to the metrics library's own before anybody reads them.

Law: nothing is lost but what a killed process takes with it. A counter of the library takes a
lock and some checks for each event, a histogram walks its buckets: together a twentieth of what a
small batch costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric

Key = tuple[str, ...]
"""A metric's name and its label values."""


_IN_FLIGHT: Final = ("in_flight_items",)


class _Observed:
    """Observations of one histogram since the last ``flush``."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Tallies:
    """``counter``, ``gauge`` and ``histogram`` give the library's objects. ``at_once``: other
    processes read them, which cannot ask for what is not there yet, so nothing is kept here."""

    def __init__(
        self,
        counter: Callable[[Key], Counter],
        gauge: Callable[[Key], Gauge],
        histogram: Callable[[Key], Histogram],
        bounds: Callable[[Key], tuple[float, ...]],
        *,
        at_once: bool,
    ) -> None:
        self._counter = counter
        self._gauge = gauge
        self._histogram = histogram
        self._bounds = bounds
        self._at_once = at_once
        self._counts: defaultdict[Key, int] = defaultdict(int)
        self._observed: dict[Key, _Observed] = {}
        self._values: dict[Key, float] = {}

    def add(self, key: Key, count: int = 1) -> None:
        """Count ``count`` events."""
        self._counts[key] += count
        if self._at_once:
            self.flush()

    def observe(self, key: Key, value: float) -> None:
        """Observe ``value``, in the histogram's unit."""
        observed = self._observed.get(key)
        if observed is None:
            observed = self._observed[key] = _Observed(self._bounds(key))
        observed.counts[bisect_left(observed.bounds, value)] += 1
        observed.total += value
        if self._at_once:
            self.flush()

    def set(self, key: Key, value: float) -> None:
        """The value of a gauge from now on."""
        self._values[key] = value
        if self._at_once:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the library."""
        values, self._values = self._values, {}
        for key, value in values.items():
            self._gauge(key).set(value)
        counts, self._counts = self._counts, defaultdict(int)
        for key, count in counts.items():
            self._counter(key).inc(count)
        seen, self._observed = self._observed, {}
        for key, observed in seen.items():
            # The library has no public way to add many observations at once.
            child = self._histogram(key)
            for bucket, count in zip(child._buckets, observed.counts, strict=True):  # noqa: SLF001
                if count:
                    bucket.inc(count)
            child._sum.inc(observed.total)  # noqa: SLF001

    def collect(self) -> Iterable[Metric]:
        """As a collector, registered before all others: has no metric, and brings theirs up to
        date."""
        self.flush()
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


class Usual:
    """What every request has counted: three methods of ``proxy.observe.Observer``. Apart from
    ``Metrics``, which the compiled build leaves to the interpreter, since interpreted classes
    inherit from it.

    ``store_went`` is told of each store call that was not answered, and of the first one that
    was, after such a one or at all. ``store_up``: whether the last was; None before the first."""

    def __init__(self, tallies: Tallies, store_went: Callable[[str, bool], None]) -> None:
        self._tallies = tallies
        self._store_went = store_went
        self._items_now = 0
        self.store_up: bool | None = None

    def in_flight(self, change: int) -> None:
        self._items_now += change
        self._tallies.set(_IN_FLIGHT, self._items_now)

    def store_call(self, op: str, seconds: float, ok: bool) -> None:
        self._tallies.observe(("store_duration_seconds", op), seconds)
        if not ok or not self.store_up:
            self.store_up = ok
            self._store_went(op, ok)

    def upstream_call(self, rule: str, purpose: str, delivery: str, seconds: float) -> None:
        self._tallies.add(("upstream_calls_total", rule, purpose))
        if purpose == "isolation":
            self._tallies.add(("isolation_calls_total", rule))
        self._tallies.observe(("upstream_duration_seconds", rule, delivery), seconds)
