"""Isolation: the others go through, within the bound, whatever the offenders are."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.isolation import AskAll, Isolation, Send
from rules.model import Verdict


class Service:
    """All or nothing: a call with an offender in it is rejected whole and does nothing."""

    def __init__(self, duplicates: set[int], invalid: set[int]) -> None:
        self.duplicates, self.invalid = duplicates, invalid
        self.done: list[int] = []
        self.calls = 0
        self.asked = 0

    def call(self, items: tuple[int, ...]) -> Verdict:
        self.calls += 1
        if any(i in self.invalid for i in items):
            return Verdict.REJECTED
        if any(i in self.duplicates for i in items):
            return Verdict.DUPLICATE
        self.done += items
        return Verdict.ACCEPTED


def isolate(
    service: Service, n: int, *, naming: int = 0, can_ask_all: bool = False
) -> tuple[set[int], dict[int, str]]:
    """Run to the end. ``naming``: how many offenders a rejection names."""
    isolation = Isolation(range(n), can_ask_all=can_ask_all)
    duplicates: set[int] = set()
    rejected: dict[int, str] = {}
    while (step := isolation.next()) is not None:
        if isinstance(step, AskAll):
            service.asked += 1
            ruling = isolation.looked_up([i for i in step.items if i in service.duplicates])
        else:
            assert isinstance(step, Send)
            verdict = service.call(step.items)
            if verdict is Verdict.ACCEPTED:
                isolation.accepted()
                continue
            pool = service.invalid if verdict is Verdict.REJECTED else service.duplicates
            named = [i for i in step.items if i in pool][:naming]
            ruling = isolation.rejected(verdict, "no", {i: f"bad {i}" for i in named})
        assert not duplicates & set(ruling.duplicates)
        duplicates |= set(ruling.duplicates)
        assert not set(rejected) & set(ruling.rejected)
        rejected |= ruling.rejected
    return duplicates, rejected


def bound(n: int, k: int) -> float:
    n2 = 2 ** math.ceil(math.log2(n))
    return 1 if k == 0 else 2 * k * math.log2(n2 / k) + 2 * k + 1


def spread(n: int, k: int) -> list[set[int]]:
    """Placements that make bisection work hardest and least, and some between."""
    even = {i * n // k for i in range(k)} if k else set()
    odd = {min(n - 1, i * n // k + n // (2 * k)) for i in range(k)} if k else set()
    placements = [even, odd, set(range(k)), set(range(n - k, n))]
    if n <= 8:
        placements += [set(c) for c in combinations(range(n), k)]
    return [p for p in placements if len(p) == k]


@pytest.mark.parametrize("n", range(1, 65))
def test_bisection_keeps_to_the_bound(n: int) -> None:
    for k in range(n + 1):
        for bad in spread(n, k):
            service = Service(bad, set())
            duplicates, rejected = isolate(service, n)
            assert duplicates == bad
            assert not rejected
            assert sorted(service.done) == [i for i in range(n) if i not in bad]
            assert service.calls <= bound(n, k), (n, bad)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 64).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sets(st.integers(0, n - 1)),
            st.sets(st.integers(0, n - 1)),
            st.integers(0, 5),
            st.booleans(),
        )
    )
)
def test_every_item_is_ruled_on_once_and_only_good_ones_are_done(
    case: tuple[int, set[int], set[int], int, bool],
) -> None:
    n, duplicates, invalid, naming, can_ask = case
    service = Service(duplicates, invalid)
    found, rejected = isolate(service, n, naming=naming, can_ask_all=can_ask)
    # An item that is both may be ruled as either; the service says which it saw first.
    assert found <= duplicates
    assert set(rejected) <= invalid
    assert found | set(rejected) == duplicates | invalid
    assert sorted(service.done) == sorted(set(range(n)) - duplicates - invalid)
    if naming == 0 and not can_ask:
        assert service.calls <= bound(n, len(duplicates | invalid))


def test_named_offenders_are_taken_out_and_the_rest_sent_at_once() -> None:
    service = Service(set(), {3, 7, 11})
    _, rejected = isolate(service, 64, naming=64)
    assert rejected == {3: "bad 3", 7: "bad 7", 11: "bad 11"}
    assert service.calls == 2


def test_after_four_rounds_that_named_one_each_it_bisects() -> None:
    named = Service(set(), set(range(4)))
    isolate(named, 64, naming=1)
    assert named.calls == 5
    many = Service(set(), set(range(32)))
    isolate(many, 64, naming=1)
    assert many.calls <= 4 + bound(60, 28)


def test_one_lookup_for_the_whole_rejected_batch_finds_all_duplicates() -> None:
    service = Service({1, 5, 9, 30}, set())
    found, _ = isolate(service, 32, can_ask_all=True)
    assert found == {1, 5, 9, 30}
    assert (service.calls, service.asked) == (2, 1)


def test_a_lookup_that_finds_nothing_leads_to_bisection_without_sending_the_same_again() -> None:
    isolation = Isolation(range(4), can_ask_all=True)
    assert isolation.next() == Send((0, 1, 2, 3), again=False)
    isolation.rejected(Verdict.DUPLICATE, "no", None)
    assert isolation.next() == AskAll((0, 1, 2, 3))
    isolation.looked_up([])
    assert isolation.next() == Send((0, 1), again=True)


def test_the_half_that_must_hold_the_offender_is_split_without_being_sent() -> None:
    isolation = Isolation(range(4))
    isolation.next()
    isolation.rejected(Verdict.REJECTED, "no", None)
    assert isolation.next() == Send((0, 1), again=True)
    isolation.accepted()
    assert isolation.next() == Send((2,), again=True)


def test_after_an_unknown_the_other_half_is_sent_whole() -> None:
    isolation = Isolation(range(4))
    isolation.next()
    isolation.rejected(Verdict.REJECTED, "no", None)
    assert isolation.next() == Send((0, 1), again=True)
    isolation.undecided()
    assert isolation.next() == Send((2, 3), again=True)


def test_a_half_that_went_through_without_its_lost_items_says_nothing_of_the_other() -> None:
    isolation = Isolation(range(4))
    isolation.next()
    isolation.rejected(Verdict.REJECTED, "no", None)
    isolation.next()
    assert isolation.narrow({0, 1}) == (0, 1)
    assert isolation.narrow({1}) == (1,)
    isolation.accepted()
    assert isolation.next() == Send((2, 3), again=True)


def test_abandon_gives_back_everything_without_a_ruling_in_order() -> None:
    isolation = Isolation(range(8))
    isolation.next()
    isolation.rejected(Verdict.REJECTED, "no", {0: "bad"})
    isolation.next()
    isolation.rejected(Verdict.REJECTED, "no", None)
    isolation.next()
    isolation.accepted()
    assert isolation.abandon() == (5, 6, 7)
    assert isolation.next() is None


def test_abandon_includes_what_is_being_asked_for_and_what_is_under_way() -> None:
    asking = Isolation(range(3), can_ask_all=True)
    asking.next()
    assert asking.abandon() == (0, 1, 2)
    asking = Isolation(range(3), can_ask_all=True)
    asking.next()
    asking.rejected(Verdict.DUPLICATE, "no", None)
    asking.next()
    assert asking.abandon() == (0, 1, 2)


def test_a_single_offender_gets_its_own_message_where_there_is_one() -> None:
    isolation = Isolation([5])
    isolation.next()
    assert isolation.rejected(Verdict.REJECTED, "whole", {5: "mine"}).rejected == {5: "mine"}
    isolation = Isolation([5])
    isolation.next()
    assert isolation.rejected(Verdict.REJECTED, "whole", None).rejected == {5: "whole"}


def test_offenders_that_were_not_sent_are_no_offenders() -> None:
    isolation = Isolation(range(2))
    isolation.next()
    ruling = isolation.rejected(Verdict.REJECTED, "no", {9: "not here"})
    assert not ruling.rejected
    assert isolation.next() == Send((0,), again=True)


def test_answers_without_a_step_are_errors() -> None:
    with pytest.raises(AssertionError, match="nothing is under way"):
        Isolation([1]).accepted()
    with pytest.raises(AssertionError, match="without AskAll"):
        Isolation([1]).looked_up([])
