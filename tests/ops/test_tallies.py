"""What is tallied reads as if the library had been told of every event."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from proxy.tallies import Tallies

BOUNDS = (0.1, 1.0, 10.0)
VALUES = (0.05, 0.1, 0.100001, 1.0, 5.0, 10.0, 10.5, 0.0)


def library() -> tuple[CollectorRegistry, Counter, Gauge, Histogram]:
    registry = CollectorRegistry()
    counter = Counter("things", "t", registry=registry)
    gauge = Gauge("level", "l", registry=registry)
    return registry, counter, gauge, Histogram("took", "s", registry=registry, buckets=BOUNDS)


def tallied(*, at_once: bool) -> tuple[CollectorRegistry, CollectorRegistry]:
    """A registry that was told at once, and one by way of tallies, which is read with it."""
    direct, counter, gauge, histogram = library()
    registry, things, level, took = library()
    tallies = Tallies(
        lambda _: things, lambda _: level, lambda _: took, lambda _: BOUNDS, at_once=at_once
    )
    if not at_once:
        registry.register(tallies)
        # Registered after the others here; reading twice brings all of them up to date.
    for turn, value in enumerate(VALUES):
        counter.inc(turn)
        tallies.add(("things",), turn)
        gauge.set(turn)
        tallies.set(("level",), turn)
        histogram.observe(value)
        tallies.observe(("took",), value)
    return direct, registry


def test_tallies_read_as_the_library_does() -> None:
    direct, registry = tallied(at_once=False)
    generate_latest(registry)
    assert generate_latest(registry) == generate_latest(direct)


def test_at_once_nothing_is_kept() -> None:
    direct, registry = tallied(at_once=True)
    assert generate_latest(registry) == generate_latest(direct)
