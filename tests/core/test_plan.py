"""The fold of repeats inside a batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.plan import Plan, make_plan, plain_plan
from rules.model import Key, Problem


def plan(
    *items: tuple[object, str], problems: dict[int, Problem] | None = None, forward: bool = False
) -> Plan:
    keys: list[Key | None] = [None if k is None else (k,) for k, _ in items]  # type: ignore[misc]
    prints = [content.encode() for _, content in items]
    return make_plan(keys, problems or {}, prints, forward_missing_key=forward)


def test_the_first_is_claimed_and_a_repeat_with_the_same_content_is_its_echo() -> None:
    assert plan(("a", "x"), ("b", "x"), ("a", "x")).echoes == {2: 0}
    assert plan(("a", "x"), ("b", "x"), ("a", "x")).firsts == (0, 1)


def test_a_repeat_with_other_content_is_a_mismatch_and_claims_nothing() -> None:
    made = plan(("a", "x"), ("a", "y"), ("a", "x"))
    assert (made.firsts, made.mismatches, made.echoes) == ((0,), (1,), {2: 0})


def test_one_and_the_text_one_are_two_keys() -> None:
    assert plan((1, "x"), ("1", "x")).firsts == (0, 1)


def test_without_fingerprints_every_repeat_is_an_echo() -> None:
    made = make_plan([("a",), ("a",)], {}, [None, None], forward_missing_key=False)
    assert made.echoes == {1: 0}


def test_items_without_a_key_are_forwarded_only_where_the_rule_says_so() -> None:
    problems = {0: Problem.MISSING_KEY, 1: Problem.INVALID_KEY}
    items = ((None, "x"), (None, "x"), ("a", "x"))
    made = plan(*items, problems=problems, forward=True)
    assert (made.unkeyed, made.invalid) == ((0,), {1: Problem.INVALID_KEY})
    made = plan(*items, problems=problems)
    assert (made.unkeyed, made.invalid) == ((), problems)


@given(st.integers(0, 600))
def test_a_plan_of_distinct_keys_is_the_plain_one(count: int) -> None:
    prints = [b"x"] * count
    made = make_plan([(n,) for n in range(count)], {}, prints, forward_missing_key=False)
    assert made == plain_plan(count)


keys = st.one_of(st.none(), st.tuples(st.integers(0, 3)), st.tuples(st.sampled_from("abc")))


@given(st.lists(st.tuples(keys, st.sampled_from([b"x", b"y"])), max_size=30), st.booleans())
def test_every_item_is_in_one_place_and_a_key_is_claimed_once(
    items: list[tuple[Key | None, bytes]], forward: bool
) -> None:
    problems = {i: Problem.MISSING_KEY for i, (k, _) in enumerate(items) if k is None}
    made = make_plan(
        [k for k, _ in items], problems, [f for _, f in items], forward_missing_key=forward
    )
    places = (made.firsts, tuple(made.echoes), made.mismatches, made.unkeyed, tuple(made.invalid))
    assert sorted(i for place in places for i in place) == list(range(len(items)))
    claimed = [items[i][0] for i in made.firsts]
    assert len(set(claimed)) == len(claimed)
    assert all(items[echo] == items[first] for echo, first in made.echoes.items())
    assert list(made.firsts) == sorted(made.firsts)
