"""``python -m tests.chaos``: 0 without a violation, 1 with one, 2 for a wrong command line."""

from __future__ import annotations

import argparse
import itertools
import random
import sys

from tests.chaos.report import render
from tests.chaos.stage import STANDS, run_once
from tests.chaos.threads import run_to_the_end


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--duration",
        type=float,
        default=120.0,
        help="seconds of faults, shared by the runs; setting up and the quiet end come on top",
    )
    parser.add_argument("--topology", choices=(*STANDS, "all"), default="all")
    parser.add_argument("--detects", choices=("yes", "no", "both"), default="both")
    parser.add_argument("--faults", type=float, default=0.04, help="chance a call of the service")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="ledger and logs of a violation stay")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    topologies = tuple(STANDS) if given.topology == "all" else (given.topology,)
    detects = {"yes": (True,), "no": (False,), "both": (True, False)}[given.detects]
    runs = list(itertools.product(topologies, detects))
    violations = 0
    for topology, detecting in runs:
        outcome = run_to_the_end(
            run_once(
                topology,
                detects=detecting,
                seed=seed,
                seconds=given.duration / len(runs),
                faults=given.faults,
                keep=given.keep,
            )
        )
        print(render(outcome), flush=True)
        violations += len(outcome.verdict.violations)
    print(f"{len(runs)} runs, seed {seed}: {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
