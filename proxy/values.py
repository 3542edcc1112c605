"""Texts of settings into values. Law: pure; ValueError says in plain words what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_ALGORITHMS: Final = frozenset(
    f"{family}{bits}" for family in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)
) | {"EdDSA"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``path``: a unix socket, and then there is no host."""

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """The legacy service. ``path``: a unix socket; ``authority``: Host where none is sent."""

    tls: bool
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def duration(text: str) -> float:
    """Seconds from ``250ms``, ``30s``, ``5m``, ``24h``, ``7d``."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError("a duration is a number with ms, s, m, h or d, such as 250ms")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def positive_duration(text: str) -> float:
    seconds = duration(text)
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def size(text: str) -> int:
    """Bytes from ``8MiB``, ``64KiB``, ``1GiB`` or a plain number."""
    match = _SIZE.fullmatch(text)
    if not match or not int(match.group(1)):
        raise ValueError("a size is a number with B, KiB, MiB or GiB, such as 8MiB")
    return int(match.group(1)) * _BYTES[match.group(2)]


def count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise ValueError("must be a whole number, 1 or more")
    return int(text)


def address(text: str) -> Address:
    """``host:port``, ``[::1]:port``, ``:port`` or ``unix:///path``."""
    if text.startswith("unix://"):
        return Address(path=_absolute(text.removeprefix("unix://")))
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("an address is HOST:PORT or unix:///path")
    return Address(host=host.removeprefix("[").removesuffix("]") or "0.0.0.0", port=int(port))  # noqa: S104 - every interface is what an empty host means


def origin(text: str) -> Origin:
    """``http://host:port``, ``https://host``, ``unix:///path`` or ``http+unix:///path``."""
    parts = urlsplit(text)
    if parts.scheme in {"unix", "http+unix"}:
        return Origin(tls=False, host="localhost", port=80, path=_absolute(parts.path))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be http://HOST:PORT, https://HOST:PORT or unix:///path")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("is an origin: no path, query or credentials")
    tls = parts.scheme == "https"
    return Origin(tls=tls, host=parts.hostname, port=parts.port or (443 if tls else 80))


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part, strict=False) for part in _list(text))


def algorithms(text: str) -> tuple[str, ...]:
    names = tuple(_list(text))
    if unknown := [name for name in names if name not in _ALGORITHMS]:
        raise ValueError(f"unknown: {', '.join(unknown)} (never none)")
    return names


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text.lower()

    return parse


def readable(text: str) -> str:
    """A file that is there and can be read; a folder counts for RULES alone."""
    if not text:
        return ""
    if not Path(text).is_file():
        raise ValueError("no such file")
    return text


def path(text: str) -> str:
    if text and not Path(text).exists():
        raise ValueError("no such file or folder")
    return text


def plain(text: str) -> str:
    return text


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _absolute(text: str) -> str:
    if not text.startswith("/") or len(text) < 2:
        raise ValueError("a unix socket is unix:///absolute/path")
    return text
