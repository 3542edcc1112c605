"""What is measured, and what the measurements are held against. Law: tables and arithmetic only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bench.load import Cell, Results

SIZES = (1, 10, 100, 1000)
MIXES = ("new", "half", "replayed")
CONNECTIONS = (1, 16)
EITHER = ("direct", "nginx", "aiohttp")
"""To these a batch of known items is a batch like any other: they are measured once."""
STATEFUL = ("lua", "ours")
UP: Final = True


def groups() -> Iterator[tuple[str, list[Cell]]]:
    """Cells by group; those of one group are run side by side, round by round."""
    for size in SIZES:
        for connections in CONNECTIONS:
            cells = [Cell(name, size, "new", connections) for name in EITHER]
            cells += [Cell(n, size, mix, connections) for mix in MIXES for n in STATEFUL]
            yield f"batch{size}", cells
    yield "unix", [Cell(n, s, m) for s in (1, 100) for m in MIXES for n in ("ours", "ours-unix")]
    slow = [Cell(n, 100, "new", c) for c in CONNECTIONS for n in ("direct-slow", "ours-slow")]
    yield "slow", slow
    yield "plain", [Cell(n, 0, "new", c) for c in CONNECTIONS for n in (*EITHER, "ours")]
    yield "flat", [Cell("ours", size, "new", 1) for size in (100, 10_000)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One target. ``least``: more is better. ``of`` raises KeyError where it was not measured."""

    name: str
    floor: float
    goal: float
    of: Callable[[Results, Mapping[str, float]], float]
    least: bool = False

    def met(self, value: float, target: float) -> bool:
        return value >= target if self.least else value <= target


def _over(field: str, mix: str, size: int, other: str, conns: int = 16) -> Callable[..., float]:
    """Ours over another's; one that has no state was measured with new items."""
    theirs = "new" if other in EITHER else mix

    def ratio(results: Results, _: Mapping[str, float]) -> float:
        ours = results.of(field, "ours", size, mix, conns)
        return ours / results.of(field, other, size, theirs, conns)

    return ratio


def _added(field: str, conns: int) -> Callable[..., float]:
    def percent(results: Results, _: Mapping[str, float]) -> float:
        ours = results.of(field, "ours-slow", 100, "new", conns)
        return 100 * (ours / results.of(field, "direct-slow", 100, "new", conns) - 1)

    return percent


def _flat(results: Results, _: Mapping[str, float]) -> float:
    """How far the cost of an item at 10,000 lies above that at 100."""
    many = results.of("cpu", "ours", 10_000, "new", 1) / 10_000
    return 100 * (many / (results.of("cpu", "ours", 100, "new", 1) / 100) - 1)


def _memory(name: str) -> Callable[..., float]:
    return lambda _, memory: memory[name]


FIGURES = (
    Figure("CPU, 100 new, over bare aiohttp", 5.0, 2.5, _over("cpu", "new", 100, "aiohttp")),
    Figure(
        "CPU, 100 replayed, over bare aiohttp", 2.8, 1, _over("cpu", "replayed", 100, "aiohttp")
    ),
    Figure(
        "rate, 1 replayed, over bare aiohttp", 2, 3, _over("rate", "replayed", 1, "aiohttp"), UP
    ),
    Figure("rate, 100 new, over nginx with Lua", 2.2, 4, _over("rate", "new", 100, "lua"), UP),
    Figure(
        "rate, 100 replayed, over the same", 1.3, 2.5, _over("rate", "replayed", 100, "lua"), UP
    ),
    Figure("rate, 1 new, over nginx with Lua", 0.45, 1, _over("rate", "new", 1, "lua"), UP),
    Figure("added p50 %, 100 items, 20 ms, 1 conn", 8, 4, _added("p50", 1)),
    Figure("added p99 %, 100 items, 20 ms, 16 conn", 15, 8, _added("p99", 16)),
    Figure("pass-through CPU over bare aiohttp", 1.15, 1, _over("cpu", "new", 0, "aiohttp")),
    Figure("cost % of an item at 10,000 above 100", 30, 10, _flat),
    Figure("resident MB, idle", 80, 50, _memory("idle")),
    Figure("resident MB, 16 connections of 1,000", 250, 150, _memory("loaded")),
    Figure("Redis bytes a record beyond key and result", 190, 175, _memory("record")),
)
