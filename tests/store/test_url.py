"""Store URLs: what each means, and that nothing in one is ignored."""

from __future__ import annotations

import pytest

from proxy.errors import ConfigError
from proxy.store import open_store, parse_store_url
from proxy.store.url import StoreUrl


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://", StoreUrl("memory")),
        ("redis://r", StoreUrl("standalone", hosts=(("r", 6379),))),
        ("redis://r:1/2", StoreUrl("standalone", hosts=(("r", 1),), db=2)),
        ("redis://me@r", StoreUrl("standalone", hosts=(("r", 6379),), username="me")),
        ("redis://[::1]:7", StoreUrl("standalone", hosts=(("::1", 7),))),
        ("rediss://r", StoreUrl("standalone", tls=True, hosts=(("r", 6379),))),
        ("unix:///run/r.sock", StoreUrl("unix", path="/run/r.sock")),
        ("unix:///run/a%20b?db=3", StoreUrl("unix", path="/run/a b", db=3)),
        (
            "redis+sentinel://a:1,b/main",
            StoreUrl("sentinel", hosts=(("a", 1), ("b", 26379)), master="main"),
        ),
        (
            "rediss+sentinel://me@a/main/2",
            StoreUrl("sentinel", True, (("a", 26379),), master="main", db=2, username="me"),
        ),
        ("redis+cluster://a:1,b:2", StoreUrl("cluster", hosts=(("a", 1), ("b", 2)))),
        ("rediss+cluster://a", StoreUrl("cluster", tls=True, hosts=(("a", 6379),))),
    ],
)
def test_what_a_url_means(url: str, expected: StoreUrl) -> None:
    assert parse_store_url(url) == expected


@pytest.mark.parametrize(
    ("url", "mistake"),
    [
        ("", "unknown scheme ''"),
        ("http://r", "unknown scheme 'http'"),
        ("valkey://r", "unknown scheme 'valkey'"),
        ("memory://x", "nothing behind it"),
        ("memory:///0", "nothing behind it"),
        ("redis://", "no host"),
        ("redis://r:port", "not host:port"),
        ("redis://r:99999", "not host:port"),
        ("redis://a,b", "several hosts"),
        ("redis://r/x", "not the number of a database"),
        ("redis://r/-1", "not the number of a database"),
        ("redis://r/1/2", "/1/2 is not understood"),
        ("redis://r?db=1", "query 'db=1'"),
        ("redis://r#x", "fragment"),
        ("redis://me:secret@r", "STORE_PASSWORD_FILE"),
        ("redis://:secret@r", "STORE_PASSWORD_FILE"),
        ("unix://run/r.sock", "absolute path"),
        ("unix://", "absolute path"),
        ("unix:///r?db=x", "not the number of a database"),
        ("unix:///r?timeout=1", "only db=NUMBER"),
        ("unix:///r?db=1&db=2", "only db=NUMBER"),
        ("redis+sentinel://a", "needs a master"),
        ("redis+sentinel://a/main/1/2", "not understood"),
        ("redis+cluster://a/0", "not understood"),
        ("redis+cluster://a,,b", "no host"),
        ("redis://[::1", "Invalid"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(url: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_store_url(url)

    assert str(caught.value).startswith("STORE: ")
    assert mistake in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "settings", "mistake"),
    [
        ("memory://", {"password": "x"}, "does not use STORE_PASSWORD_FILE"),
        ("memory://", {"username": "x"}, "does not use STORE_USERNAME"),
        ("memory://", {"ca_file": "x"}, "does not use STORE_CA_FILE"),
        ("redis://r", {"ca_file": "x"}, "STORE_CA_FILE"),
        ("redis://r", {"username": "me"}, "needs STORE_PASSWORD_FILE"),
        ("redis://me@r", {"username": "you", "password": "x"}, "another user"),
        ("redis://r", {"encryption_keys": ""}, "no key in it"),
    ],
)
async def test_settings_that_contradict_each_other(
    url: str, settings: dict[str, str], mistake: str
) -> None:
    with pytest.raises(ConfigError, match=mistake):
        open_store(url, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("memory://", {}),
        ("rediss://r", {"ca_file": "x"}),
        ("redis://me@r", {"username": "me", "password": "x"}),
        ("redis://r", {"password": "x"}),
        ("redis+sentinel://r/main", {}),
        ("redis+cluster://r", {}),
    ],
)
async def test_their_nearest_neighbours_open(url: str, settings: dict[str, str]) -> None:
    await open_store(url, **settings).close()  # type: ignore[arg-type]


def test_a_url_is_shown_without_its_user() -> None:
    assert str(parse_store_url("redis+sentinel://me@a:1,b:2/main")) == "sentinel a:1,b:2"
    assert str(parse_store_url("unix:///run/r")) == "unix /run/r"
    assert str(parse_store_url("memory://")) == "memory"
