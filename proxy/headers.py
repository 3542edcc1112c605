"""Which field lines cross the gateway (RFC 9110 section 7.6). Law: pure, text in and text out.

Field lines are pairs of ISO 8859-1 text, which is the bytes themselves: what a client sends
beyond ASCII arrives as it was sent. Names keep their case; order and duplicates stay.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from proxy.core.upstream import Headers
from proxy.errors import Problem

PSEUDONYM: Final = "idemproxy"
VIA: Final = ("Via", f"1.1 {PSEUDONYM}")

HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("proxy-authenticate", "proxy-authorization", "proxy-authentication-info"),
        *("upgrade", "http2-settings"),
    }
)
"""Dropped both ways, with whatever Connection lists."""

_LISTS_NOTHING: Final = frozenset({"", "close", "keep-alive"})
"""Values of Connection, nearly always, that add nothing to what is dropped anyway."""

FRAMING: Final = frozenset({"content-length", "transfer-encoding", "trailer"})

_UNLISTABLE: Final = frozenset({"host", "authorization"})
_FORWARDED: Final = frozenset(
    {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_ITS_ID: Final = frozenset({"x-request-id"})
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")

Networks = tuple[IPv4Network | IPv6Network, ...]


def from_raw(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Field lines as the parser gives them."""
    return tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])


def values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Every value of the field ``name`` (given in lower case), in order."""
    return [value for key, value in headers if key.lower() == name]


def first(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of the field ``name`` (given in lower case)."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def without(headers: Headers, names: Collection[str]) -> Headers:
    """The lines whose lower-case name is not in ``names``."""
    return tuple([line for line in headers if line[0].lower() not in names])


def listed(headers: Iterable[tuple[str, str]], name: str) -> set[str]:
    """The members of a comma-separated field, in lower case."""
    found: set[str] = set()
    for value in values(headers, name):
        found.update(member.strip().lower() for member in value.split(","))
    found.discard("")
    return found


def check_connection(headers: Headers, scope_headers: Collection[str]) -> None:
    """Refuse a Connection field that would have us drop what the service or a scope relies on.

    Without this a client strips its own credential, or the scope that keeps tenants apart, on
    the way to whoever stands behind us (RFC 9110 section 7.6.1 forbids it to end-to-end fields).
    """
    for name in listed(headers, "connection"):
        if name in _UNLISTABLE or name in scope_headers or name.startswith("content-"):
            raise Problem(400, "bad-connection-header", "Connection lists an end-to-end field")


def end_to_end(headers: Headers) -> Headers:
    """What may be forwarded, either way: Content-Length is kept, Transfer-Encoding is not."""
    dropped: Collection[str] = HOP_BY_HOP
    for name, value in headers:
        if name.lower() == "connection" and value.lower() not in _LISTS_NOTHING:
            dropped = HOP_BY_HOP | listed(headers, "connection")
            break
    return without(headers, dropped)


@lru_cache(maxsize=4096)
def is_trusted(peer: str, networks: Networks) -> bool:
    """Whether ``peer`` (an address; empty for a unix socket, which only this pod can reach)."""
    if not peer:
        return True
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def forwarded(headers: Headers, peer: str, *, trusted: bool) -> Headers:
    """``headers`` with Via and what says who asked: appended for a trusted peer, else replaced."""
    host, said = "", []
    for line in headers:
        lower = line[0].lower()
        if lower in _FORWARDED:
            said.append(line)
        elif lower == "host":
            host = host or line[1]
    if not said and peer:
        own = (("X-Forwarded-For", peer), ("X-Forwarded-Proto", "http"))
        return (*headers, *own, *((("X-Forwarded-Host", host),) if host else ()), VIA)
    chain = values(said, "x-forwarded-for") if trusted else []
    kept = _FORWARDED - {"x-forwarded-for"} if trusted else frozenset[str]()
    lines = [
        line for line in headers if line[0].lower() not in _FORWARDED or line[0].lower() in kept
    ]
    if peer:
        chain.append(peer)
    if chain:
        lines.append(("X-Forwarded-For", ", ".join(chain)))
    if first(lines, "x-forwarded-proto") is None:
        lines.append(("X-Forwarded-Proto", "http"))
    if host and first(lines, "x-forwarded-host") is None:
        lines.append(("X-Forwarded-Host", host))
    if first(lines, "forwarded") is not None:
        lines.append(("Forwarded", _forwarded_element(peer, host)))
    lines.append(VIA)
    return tuple(lines)


def _forwarded_element(peer: str, host: str) -> str:
    node = f'"[{peer}]"' if ":" in peer else peer or "unknown"
    quoted = host.replace("\\", "").replace('"', "")
    return f'for={node};host="{quoted}";proto=http'


def request_id(headers: Headers, fresh: str) -> tuple[str, Headers]:
    """The request's X-Request-Id, kept where it is one short line of visible text; else
    ``fresh``. The headers carry exactly that one."""
    given = values(headers, "x-request-id")
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0], headers
    return fresh, (*without(headers, {"x-request-id"}), ("X-Request-Id", fresh))


def identified(headers: Headers, request_id: str) -> Headers:
    """``headers`` with this request id and no other."""
    return (*without(headers, _ITS_ID), ("X-Request-Id", request_id))


def trace_id(headers: Headers) -> str:
    """The trace id of a W3C traceparent, or an empty text."""
    match = _TRACEPARENT.fullmatch(first(headers, "traceparent") or "")
    return match.group(1) if match else ""
