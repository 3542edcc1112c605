"""The store's URL. Law: pure; what is not understood is refused by name, nothing is ignored.

::

    memory://
    redis://host:6379/0              rediss:// with TLS
    unix:///run/redis.sock           ?db=1 for another database
    redis+sentinel://h1:26379,h2:26379/MASTER/0      rediss+sentinel:// with TLS
    redis+cluster://h1:6379,h2:6379                  rediss+cluster:// with TLS
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from proxy.errors import ConfigError

KINDS: Final = {
    "memory": ("memory", False),
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}


@dataclass(frozen=True, slots=True)
class StoreUrl:
    kind: str
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    master: str = ""
    db: int = 0
    username: str | None = None

    def __str__(self) -> str:
        """For logs: no credentials."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.kind} {hosts or self.path}".strip()


def parse_store_url(url: str) -> StoreUrl:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"STORE: {error}") from None
    if parts.scheme not in KINDS:
        raise ConfigError(f"STORE: unknown scheme {parts.scheme!r}; one of {', '.join(KINDS)}")
    kind, tls = KINDS[parts.scheme]
    userinfo, at, hosts = parts.netloc.rpartition("@")
    if ":" in userinfo:
        raise ConfigError("STORE: a password does not belong into the URL; use STORE_PASSWORD_FILE")
    if parts.fragment:
        raise ConfigError("STORE: the URL has a fragment")
    username = unquote(userinfo) if at else None
    segments = [unquote(part) for part in parts.path.split("/") if part]
    if kind == "unix":
        return _unix(unquote(parts.path), hosts, parts.query, username)
    if parts.query:
        raise ConfigError(f"STORE: the URL's query {parts.query!r} is not understood")
    if kind == "memory":
        if hosts or segments or userinfo:
            raise ConfigError("STORE: memory:// takes nothing behind it")
        return StoreUrl(kind)
    master = ""
    if kind == "sentinel":
        if not segments:
            raise ConfigError("STORE: redis+sentinel:// needs a master: //host:port/MASTER")
        master = segments.pop(0)
    return StoreUrl(kind, tls, _hosts(hosts, kind), "", master, _db(segments, kind), username)


def _unix(path: str, hosts: str, query: str, username: str | None) -> StoreUrl:
    if hosts or path in {"", "/"}:
        raise ConfigError("STORE: a unix socket needs an absolute path: unix:///run/redis.sock")
    options = parse_qsl(query, keep_blank_values=True)
    if any(name != "db" for name, _ in options) or len(options) > 1:
        raise ConfigError(f"STORE: of the query {query!r} only db=NUMBER is understood")
    return StoreUrl(
        "unix", path=path, db=_number(options[0][1]) if options else 0, username=username
    )


def _hosts(text: str, kind: str) -> tuple[tuple[str, int], ...]:
    default = 26379 if kind == "sentinel" else 6379
    found = []
    for one in text.split(","):
        try:
            parts = urlsplit(f"//{one}")
            port = parts.port or default
        except ValueError:
            raise ConfigError(f"STORE: {one!r} is not host:port") from None
        if not parts.hostname:
            raise ConfigError(f"STORE: {one!r} has no host")
        found.append((parts.hostname, port))
    if kind == "standalone" and len(found) > 1:
        raise ConfigError("STORE: several hosts need redis+sentinel:// or redis+cluster://")
    return tuple(found)


def _db(segments: list[str], kind: str) -> int:
    if not segments:
        return 0
    if len(segments) > 1 or kind == "cluster":
        raise ConfigError(f"STORE: /{'/'.join(segments)} is not understood")
    return _number(segments[0])


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"STORE: {text!r} is not the number of a database")
    return int(text)
