"""``make sim SEEDS=n [SEED=k]``: run n seeds from k on, on every core; print what broke.

A failing seed prints its history; the same seed gives the same history again.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.sim.oracle import ViolationError
from tests.sim.world import run

CHUNK = 250


def some(first: int, count: int) -> tuple[int, int, list[str]]:
    """Calls, answers, and the histories of the seeds that failed."""
    logging.disable(logging.CRITICAL)
    calls = answers = 0
    broken: list[str] = []
    for seed in range(first, first + count):
        try:
            seen = run(seed)
        except ViolationError as violation:
            broken.append(str(violation))
        else:
            calls += seen.calls
            answers += seen.answers
    return calls, answers, broken


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    starts = range(options.seed, options.seed + options.seeds, CHUNK)
    sizes = [min(CHUNK, options.seed + options.seeds - start) for start in starts]
    calls = answers = failed = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for some_calls, some_answers, broken in pool.map(some, starts, sizes):
            calls += some_calls
            answers += some_answers
            failed += len(broken)
            for history in broken:
                say(history)
    seconds = time.monotonic() - began
    say(
        f"{options.seeds} seeds from {options.seed}: {failed} failed; {calls} upstream calls, "
        f"{answers} item answers; {seconds:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
