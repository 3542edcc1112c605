"""The cost of the pure path against a reference loop, so that it does not creep upwards.

Law: ratios and never times. Both are measured in turn, in one process, and the least of many
rounds counts, which load on the machine hardly moves. The pure path is what every item meets
between the sockets: read, fingerprint, key, plan, judge the response, pack, render. The reference
does the like with the standard library: parse, write sorted, hash.

``python -m bench.guard`` prints the ratios; ``--record`` writes them to ratio.json. The compiled
build has its own: run it in build/compiled, and copy that folder's ratio.json to this one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from bench.load import batch
from proxy.build import is_compiled
from proxy.core.commits import Commits
from proxy.core.fate import Outcome
from proxy.core.fates import AlikeFates
from proxy.core.keys import KeyMaker
from proxy.preparing import prepare, terms_of
from proxy.store.wire import pack_settles
from rules.load import load_rules
from rules.model import Batch, Rule, Verdict
from rules.render import render
from rules.request import read_batch
from rules.response import Response, results, verdict

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "ratio.json"
ALLOWED = 1.20
SIZES = (1, 100)
NOW = 1_700_000_000_000
TOKEN = bytes(12)


def request_of(size: int) -> bytes:
    return f'{{"notifications":[{batch("order", size)}]}}'.encode()


def response_of(size: int) -> bytes:
    each = ",".join(
        f'{{"id":{17 * 10**18 + n},"key":"order-{n:05d}","status":"SENT","cost":1.0}}'
        for n in range(1, size + 1)
    )
    return f'{{"results":[{each}],"totalCount":{size}}}'.encode()


def pure_path(rule: Rule, keys: KeyMaker, body: bytes, answer: bytes) -> bytes:
    """All that a batch of new items costs beside the sockets, the waiting and the bookkeeping."""
    batch = read_batch(rule, body)
    assert isinstance(batch, Batch)
    prepared = prepare(rule, batch, ("tenant",), keys)
    assert len(prepared.plan.firsts) == len(batch)
    response = Response(200, answer)
    assert verdict(rule, response) is Verdict.ACCEPTED
    raws = results(rule, response, [None] * len(batch))
    assert raws is not None
    pack_settles(Commits(prepared.fingerprints, NOW, raws), TOKEN, terms_of(rule))
    return render(rule, answer, AlikeFates(raws, Outcome.NEW, NOW), response.array)


def reference(body: bytes, answer: bytes) -> bytes:
    """The like with the standard library."""
    for item in json.loads(body)["notifications"]:
        blake2b(json.dumps(item, sort_keys=True).encode(), digest_size=16).digest()
    document = json.loads(answer)
    for result in document["results"]:
        result["isIdempotent"] = False
    return json.dumps(document).encode()


def least(call: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - started


def measure(rounds: int = 600) -> dict[str, float]:
    """The ratio for each size of batch."""
    rule = load_rules(str(HERE / "rules.yaml")).rules[0]
    keys, ratios = KeyMaker("idem"), {}
    for size in SIZES:
        body, answer = request_of(size), response_of(size)
        repeats = max(1, 10 // size)
        ours = theirs = float("inf")
        for _ in range(rounds):
            ours = min(ours, least(lambda: pure_path(rule, keys, body, answer), repeats))  # noqa: B023
            theirs = min(theirs, least(lambda: reference(body, answer), repeats))  # noqa: B023
        ratios[str(size)] = round(ours / theirs, 3)
    return ratios


def python() -> str:
    """Which one, and whether the path is compiled: each is held against its own like."""
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{number} compiled" if is_compiled() else number


def recorded() -> dict[str, float] | None:
    """For this Python and build; None where nothing was recorded for it."""
    found: dict[str, dict[str, float]] = json.loads(RECORDED.read_text())
    return found.get(python())


def too_dear(measured: dict[str, float], before: dict[str, float]) -> dict[str, str]:
    """The sizes that got more than a fifth dearer, and by what."""
    return {
        size: f"{measured[size]} times the reference, recorded {was}"
        for size, was in before.items()
        if measured[size] > was * ALLOWED
    }


def main(words: list[str]) -> int:
    measured = measure()
    print(f"Python {python()}: {measured}, recorded: {recorded()}")
    if words == ["--record"]:
        every = json.loads(RECORDED.read_text())
        every[python()] = measured
        RECORDED.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
        return 0
    return 1 if too_dear(measured, recorded() or {}) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
