"""A sidecar that gives an all-or-nothing batch endpoint per-item idempotency.

The pipeline, in one picture of words::

    client ──> app.py ──no rule──────────> passthrough.py ──> legacy service, streamed
                 │ rules.match, scope, mode
                 ▼
               flow.py    one task a request, which outlives its client
                 │  rules.request   bytes -> Batch
                 │  core.plan       fold repeats; who is to be claimed
                 │  store.claim     one round trip: won | replay | busy | mismatch | doubt
                 ├─> forward.py     chunks, leases, isolation ──> upstream.py ──> legacy service
                 │     core.isolation, core.delivery, rules.response, lookups
                 │  store.settle    each delivery as it arrives: commit | release | doubt
                 │  waiting.py      what others hold, polled for, after all held is forwarded
                 ▼
               core.answer, rules.render   one ordered answer

Law: ``core`` is pure (no await, clock, log, aiohttp or redis; ``now`` is passed in) and imports
only itself and ``rules``; ``rules`` imports nothing of ``proxy``.
"""

from typing import Final

__version__: Final = "0.1.0"
