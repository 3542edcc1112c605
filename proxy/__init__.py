"""A sidecar that gives an all-or-nothing batch endpoint per-item idempotency.

The pipeline, in one picture of words::

    client ──> edge/, app.py ──no rule───> passthrough.py ──> edge/origin.py ──> legacy service
                 │  batching.py     rules.match, scope, mode; rules.request: bytes -> Batch
                 ├──shadow──> passthrough.py, then shadow.py with copies of what went by
                 ▼
               flow.py    a request's work, which outlives its client
                 │  straight.py     without a task, as long as all goes as it mostly does
                 │  preparing.py    fingerprints, store keys, core.plan: fold repeats
                 │  asking.py       store.claim, one round trip: won | replay | busy | ...
                 ├─> forward.py     chunks, leases.py, core.isolation ──> upstream.py ──> service
                 │     adopting.py  results, duplicates and lookups.py -> fates and commits
                 │  settling.py     store.settle, each delivery as it arrives; the backlog
                 │  waiting.py      what others hold, polled for, after all held is forwarded
                 ▼
               stitch.py: core.answer, rules.render   one ordered answer

    serve.py puts it together; reload.py, admin/, metrics.py, logs.py and cli/ stand around it.

Law: ``core`` is pure (no await, clock, log, aiohttp or redis; ``now`` is passed in) and imports
only itself and ``rules``; ``rules`` imports nothing of ``proxy``.
"""

from typing import Final

__version__: Final = "0.1.0"
