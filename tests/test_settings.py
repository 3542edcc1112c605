"""Settings: one table, every mistake at once, and what is right beside what is wrong."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.settings import SETTINGS, Settings, defaults, from_env_and_flags, read_secret
from proxy.values import Address, Origin, address, count, networks, origin, size
from rules.load import parse_duration as duration


def test_the_table_and_the_class_are_one() -> None:
    assert [s.field for s in SETTINGS] == [f.name for f in fields(Settings)]
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
    assert all(s.help and s.kind for s in SETTINGS)


def test_the_defaults_of_the_contract() -> None:
    settings = from_env_and_flags({})
    assert settings.upstream == Origin(tls=False, host="127.0.0.1", port=8080)
    assert settings.listen == Address("0.0.0.0", 8000)  # noqa: S104 - the default
    assert settings.admin_listen == Address("0.0.0.0", 9000)  # noqa: S104 - the default
    assert (settings.store, settings.store_prefix) == ("memory://", "idem")
    assert (settings.store_timeout, settings.drain_timeout) == (0.25, 25.0)
    assert settings.memory_store_max == 256 * 2**20
    assert (settings.workers, settings.log_format, settings.log_level) == (1, "json", "info")
    assert settings.trusted_peers == ()


def test_flags_win_over_the_environment() -> None:
    env = {"IDEMPROXY_WORKERS": "3", "IDEMPROXY_STORE": "redis://a", "HOME": "/x"}
    settings = from_env_and_flags(env, {"workers": "2"})
    assert (settings.workers, settings.store) == (2, "redis://a")


def test_names() -> None:
    by_name = {s.name: s for s in SETTINGS}
    row = by_name["DRAIN_TIMEOUT"]
    assert (row.variable, row.flag) == ("IDEMPROXY_DRAIN_TIMEOUT", "--drain-timeout")


def test_every_mistake_at_once() -> None:
    env = {
        "IDEMPROXY_UPSTREAM": "ftp://x",
        "IDEMPROXY_WORKERS": "0",
        "IDEMPROXY_STORE_TIMEOUT": "fast",
        "IDEMPROXY_UPSTERAM": "http://x",
        "IDEMPROXY_RULES": "/no/such/file",
    }
    with pytest.raises(ConfigError) as caught:
        from_env_and_flags(env)
    text = "\n".join(caught.value.mistakes)
    assert len(caught.value.mistakes) == 5
    for name in env:
        assert name in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"workers": "2"}, "memory:// is for one process"),
        ({"workers": "2", "store": "redis://a", "listen": "unix:///x"}, "cannot be shared"),
        ({"upstream_cert_file": "FILE"}, "come together"),
        ({"upstream_cert_file": "FILE", "upstream_key_file": "FILE"}, "is not https"),
        ({"upstream_ca_file": "FILE"}, "is not https"),
        ({"jwt_secret_file": "FILE", "jwt_jwks_url": "https://x"}, "one of them"),
        ({"jwt_jwks_url": "https://x", "jwt_algorithms": "RS256,HS256"}, "public key"),
        ({"jwt_secret_file": "FILE", "jwt_algorithms": "RS256"}, "only HS256"),
        ({"jwt_jwks_url": "file:///x"}, "http or https"),
        ({"store": "redis://:secret@a"}, "STORE_PASSWORD_FILE"),
    ],
)
def test_contradictions(flags: dict[str, str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    with pytest.raises(ConfigError, match=said) as caught:
        defaults(**{name: str(file) if text == "FILE" else text for name, text in flags.items()})
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "flags",
    [
        {"workers": "2", "store": "redis://a"},
        {"upstream": "https://a", "upstream_cert_file": "FILE", "upstream_key_file": "FILE"},
        {"upstream": "https://a", "upstream_ca_file": "FILE"},
        {"jwt_secret_file": "FILE", "jwt_algorithms": "HS256, HS512"},
        {"jwt_jwks_url": "https://x", "jwt_algorithms": "RS256,EdDSA"},
        {"store": "redis://user@a"},
    ],
)
def test_neighbours_of_contradictions(flags: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    defaults(**{name: str(file) if text == "FILE" else text for name, text in flags.items()})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("1.5s", 1.5), ("5m", 300), ("24h", 86400), ("7d", 604800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "30 s", "-1s", "s", "1w", "1s1s", "٣s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "count_of_bytes"),
    [("1", 1), ("8MiB", 8 * 2**20), ("64KiB", 65536), ("1GiB", 2**30), ("5B", 5)],
)
def test_sizes(text: str, count_of_bytes: int) -> None:
    assert size(text) == count_of_bytes


@pytest.mark.parametrize("text", ["", "0", "8Mb", "-1", "MiB", "1.5"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|more than zero"):
        size(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "x", "99999999"])
def test_no_counts(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        count(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        (":80", Address("0.0.0.0", 80)),  # noqa: S104 - what an empty host means
        ("[::1]:80", Address("::1", 80)),
        ("localhost:0", Address("localhost", 0)),
        ("unix:///run/x.sock", Address(path="/run/x.sock")),
    ],
)
def test_addresses(text: str, found: Address) -> None:
    assert address(text) == found


@pytest.mark.parametrize("text", ["", "80", "a:b", "a:99999", "unix://x", "unix:///"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|unix socket"):
        address(text)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://a", "a"),
        ("http://a:80/", "a"),
        ("http://a:81", "a:81"),
        ("https://a", "a"),
        ("https://a:80", "a:80"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("unix:///run/x", "localhost"),
        ("http+unix:///run/x", "localhost"),
    ],
)
def test_origins(text: str, authority: str) -> None:
    assert origin(text).authority == authority


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:80", "http://", "http://a/b", "http://a?b", "http://u:p@a", "unix://a", "ws://a"],
)
def test_no_origins(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|origin|unix"):
        origin(text)


def test_networks() -> None:
    assert [str(n) for n in networks("10.0.0.1/8, ::1")] == ["10.0.0.0/8", "::1/128"]
    assert networks("") == ()
    with pytest.raises(ValueError, match="10"):
        networks("10.0.0.0/33")


def test_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" s\xff \r\n")
    assert read_secret(str(file)) == b" s\xff "
    file.write_bytes(b"\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_secret(str(file))
    with pytest.raises(ConfigError, match="No such file"):
        read_secret(str(tmp_path / "none"))
