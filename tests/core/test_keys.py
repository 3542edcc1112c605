"""Store keys: their shape, and that no two different things share one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.keys import KeyMaker, digest_of

SHAPE = re.compile(rb"idem:\{([0-3][0-9a-f])\}:v1:[A-Za-z0-9_-]{32}")
PARTS = st.one_of(st.text(max_size=8), st.integers(-(2**63), 2**64 - 1))
WHOLE = st.tuples(
    st.sampled_from(["a", "ab"]),
    st.integers(1, 3),
    st.lists(st.text(max_size=4), max_size=2).map(tuple),
    st.lists(PARTS, min_size=1, max_size=3).map(tuple),
)


def test_a_key_has_the_documented_shape() -> None:
    key = KeyMaker().store_key("orders", 1, ("tenant",), ("k-1",))

    assert SHAPE.fullmatch(key)
    assert key == KeyMaker().store_key("orders", 1, ("tenant",), ("k-1",))


def test_a_key_stays_the_same_from_release_to_release() -> None:
    """Another one would make every stored record invisible: raise ``v1`` with it."""
    assert KeyMaker().store_key("orders", 1, ("t",), ("k",)) == (
        b"idem:{0f}:v1:DxdRAJNMy50iAcNHxicaVbd0Bn8llV2C"
    )


def test_the_bucket_is_one_of_64_and_all_are_used() -> None:
    keys = KeyMaker().store_keys("orders", 1, (), [(n,) for n in range(2000)])
    buckets = {SHAPE.fullmatch(key)[1] for key in keys}  # type: ignore[index]

    assert buckets == {b"%02x" % n for n in range(64)}


def test_many_keys_are_the_same_as_each_alone() -> None:
    maker = KeyMaker("p", b"secret")
    keys: list[tuple[str | int, ...]] = [("a",), (1,), ("1",), ("a", "b"), ("ab",), ("é" * 255,)]

    assert maker.store_keys("r", 2, ("x", "y"), keys) == [
        maker.store_key("r", 2, ("x", "y"), key) for key in keys
    ]
    assert maker.store_keys("r", 2, ("x", "y"), []) == []


DIFFERENT: list[tuple[str, int, tuple[str, ...], tuple[str | int, ...]]] = [
    ("r", 1, (), (1,)),
    ("r", 1, (), ("1",)),
    ("r", 1, ("1",), (1,)),
    ("r", 1, ("a", "b"), ("c",)),
    ("r", 1, ("a",), ("b", "c")),
    ("r", 1, ("ab",), ("c",)),
    ("r", 1, ("a",), ("bc",)),
    ("r", 1, ("s1:a",), ("b",)),
    ("r", 11, ("a",), ("bc",)),
    ("r1", 1, ("a",), ("bc",)),
    ("r", 2, ("a",), ("bc",)),
]


def test_different_things_have_different_keys() -> None:
    keys = [KeyMaker().store_key(*whole) for whole in DIFFERENT]

    assert len(set(keys)) == len(DIFFERENT)


@given(WHOLE, WHOLE)
def test_keys_are_equal_only_where_everything_is(
    one: tuple[str, int, tuple[str, ...], tuple[str | int, ...]],
    other: tuple[str, int, tuple[str, ...], tuple[str | int, ...]],
) -> None:
    maker = KeyMaker()

    assert (maker.store_key(*one) == maker.store_key(*other)) == (one == other)


def test_a_secret_changes_every_key_and_any_length_is_one() -> None:
    plain, *keyed = (
        KeyMaker("idem", secret).store_key("r", 1, ("t",), ("k",))
        for secret in (None, b"a", b"b", b"a" * 64, b"a" * 65, b"a" * 1000)
    )

    assert len({plain, *keyed}) == 6
    assert not KeyMaker().keyed
    assert KeyMaker("idem", b"a").keyed


def test_the_prefix_is_literal_and_cannot_choose_the_slot() -> None:
    assert KeyMaker("team-a").store_key("r", 1, (), ("k",)).startswith(b"team-a:{")
    with pytest.raises(ValueError, match="braces"):
        KeyMaker("{a}")


def test_lone_surrogates_are_keys_like_others() -> None:
    maker = KeyMaker()

    assert maker.store_key("r", 1, (), ("\ud800",)) != maker.store_key("r", 1, (), ("\ud801",))


def test_scopes_beyond_the_cache_still_have_their_own_keys() -> None:
    maker = KeyMaker()
    first = maker.store_key("r", 1, ("0",), ("k",))
    keys = {maker.store_key("r", 1, (str(n),), ("k",)) for n in range(5000)}

    assert len(keys) == 5000
    assert maker.store_key("r", 1, ("0",), ("k",)) == first


def test_a_digest_leads_back_to_its_key() -> None:
    maker = KeyMaker("idem", b"secret")
    for key in maker.store_keys("r", 1, (), [(n,) for n in range(200)]):
        assert maker.of_digest(digest_of(key)) == key


@pytest.mark.parametrize("digest", ["", "a" * 31, "a" * 33, "a" * 31 + "/", "a" * 31 + "\n"])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="32 characters"):
        KeyMaker().of_digest(digest)
