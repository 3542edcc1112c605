"""Texts of settings into values. Law: pure; ValueError says in plain words what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rules.load import parse_duration, parse_size

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


def positive_duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def size(text: str) -> int:
    """Bytes, as the rules file writes them (``8MiB``), or a plain number; at least one."""
    number = int(text) if re.fullmatch(r"[0-9]{1,12}", text) else parse_size(text)
    if number < 1:
        raise ValueError("must be more than zero")
    return number


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
