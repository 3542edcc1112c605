"""From a batch to what is asked of the store: fingerprints, store keys, and who is to be claimed.

Law: pure; enforcing and shadowing prepare alike, so that what one recorded the other finds.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.keys import KeyMaker
from proxy.core.native import all_differ
from proxy.core.plan import Plan, make_plan, plain_plan
from proxy.core.record import Terms
from rules.derived import once_each
from rules.model import Batch, Rule
from rules.packed import PackedKeys


class Prepared:
    """``store_keys[i]`` is None where item i has no key; ``fingerprints[i]`` is None where the
    rule does not compare content."""

    __slots__ = ("fingerprints", "plan", "store_keys")

    def __init__(
        self,
        plan: Plan,
        store_keys: Sequence[bytes | None],
        fingerprints: Sequence[bytes | None],
    ) -> None:
        self.plan = plan
        self.store_keys = store_keys
        self.fingerprints = fingerprints


def prepare(rule: Rule, batch: Batch, scope: tuple[str, ...], keys: KeyMaker) -> Prepared:
    """Everything about a batch that can be known without asking anybody."""
    if isinstance(batch.keys, PackedKeys):  # every item has one
        packed = keys.store_keys(rule.name, rule.generation, scope, batch.keys)
        if _all_differ(packed):
            return Prepared(plain_plan(len(packed)), packed, batch.fingerprints)
    plan = make_plan(
        batch.keys,
        batch.problems,
        batch.fingerprints,
        forward_missing_key=rule.request.forward_missing_key,
    )
    keyed = [key for key in batch.keys if key is not None]
    made: Sequence[bytes | None] = keys.store_keys(rule.name, rule.generation, scope, keyed)
    if len(keyed) < len(batch):
        each = iter(made)
        made = [None if key is None else next(each) for key in batch.keys]
    return Prepared(plan, made, batch.fingerprints)


def _all_differ(keys: list[bytes]) -> bool:
    """Whether no key stands twice."""
    known = all_differ(keys) if all_differ is not None else None
    return len(set(keys)) == len(keys) if known is None else known


@once_each
def terms_of(rule: Rule) -> Terms:
    """What ``rule`` says of its records."""
    settles = rule.upstream.settles_within
    return Terms(
        lease=round(rule.lease * 1000),
        retention=round(rule.retention * 1000),
        detects_duplicates=rule.upstream.detects_duplicates,
        has_lookup=rule.upstream.lookup is not None,
        settles_within=None if settles is None else round(settles * 1000),
    )
