"""``make bench``: everything side by side in one run, one table, and JSON in bench/results/.

Ratios first: machines differ. Rounds are interleaved, and medians are shown, so that what the
machine does beside this meets all contenders alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import memory
from bench.load import Cell, Results, Wrk, fill, redis
from bench.plan import CONNECTIONS, FIGURES, MIXES, SIZES, groups
from bench.servers import HERE, Stack

TOOLS = {"wrk": "wrk", "nginx": "nginx, libnginx-mod-http-lua, lua-cjson", "redis-server": "redis"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement (2)")
    names = sorted({name for name, _ in groups()} | {"memory"})
    parser.add_argument("--only", default="", help=f"groups, by comma: {', '.join(names)}")
    parser.add_argument("--ours", type=Path, default=HERE.parent, help="folder that ours is run in")
    parsed = parser.parse_args()
    parsed.wanted = set(filter(None, parsed.only.split(",")))
    if unknown := parsed.wanted - set(names):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return parsed


def main() -> int:
    asked = arguments()
    if missing := [f"{tool} ({TOOLS[tool]})" for tool in TOOLS if not shutil.which(tool)]:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 1
    started, results = time.monotonic(), Results()
    used: dict[str, float] = {}
    shown: dict[str, str] = {}
    try:
        with Stack(asked.ours.resolve()) as stack:
            wrk = Wrk(stack)
            shown |= memory.ids(stack)
            if not asked.wanted or "memory" in asked.wanted:
                used |= memory.measure(stack, wrk, asked.seconds)
                stack.drop("ours-fresh")
            for name, cells in groups():
                if not asked.wanted or name in asked.wanted:
                    measure(stack, wrk, cells, results, asked)
    finally:
        # What was measured before something failed is worth having.
        path = write(results, used, shown, asked)
        tables(results, used, shown)
    print(f"\nours: {version_of(asked.ours)}, by {os.path.realpath(sys.executable)}")
    print(f"{asked.rounds} rounds of {asked.seconds:g} s, {time.monotonic() - started:.0f} s"
          f" in all; every sample in {path.relative_to(HERE.parent)}")  # fmt: skip
    return 0


def version_of(sources: Path) -> str:
    """What ours says of itself: its version, and whether it is compiled."""
    words = [sys.executable, "-m", "proxy", "version"]
    done = subprocess.run(words, cwd=sources, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def measure(
    stack: Stack, wrk: Wrk, cells: list[Cell], results: Results, asked: argparse.Namespace
) -> None:
    for number in range(asked.rounds):
        redis(stack, "flushall")
        fill(stack)
        # LuaJIT hashes strings with a seed of each process, on which its speed depends.
        wrk.renew("lua")
        for cell in cells:
            results.add(cell, wrk.run(cell, cell.seconds(asked.seconds)))
        print(f"round {number + 1}: {cells[0].size} items ...", file=sys.stderr, flush=True)


# ---- what is printed ----------------------------------------------------------------------------


def tables(results: Results, used: Mapping[str, float], shown: Mapping[str, str]) -> None:
    print(f"\n{'figure':<46}{'measured':>11}{'floor':>9}{'goal':>9}   floor    goal")
    for figure in FIGURES:
        try:
            value = figure.of(results, used)
        except KeyError:
            print(f"{figure.name:<46}{'-':>11}{figure.floor:>9g}{figure.goal:>9g}   not measured")
            continue
        words = ["met" if figure.met(value, t) else "missed" for t in (figure.floor, figure.goal)]
        print(f"{figure.name:<46}{value:>11.2f}{figure.floor:>9g}{figure.goal:>9g}"
              f"   {words[0]:<9}{words[1]}")  # fmt: skip
    print(
        "\na 64-bit id, as the client reads it: " + ", ".join(f"{n} {i}" for n, i in shown.items())
    )
    print(f"\n{'':<28}{'server':<12}{'batches/s':>11}{'items/s':>11}{'CPU us':>9}{'p50 ms':>9}"
          f"{'p99 ms':>9}")  # fmt: skip
    for size in (*SIZES, 10_000, 0):
        for mix in MIXES:
            for connections in CONNECTIONS:
                _rows(results, size, mix, connections)


def _rows(results: Results, size: int, mix: str, connections: int) -> None:
    title = f"{size} {mix}, {connections} conn" if size else f"pass-through, {connections} conn"
    for cell in results.samples:
        if (cell.size, cell.mix, cell.connections) != (size, mix, connections):
            continue
        rate, cpu, p50, p99 = (
            results.of(field, cell.server, size, mix, connections)
            for field in ("rate", "cpu", "p50", "p99")
        )
        print(f"{title:<28}{cell.server:<12}{rate:>11,.0f}{rate * max(1, size):>11,.0f}"
              f"{cpu:>9,.0f}{p50:>9.2f}{p99:>9.2f}")  # fmt: skip
        title = ""


def write(
    results: Results, used: Mapping[str, float], shown: Mapping[str, str], asked: argparse.Namespace
) -> Path:
    figures: dict[str, Any] = {}
    said = version_of(asked.ours)
    for figure in FIGURES:
        try:
            value = figure.of(results, used)
        except KeyError:
            continue
        figures[figure.name] = {"value": value, "floor": figure.floor, "goal": figure.goal}
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "interpreter": os.path.realpath(sys.executable),
        "ours": said,
        "compiled": "compiled" in said,
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "figures": figures,
        "memory": used,
        "ids": shown,
        "cells": results.as_json(),
    }
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    path = folder / "bench.json"
    path.write_text(json.dumps(document, indent=1))
    return path


if __name__ == "__main__":
    sys.exit(main())
