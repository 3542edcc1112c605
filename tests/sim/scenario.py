"""What one seed is about: the rule, the clients' batches, the faults.

Law: drawn from the seed, and from nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from rules.model import Align, Rule
from rules.pointer import Pointer
from tests.fakes.rig import BATCH_LOOKUP, LOOKUP, make_rule
from tests.sim.store import StoreFaults
from tests.sim.upstream import KINDS, ServiceFaults

SETTLES_WITHIN: Final = 8.0
LATE: Final = 5.0
"""Seconds that an abandoned call may still take effect for; less than SETTLES_WITHIN."""


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int
    rule: Rule
    calm: bool
    """No faults at all: then nobody may have to wait for long."""
    tells: bool
    """The service says of single items that it had them before."""
    soft: bool
    """The service takes a batch with bad items, and says of these that they failed."""
    names_offenders: bool
    proxies: int
    within: float
    """Seconds within which the clients begin."""
    batches: tuple[tuple[tuple[str, str], ...], ...]
    """One a client: (key, value) of each item."""
    tenants: tuple[str, ...]
    """One a client."""
    crashes: tuple[int, ...]
    """At which steps of the loop a proxy is killed."""
    pauses: tuple[tuple[int, float], ...]
    """At which steps a proxy stands still, and for how many seconds."""
    stalls: tuple[tuple[int, float], ...]
    """After which batch calls their proxy stands still, so that its lease ends under it."""
    failovers: tuple[tuple[float, int], ...]
    """When a replica takes over, and how many writes it had not seen."""
    outages: tuple[tuple[float, float], ...]
    """When the store is down, from and until."""
    store: StoreFaults
    service: ServiceFaults
    quiet_at: float
    """Seconds after which nothing fails any more."""
    impatient: float
    """The chance that a client hangs up early."""

    @property
    def detects(self) -> bool:
        return self.rule.upstream.detects_duplicates

    @property
    def never_resolves(self) -> bool:
        """A doubt that no lookup ends stays one: the rule says so."""
        upstream = self.rule.upstream
        return not self.detects and (upstream.lookup is None or upstream.settles_within is None)


def draw(seed: int) -> Scenario:
    rng = random.Random(seed)
    calm = rng.random() < 0.1
    detects = rng.random() < 0.5
    tells, soft = detects and rng.random() < 0.15, rng.random() < 0.1
    rule = _rule(rng, detects=detects, tells=tells, soft=soft)
    doubtful = rule.upstream.settles_within is not None and not calm and rng.random() < 0.3
    return Scenario(
        seed=seed,
        rule=rule,
        calm=calm,
        tells=tells,
        soft=soft,
        names_offenders=rule.upstream.offenders is not None,
        proxies=rng.choice((2, 2, 3)),
        within=0.0 if calm else rng.choice((0.0, 0.05, 2.0, 2.0, 6.0)),
        **_clients(rng),
        crashes=() if calm else _steps(rng),
        pauses=() if calm or rng.random() < 0.5 else _pauses(rng),
        stalls=() if calm or rng.random() < 0.6 else _stalls(rng),
        failovers=() if calm or rng.random() < 0.8 else ((rng.random() * 4, rng.randint(1, 6)),),
        outages=() if calm else _outages(rng),
        store=StoreFaults(split=0.7) if calm else _store_faults(rng),
        service=_service_faults(rng, calm=calm, doubtful=doubtful),
        quiet_at=40.0 if doubtful else rng.choice((10.0, 15.0, 30.0)),
        impatient=0.0 if calm or rng.random() < 0.6 else rng.random() * 0.3,
    )


# ---- the rule ----------------------------------------------------------------------------------


def _rule(rng: random.Random, *, detects: bool, tells: bool, soft: bool) -> Rule:
    forms = ("none", "single", "single", "batch") if detects else ("none", "single", "single")
    rule = _base(detects, rng.choice(forms), tells, soft, detects and rng.random() < 0.3)
    upstream, response = rule.upstream, rule.response
    lookup = upstream.lookup
    if lookup is not None and rng.random() < 0.2:
        lookup = replace(lookup, always=True)
    if lookup is not None and rng.random() < 0.3:
        lookup = replace(lookup, compare=(Pointer("/value"), Pointer("/value")))
    aligns = [Align.POSITION] * 3 + [Align.KEY, Align.SINGLE]
    align = rng.choice(aligns + [Align.LOOKUP] * (lookup is not None and not tells and not soft))
    return replace(
        rule,
        upstream=replace(
            upstream,
            lookup=lookup,
            settles_within=SETTLES_WITHIN if lookup is not None and rng.random() < 0.8 else None,
            max_items=rng.choice((None, None, 1, 2)),
            concurrency=rng.choice((1, 1, 2)),
        ),
        response=replace(response, align=align),
        request=replace(rule.request, ignore_mismatch=rng.random() < 0.05),
        fail_open=rule.fail_open if rng.random() < 0.85 else not rule.fail_open,
        max_result_bytes=64 * 1024 if rng.random() < 0.92 else 16,
    )


@lru_cache(maxsize=128)
def _base(detects: bool, lookup: str, tells: bool, soft: bool, names: bool) -> Rule:
    changes: dict[str, Any] = {
        "scope": ["header:X-Tenant"],
        "upstream__detects_duplicates": detects,
        "upstream__timeout": "1s",
        "lease": "3s",
        "wait": "1s",
        "deadline": "6s",
        "retention": "1h",
        "response__key": ["/key"],
        "response__align": "key",
    }
    if lookup != "none":
        changes["upstream__lookup"] = LOOKUP if lookup == "single" else BATCH_LOOKUP
    if tells:
        changes["response__duplicate"] = {"pointer": "/status", "equals": "EXISTS"}
    if soft:
        changes["response__failed"] = {"pointer": "/status", "equals": "FAILED"}
    if names:
        changes["upstream__offenders"] = {"list": "/errors", "index": "/index"}
    return make_rule(**changes)


# ---- the clients -------------------------------------------------------------------------------


def _clients(rng: random.Random) -> dict[str, Any]:
    """Few keys and many requests for them, or one large batch for the isolation to work on."""
    pool = rng.choice((1, 1, 2, 2, 3, 4, 10))
    clients = 2 if pool == 10 else rng.choice((2, 3, 4, 5, 6))
    batches = tuple(tuple(_batch(rng, pool)) for _ in range(clients))
    one = rng.random() < 0.8
    tenants = tuple("red" if one or rng.random() < 0.6 else "blue" for _ in range(clients))
    return {"batches": batches, "tenants": tenants}


def _batch(rng: random.Random, pool: int) -> list[tuple[str, str]]:
    keys = [f"k{n}" for n in range(pool)]
    rng.shuffle(keys)
    chosen = keys[: rng.randint(max(1, pool // 2), pool)]
    if rng.random() < 0.15:
        chosen.append(rng.choice(chosen))
    return [(key, _value(rng, key)) for key in chosen]


def _value(rng: random.Random, key: str) -> str:
    dice = rng.random()
    if dice < 0.04:
        return f"bad {key}"
    return f"other {key}" if dice < 0.07 else f"value {key}"


# ---- the faults --------------------------------------------------------------------------------


def _steps(rng: random.Random) -> tuple[int, ...]:
    if rng.random() < 0.4:
        return ()
    return tuple(sorted(rng.randint(5, 900) for _ in range(rng.choice((1, 1, 2, 3)))))


def _pauses(rng: random.Random) -> tuple[tuple[int, float], ...]:
    """Mostly longer than a lease. With LATE they stay below lease and SETTLES_WITHIN together."""
    return tuple(
        (rng.randint(5, 300), 0.5 + rng.random() * 3.5) for _ in range(rng.choice((1, 2, 3)))
    )


def _stalls(rng: random.Random) -> tuple[tuple[int, float], ...]:
    return tuple((rng.randint(1, 6), 2.5 + rng.random() * 1.5) for _ in range(2))


def _outages(rng: random.Random) -> tuple[tuple[float, float], ...]:
    if rng.random() < 0.8:
        return ()
    start = rng.random() * 3
    return ((start, start + rng.random() * 3),)


def _store_faults(rng: random.Random) -> StoreFaults:
    if rng.random() < 0.5:
        return StoreFaults(latency=0.002)
    rate = rng.choice((0.02, 0.05, 0.15))
    return StoreFaults(
        latency=rng.choice((0.002, 0.05)),
        refused=rate * rng.random(),
        reply_lost=rate * rng.random(),
        slow=rate * rng.random(),
        shard_silent=rate,
    )


def _service_faults(rng: random.Random, *, calm: bool, doubtful: bool) -> ServiceFaults:
    """A few kinds of fault at a time, now and then most calls going wrong. ``doubtful``: doubts
    grow old, items are forwarded again, and that ends in doubt too."""
    if calm:
        return ServiceFaults(latency=0.01)
    if doubtful:
        return ServiceFaults(latency=0.05, reset_before=0.5, reset_late=0.3, late=LATE)
    kinds = rng.sample(KINDS, rng.randint(0, 4))
    total = rng.choice((0.1, 0.3, 0.6))
    rates = {kind: total / len(kinds) for kind in kinds}
    return ServiceFaults(latency=rng.choice((0.01, 0.1, 0.4)), late=LATE, **rates)
