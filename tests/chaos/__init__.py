"""Real processes, real faults, and a judge that knows the truth.

``python -m tests.chaos`` starts a legacy service with a durable ledger, Redis in one of its
topologies and two proxies, every connection between them through a TCP proxy that misbehaves on
demand. Clients retry as real ones do, until every item has a definite answer, while a director
works through a deck of faults. Afterwards the ledger is held against every answer that any
client got.

    clients --> proxy 1, proxy 2 --> link --> service (ledger in SQLite)
                        |
                        +----------> link --> Redis: one, Sentinels, Cluster

ledger.py, service.py   what the legacy service did: the truth
resp.py, link.py        the TCP proxies; points.py: where in a request a proxy is killed
stand.py, sentinel.py, cluster.py   Redis and its faults; history.py: what Redis itself lost
rules.py                the rules file of a run: short leases, so that much happens
clients.py, answers.py  who sends, and what was told
director.py, cast.py    the deck of faults; the processes of a run; threads.py: what blocks
checker.py              the promises; report.py: what is printed
stage.py, __main__.py   one run; soak.py: a long one with few faults, and figures over time
"""
